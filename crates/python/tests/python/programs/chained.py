def inner(values):
    return values[0] + values["a"]


def outer():
    try:
        inner([1])
    except TypeError as error:
        raise ValueError("outer") from error


try:
    outer()
except ValueError:
    nmae = 1
    print(name)
