"""The docstring."""
import __main__, sys

print(list(globals()), __name__, __doc__, __file__, __package__, __spec__, __builtins__)
print(sys.argv, sys.path, __main__ is sys.modules["__main__"], __main__.__dict__ is globals())
print(type(__loader__).__mro__[-2].__name__, sorted(vars(__builtins__))[:5], sys.flags)
print(sorted(name for name in sys.modules if "." not in name and name != "linecache"))
x: int = 3
if __name__ == "__main__":
    print(globals().get("__annotations__"), globals().get("__cached__", "none"), sys.stdout.isatty(), sys.stdout.line_buffering)
