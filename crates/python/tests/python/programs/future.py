from __future__ import annotations


def f(x: undefined): ...


print(f.__annotations__)
print(1 / 0)
