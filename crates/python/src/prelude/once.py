

# argv: code_fd name [args...]. Run by `python -I -B -c`, behind prelude.py.
def program():
    if len(sys.argv) < 3:
        refuse("the prelude was started without CODE_FD and NAME")
    fd, name = sys.argv[1:3]
    try:
        source = receive(int(fd))
    except (OSError, ValueError) as error:
        refuse("cannot read it from descriptor %s: %s" % (fd, error))
    return source, name, sys.argv[3:]


execute(*program())
