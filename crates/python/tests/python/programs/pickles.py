import dataclasses, pickle, typing


@dataclasses.dataclass
class Point:
    x: "int"
    other: "typing.Optional[Point]" = None


point = pickle.loads(pickle.dumps(Point(1, Point(2))))
print(point, typing.get_type_hints(Point), Point.__module__, Point.__qualname__)
