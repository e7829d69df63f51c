import sys


def fail(number):
    raise ValueError(number)


if sys.version_info < (3, 11):
    raise SystemExit("no groups")
errors = []
for number in range(2):
    try:
        fail(number)
    except ValueError as error:
        error.add_note("note %d" % number)
        errors.append(error)
raise ExceptionGroup("several", errors + [ExceptionGroup("nested", [KeyError("k")])])
