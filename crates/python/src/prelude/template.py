

# argv: control_fd variables name beginning rest [modules...]. Run by `python -I -B`, behind prelude.py.
#
# A template: imports the modules, then is forked for each run and never runs a program itself. It has
# privileges that its forks lose, by calls that the supervisor makes in their place, before they get a
# program. What it says by the marker: one for each module that is imported, one when it is ready.
def borrowed():
    # What the template needs and a program must not find loaded: it imports its own.
    before = set(sys.modules)
    import _signal, _socket, _thread, _weakref, atexit, gc

    setns = getattr(posix, "setns", None)  # from 3.12 on
    if setns is None:
        import ctypes

        function = ctypes.CDLL(None, use_errno=True).setns

        def setns(fd, kind):
            if function(fd, kind) != 0:
                raise OSError(ctypes.get_errno(), "setns")

    for name in set(sys.modules) - before:
        del sys.modules[name]
    # Before 3.10 a program's own atexit would be another one, with functions of its own.
    run_exit_functions = atexit._run_exitfuncs if sys.version_info >= (3, 10) else None
    return _socket, _signal, gc, _weakref.ref, setns, _thread._count, run_exit_functions


def numbers(ancillary):
    # Descriptors, from an SCM_RIGHTS message.
    found = []
    for _, _, data in ancillary:
        for at in range(0, len(data), 4):
            found.append(int.from_bytes(data[at : at + 4], sys.byteorder))
    return found


def beginning():
    # What the programs of that name begin with: a text of the supervisor's own, of which each fork has the code.
    name, text = sys.argv[3:5]
    return (text.encode(), compile(text, name, "exec", 0, True)) if text else None


def template(code, begun):
    control, variables, name, _, rest, *modules = sys.argv[1:]
    for module in modules:
        __import__(module)
        mark()
    socket, signal, gc, reference, setns, threads, exit_functions = borrowed()
    # They keep libraries from starting threads, which would not be in a fork. Programs need not see them.
    for variable in filter(None, variables.split(",")):
        os.environ.pop(variable, None)
    control = socket.socket(fileno=int(control))
    seat = control.fileno()
    room = socket.CMSG_SPACE(64)
    own = posix.getpid()
    reseeds = what_to_reseed()
    encoding = sys.getfilesystemencoding(), sys.getfilesystemencodeerrors()
    posix.umask(0o022)
    # The kernel reaps the forks: how they end is the supervisor's business.
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    streams = rehearse(name, begun, rest)
    # What is there now will not be touched by collections in the forks, and so stays shared.
    gc.collect()
    gc.freeze()
    # The first thing that an interpreter lets go of when its modules' turn comes is what sys has, in an order of its
    # own. What it finds before is held, lest it be taken apart.
    held = [vars(sys).get(name) for name in ("path", "argv", "path_hooks", "path_importer_cache", "meta_path")]
    sys.__interactivehook__ = Ending(code, gc.collect, reference, threads, exit_functions, held)
    # Made once: it is for all forks the same until they fill it in. A collection at a program's end must see it.
    main = new_main(Loader("", b""))
    mark()
    while True:
        word, ancillary, _, _ = control.recvmsg(1, room)
        if not word:
            posix._exit(0)
        fds = numbers(ancillary)
        try:
            if word == b"p":
                setns(fds[0], 0x20000000)  # CLONE_NEWPID: of the next fork
            pid = os.fork()
        except OSError as error:
            pid = -error.errno
        if pid == 0:
            # Its seat takes the place of the template's socket.
            posix.dup2(fds[1], seat, False)
            posix.close(fds[1])
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            return (*seated(control, room, own, reseeds, streams, encoding), main)
        for fd in fds:
            posix.close(fd)
        fds[1] = seat
        control.send(b"".join([n.to_bytes(4, sys.byteorder, signed=True) for n in [pid, *fds]]))


def rehearse(name, begun, rest):
    # What every fork does, done once before: what the interpreter makes at its first use (the types of the syntax
    # tree, which alone take longer than a short program) and what it learns by repetition is there in the forks.
    # The streams are made for what most runs have. No program is needed for it: it is empty, but for the supervisor's
    # own beginning and what ends that.
    kept = [os.dup(fd) for fd in range(3)]
    nothing, (end, pipe) = posix.open("/dev/null", posix.O_RDWR), posix.pipe()
    for fd, stream in enumerate((nothing, pipe, pipe)):
        posix.dup2(stream, fd)
    for _ in range(16):
        kinds = renew_streams([None] * 3)
        renew_streams(kinds)
        main = new_main(Loader("", b""))
        if begun:
            exec(begun[1], main.__dict__)
        exec(compile(rest, name, "exec", 0, True), main.__dict__)
        flush()
    for fd, stream in enumerate(kept):
        posix.dup2(stream, fd)
    for fd in (*kept, nothing, end, pipe):
        posix.close(fd)
    return kinds


# What a fork is told with its program: where that is, and whether its streams are what the template's were.
INLINE, USUAL = 1, 2


