# Runs the user's program in a fresh __main__, after the supervisor has been told.
#
# What follows this file says where the program comes from: once.py or template.py. Until the marker
# call is acknowledged, no byte of it is decoded, compiled or evaluated; afterwards nothing is imported
# on its behalf.
import _imp, _warnings, builtins, posix, sys

# From 3.14 on the interpreter starts without io, which a program must not find loaded for that.
if sys.version_info >= (3, 13):
    import _io as io
else:
    import io
from _frozen_importlib_external import SourceFileLoader

__builtins__ = dict(vars(builtins))  # this file's own: the program may rebind what is in builtins


def refuse(why):
    posix.write(2, ("callgate: the program was not run: %s\n" % why).encode("utf-8", "replace"))
    posix._exit(125)


def receive(fd):
    chunks = []
    while True:
        chunk = posix.read(fd, 1 << 16)
        if not chunk:
            break
        chunks.append(chunk)
    posix.close(fd)
    return b"".join(chunks)


class Loader(SourceFileLoader):
    # The program is in no file: linecache and inspect ask the loader for its text.
    def __init__(self, path, source):
        super().__init__("__main__", path)
        self._source = source

    def get_data(self, path):
        return self._source if path == self.path else super().get_data(path)

    def get_source(self, fullname):
        # As the base class does, but without importing anything where there is no coding cookie.
        if b"coding" not in b"".join(self._source.split(b"\n", 2)[:2]):
            try:
                return io.StringIO(self._source.decode().lstrip("\ufeff"), None).read()
            except UnicodeDecodeError:
                pass
        return super().get_source(fullname)


def new_main(loader):
    module = type(sys)("__main__")
    namespace = module.__dict__
    for key in list(namespace):
        del namespace[key]
    # The same names in the same order as `python FILE` has them. __annotations__ went in 3.14, __cached__ in 3.15.
    namespace.update(__name__="__main__", __doc__=None, __package__=None, __loader__=loader, __spec__=None)
    if "__annotations__" in globals():
        namespace["__annotations__"] = {}
    namespace.update(__builtins__=builtins, __file__=loader.path)
    if sys.version_info < (3, 15):
        namespace["__cached__"] = None
    return module


def show(hook, kind, error, trace, loader):
    # Before 3.13 the interpreter prints source lines with io.open and io.TextIOWrapper, not with the
    # loader. A copy of the io module that knows the program's text stands in while it prints.
    if sys.version_info >= (3, 13):
        hook(kind, error, trace)
        return
    real = sys.modules.get("io")
    copy = type(sys)("io")
    copy.__dict__.update(io.__dict__)
    # The printer also wants a descriptor that it can seek, to look for a coding cookie there; what it
    # finds doesn't matter, since text() decodes. Any file of the library will do.
    try:
        fd = posix.open(io.__file__, posix.O_RDONLY | posix.O_CLOEXEC)
    except Exception:
        fd = -1  # no source lines, then

    class Text(io.BytesIO):
        def fileno(self):
            return fd

    def open(file, *args, **kwargs):
        return Text() if file == loader.path else io.open(file, *args, **kwargs)

    def text(buffer, *args, **kwargs):
        if isinstance(buffer, Text):
            return io.StringIO(loader.get_source("__main__"))
        return io.TextIOWrapper(buffer, *args, **kwargs)

    copy.open, copy.TextIOWrapper = open, text
    sys.modules["io"] = copy
    try:
        hook(kind, error, trace)
    finally:
        if real is None:
            del sys.modules["io"]
        else:
            sys.modules["io"] = real
        if fd >= 0:
            posix.close(fd)


def report(error, display, write, loader):
    # What the interpreter does with an exception that nobody caught, without this file's frames.
    kind, trace = type(error), error.__traceback__
    if isinstance(error, SyntaxError) and error.filename == loader.path and error.text is None and error.lineno:
        # The compiler's later passes look for the line in a file.
        try:
            error.text = loader.get_source("__main__").splitlines(True)[error.lineno - 1]
        except (IndexError, ImportError):
            pass
    sys.last_type, sys.last_value, sys.last_traceback = kind, error, trace
    if sys.version_info >= (3, 12):
        sys.last_exc = error
    hook = getattr(sys, "excepthook", None)
    sys.audit("sys.excepthook", hook, kind, error, trace)
    if hook is None:
        write("sys.excepthook is missing\n")
    elif hook is not display:
        try:
            hook(kind, error, trace)
            return
        except SystemExit:
            raise
        except BaseException as second:
            second.__traceback__ = second.__traceback__.tb_next
            write("Error in sys.excepthook:\n")
            show(display, type(second), second, second.__traceback__, loader)
            write("\nOriginal exception was:\n")
    show(display, kind, error, trace, loader)


def write(text):
    if sys.stderr is not None:
        sys.stderr.write(text)


def mark(lseek=posix.lseek):
    try:
        answer = lseek(-1, 0x63616C6C67617465, 0)
    except OSError:
        answer = None
    if answer != 0x617474656E64:
        refuse("no supervisor answered the prelude's marker call")


class Found(Exception):
    pass


def translated(source, name):
    # What compile(source, name, "exec", 0, True) returns, at a price that a small program notices less: compile() asks
    # whether it was given a tree, for which CPython makes all of ast's classes (and takes them apart at the end),
    # an eighth of its whole start. exec() does not ask. Its code is taken from the frame that is about to run it,
    # which ends there. None where that is not plain: errors and warnings tell the file's name.
    if sys.implementation.name != "cpython" or sys.version_info >= (3, 14) or sys.gettrace() is not None:
        return None
    namespace = {"__builtins__": {}}
    codes = []

    def tracer(frame, event, argument):
        # A codec that decodes the source has frames, too.
        if frame.f_globals is namespace:
            codes.append(frame.f_code)
            raise Found

    filters = getattr(sys.modules.get("warnings", _warnings), "filters", _warnings.filters)
    strict = ("error", None, Warning, None, 0)
    filters.insert(0, strict)
    _warnings._filters_mutated()
    sys.settrace(tracer)
    try:
        exec(source, namespace)
    except Found:
        _imp._fix_co_filename(codes[0], name)
        return codes[0]
    except Exception:
        return None
    finally:
        sys.settrace(None)
        filters.remove(strict)
        _warnings._filters_mutated()


def execute(source, name, arguments, main=None, translated=translated, begun=None):
    # Bound here, while the names still mean what this file says: the program may rebind them.
    display, run, translate = sys.__excepthook__, exec, compile
    if main is None:
        loader = Loader(name, source)
        main = new_main(loader)
    else:
        loader = main.__loader__
        loader.path, loader._source = name, source
        main.__file__ = name
    sys.argv[:] = [name, *arguments]
    sys.modules["__main__"] = main
    mark()

    uncaught = None
    try:
        if begun and source.startswith(begun[0]):
            source = source[len(begun[0]) :]
            run(begun[1], main.__dict__)
        code = translated(source, name) or translate(source, name, "exec", 0, True)
        run(code, main.__dict__)
    except SystemExit:
        raise
    except BaseException as error:
        uncaught = error
    if uncaught is not None:
        # This frame is the outermost: what remains is what `python FILE` would have.
        uncaught.__traceback__ = uncaught.__traceback__.tb_next
        report(uncaught, display, write, loader)
        # Let it go on, so that the interpreter ends as it does (1, or SIGINT for KeyboardInterrupt).
        sys.excepthook = lambda *_: None
        raise uncaught
