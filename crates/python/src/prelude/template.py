

# argv: control_fd variables [modules...]. Run by `python -I -B -c`, behind prelude.py.
#
# A template: imports the modules, then is forked for each run and never runs a program itself. It has
# privileges that its forks lose, by calls that the supervisor makes in their place, before they get a
# program. What it says by the marker: one for each module that is imported, one when it is ready.
def borrowed():
    # What the template needs and a program must not find loaded: it imports its own.
    before = set(sys.modules)
    import _signal, _socket, gc

    setns = getattr(posix, "setns", None)  # from 3.12 on
    if setns is None:
        import ctypes

        function = ctypes.CDLL(None, use_errno=True).setns

        def setns(fd, kind):
            if function(fd, kind) != 0:
                raise OSError(ctypes.get_errno(), "setns")

    for name in set(sys.modules) - before:
        del sys.modules[name]
    return _socket, _signal, gc, setns


def numbers(ancillary):
    # Descriptors, from an SCM_RIGHTS message.
    data = b"".join(data for _, _, data in ancillary)
    return [int.from_bytes(data[at : at + 4], sys.byteorder) for at in range(0, len(data), 4)]


def template():
    control, variables, *modules = sys.argv[1:]
    for name in modules:
        __import__(name)
        mark()
    socket, signal, gc, setns = borrowed()
    # They keep libraries from starting threads, which would not be in a fork. Programs need not see them.
    for variable in filter(None, variables.split(",")):
        os.environ.pop(variable, None)
    control = socket.socket(fileno=int(control))
    room = socket.CMSG_SPACE(64)
    own = posix.getpid()
    posix.umask(0o022)
    # The kernel reaps the forks: how they end is the supervisor's business.
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    # What is there now will not be touched by collections in the forks, and so stays shared.
    gc.collect()
    gc.freeze()
    mark()
    while True:
        word, ancillary, _, _ = control.recvmsg(1, room)
        if not word:
            posix._exit(0)
        fds = numbers(ancillary)
        try:
            setns(fds[0], 0x20000000)  # CLONE_NEWPID: of the next fork
            pid = os.fork()
        except OSError as error:
            pid = -error.errno
        if pid == 0:
            control.close()
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            return seated(socket.socket(fileno=fds[1]), room, own)
        for fd in fds:
            posix.close(fd)
        control.send(b"".join(n.to_bytes(4, sys.byteorder, signed=True) for n in [pid, *fds]))


def seated(seat, room, template_pid):
    # In a fork. The supervisor attaches to it, lets it go, sets it up at the marker, and later gives it
    # its program and its streams.
    if posix.getpid() == template_pid:
        refuse("it has its template's process number, by which libraries tell a fork")
    if not seat.recv(1):
        posix._exit(125)
    reseed()
    mark()
    word, ancillary, _, _ = seat.recvmsg(1, room)
    if not word:
        posix._exit(125)
    program, *streams = numbers(ancillary)
    for fd, stream in enumerate(streams):
        posix.dup2(stream, fd)
        posix.close(stream)
    seat.close()
    renew_streams()
    what = receive(program)
    header = 8 + int.from_bytes(what[:8], "little")
    name, *arguments = [os.fsdecode(text) for text in what[8:header].split(b"\0")]
    return what[header:], name, arguments


def reseed():
    # Python's own generators have reseeded themselves at the fork (os.register_at_fork). These have not.
    loaded = sys.modules.get
    if loaded("numpy.random.mtrand"):
        loaded("numpy.random.mtrand").seed()
    if loaded("tempfile"):
        loaded("tempfile")._name_sequence = None
    if loaded("uuid"):
        loaded("uuid")._node = loaded("uuid")._last_timestamp = None
    if loaded("multiprocessing.process"):
        config = loaded("multiprocessing.process").current_process()._config
        config["authkey"] = type(config["authkey"])(posix.urandom(32))


def renew_streams():
    # As the interpreter makes them (create_stdio in Python/pylifecycle.c): what they are is looked at anew.
    for fd, name in enumerate(("stdin", "stdout", "stderr")):
        old = getattr(sys, "__%s__" % name)
        if old is None:
            continue
        mode = "w" if fd else "r"
        buffer = io.open(fd, mode + "b", -1, None, None, None, False)
        buffer.raw.name = "<%s>" % name
        lines = fd == 2 or buffer.raw.isatty()
        new = io.TextIOWrapper(buffer, old.encoding, old.errors, "\n", lines, False)
        new.mode = mode
        setattr(sys, name, new)
        setattr(sys, "__%s__" % name, new)


import os

execute(*template())