def seated(seat, room, template_pid, reseeds, streams_before, encoding):
    # In a fork. The supervisor attaches to it, lets it go, sets it up at the marker, and later gives it
    # its program and its streams.
    if posix.getpid() == template_pid:
        refuse("it has its template's process number, by which libraries tell a fork")
    if not seat.recv(1):
        posix._exit(125)
    for reseed in reseeds:
        reseed()
    mark()
    what, ancillary, _, _ = seat.recvmsg(1 + (16 << 10), room)
    if not what:
        posix._exit(125)
    kind, fds = what[0], numbers(ancillary)
    at = 1
    if not kind & INLINE:
        what, at = receive(fds.pop()), 0
    for number, fd in enumerate(fds):
        posix.dup2(fd, number)
    for fd in fds:
        posix.close(fd)
    seat.close()
    if not kind & USUAL:
        renew_streams(streams_before)
    start = at + 8 + int.from_bytes(what[at : at + 8], "little")
    name, *arguments = [text.decode(*encoding) for text in what[at + 8 : start].split(b"\0")]
    return what[start:], name, arguments


def what_to_reseed():
    # Python's own generators have reseeded themselves at the fork (os.register_at_fork). These have not.
    loaded, found = sys.modules.get, []
    if loaded("numpy.random.mtrand"):
        found.append(loaded("numpy.random.mtrand").seed)
    if loaded("tempfile"):
        found.append(lambda: setattr(loaded("tempfile"), "_name_sequence", None))
    if loaded("uuid"):
        found.append(lambda: vars(loaded("uuid")).update(_node=None, _last_timestamp=None))
    if loaded("multiprocessing.process"):
        config = loaded("multiprocessing.process").current_process()._config
        found.append(lambda: config.update(authkey=type(config["authkey"])(posix.urandom(32))))
    return found


def renew_streams(before):
    # As the interpreter makes them (create_stdio in Python/pylifecycle.c): what they are is looked at anew. Those
    # that are what they were made for can stay as they are.
    kinds = []
    for fd, name in enumerate(("stdin", "stdout", "stderr")):
        status = posix.fstat(fd)
        kinds.append((status.st_mode & 0o170000, status.st_rdev, status.st_blksize))
        old = getattr(sys, "__%s__" % name)
        if old is None or kinds[fd] == before[fd]:
            continue
        mode = "w" if fd else "r"
        buffer = io.open(fd, mode + "b", -1, None, None, None, False)
        buffer.raw.name = "<%s>" % name
        lines = fd == 2 or buffer.raw.isatty()
        new = io.TextIOWrapper(buffer, old.encoding, old.errors, "\n", lines, False)
        new.mode = mode
        setattr(sys, name, new)
        setattr(sys, "__%s__" % name, new)
    return kinds


def flush():
    for stream in (sys.stdout, sys.stderr):
        if stream is not None and not stream.closed:
            stream.flush()


class Ending:
    # The interpreter's end without its last part: it would take apart every module of the template, and copy
    # the memory of all of them to do so. What the program itself has left is taken apart as it would be
    # (finalize_modules in Python/pylifecycle.c, whose first act is this object's end).
    def __init__(self, code, collect, reference, threads, exit_functions, held):
        self.code, self.collect, self.reference, self.held = code, collect, reference, held
        self.threads, self.exit_functions = threads, exit_functions

    def at_once(self):
        # Where no thread is to be waited for or kept from going on, what the interpreter does until it comes to its
        # modules is to call these (Py_FinalizeEx in Python/pylifecycle.c). What is wrong with a stream it tells itself.
        try:
            alone = self.exit_functions and "threading" not in sys.modules and not self.threads()
        except BaseException:
            return  # the program has made something else of sys.modules
        if alone:
            self.exit_functions()
            self.__del__()

    def __del__(self, sys=sys, exit=posix._exit, flush=flush):
        if not self.code:
            return  # it is not known how the interpreter will end, or this is not its end
        try:
            flush()
            sys.stdout, sys.stderr = sys.__stdout__, sys.__stderr__
            main = self.reference(sys.modules.pop("__main__"))
            self.collect()
            if main() is not None:  # another module has it
                names = vars(main())
                for hidden in (True, False):
                    for name in list(names):
                        if name != "__builtins__" and (name[:1] == "_" and name[1:2] != "_") == hidden:
                            names[name] = None
                self.collect()
            flush()
        except BaseException:
            return  # the interpreter's own end tells of what is wrong with a stream
        exit(self.code[0])


def exit_code(error):
    # As handle_system_exit does in Python/pythonrun.c, which also prints what is no number.
    try:
        code = error.code
    except BaseException:
        return []
    if code is None:
        return [0]
    if isinstance(code, int):
        return [code & 0xFF if -(1 << 63) <= code < 1 << 63 else 0xFF]
    return [1]


import os

code = []
try:
    begun = beginning()
    # Its forks have ast's classes, so that compile() has nothing to make.
    execute(*template(code, begun), translated=lambda source, name: None, begun=begun)
    code.append(0)
    if type(vars(sys).get("__interactivehook__")) is Ending:
        sys.__interactivehook__.at_once()
except SystemExit as error:
    code.extend(exit_code(error))
    raise
except Exception:
    code.append(1)
    raise
