annotation: int = 1


def f(x: list[int]): ...


print(f.__annotations__["x"] == list[int], __annotations__)
