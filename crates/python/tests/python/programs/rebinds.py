# What the prelude needs later is not to be had here.
import builtins, io, os, posix, sys

for name in ("exec", "compile", "start", "show", "report", "main", "source", "uncaught"):
    globals()[name] = None
builtins.compile = None
posix.lseek = None
sys.argv = None
raise ValueError("still shown")
