import sys


def hook(kind, error, trace):
    sys.exit(4)


sys.excepthook = hook
raise KeyError("mine")
