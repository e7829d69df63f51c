import sys


def hook(kind, error, trace):
    print("hook", kind.__name__, error, trace.tb_lineno, trace.tb_frame.f_code.co_name, sys.exc_info())
    print(error.__traceback__ is trace, sys.last_value is error, sys.last_traceback is trace)


sys.excepthook = hook
raise KeyError("mine")
