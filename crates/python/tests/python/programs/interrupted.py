import atexit, os, signal, time

signal.signal(signal.SIGINT, signal.default_int_handler)
atexit.register(print, "at exit")
os.kill(os.getpid(), signal.SIGINT)
time.sleep(10)
