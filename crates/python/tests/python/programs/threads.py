import atexit, threading

lock = threading.Lock()
atexit.register(print, "at exit")


def work(number):
    with lock:
        print("thread", number, threading.current_thread() is threading.main_thread())


threads = [threading.Thread(target=work, args=(number,)) for number in range(3)]
for thread in threads:
    thread.start()
    thread.join()
late = threading.Timer(0.05, work, [9])
late.start()
print("end of main", flush=True)
