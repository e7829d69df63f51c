import inspect, sys, traceback


def f(x):
    return 1 / x  # the comment is shown


print(inspect.getsource(f))
try:
    f(0)
except ZeroDivisionError:
    traceback.print_exc()
    traceback.print_exc(file=sys.stdout)
