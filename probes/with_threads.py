# /// script
# requires-python = ">=3.9"
# dependencies = []
# ///
"""Threads as programs use them: started, named, locked, awaited, timed out, pooled, ended by an exception."""

import queue
import threading
import time
from concurrent.futures import ThreadPoolExecutor, as_completed


def locked_counter(threads=8, rounds=1000):
    total, lock = 0, threading.Lock()

    def add():
        nonlocal total
        for _ in range(rounds):
            with lock:
                total += 1

    workers = [threading.Thread(target=add, name=f"add-{n}") for n in range(threads)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    return total


def ping_pong(rounds=50):
    turn, condition, heard = "ping", threading.Condition(), []

    def play(mine, other):
        nonlocal turn
        for _ in range(rounds):
            with condition:
                assert condition.wait_for(lambda: turn == mine, timeout=10)
                heard.append(mine)
                turn = other
                condition.notify_all()

    players = [threading.Thread(target=play, args=names) for names in (("ping", "pong"), ("pong", "ping"))]
    for player in players:
        player.start()
    for player in players:
        player.join()
    return heard == ["ping", "pong"] * rounds


def pipeline():
    numbers, squares = queue.Queue(maxsize=4), queue.SimpleQueue()

    def square():
        while (n := numbers.get()) is not None:
            squares.put(n * n)
            numbers.task_done()
        numbers.task_done()

    workers = [threading.Thread(target=square) for _ in range(3)]
    for worker in workers:
        worker.start()
    for n in range(100):
        numbers.put(n)
    for _ in workers:
        numbers.put(None)
    numbers.join()
    for worker in workers:
        worker.join()
    return sum(squares.get() for _ in range(100))


def time_outs():
    event, lock = threading.Event(), threading.Lock()
    assert not event.wait(timeout=0.02)
    with lock:
        assert not lock.acquire(timeout=0.02)
    try:
        queue.Queue().get(timeout=0.02)
        raise AssertionError("an empty queue gave something")
    except queue.Empty:
        pass
    timer = threading.Timer(0.02, event.set)
    timer.start()
    assert event.wait(timeout=10)
    timer.join()
    return event.is_set()


def rendezvous(parties=4):
    barrier, slots = threading.Barrier(parties), threading.BoundedSemaphore(2)
    local, seen, most, inside = threading.local(), [], 0, 0
    lock = threading.RLock()

    def meet(n):
        nonlocal most, inside
        local.number = n
        barrier.wait(timeout=10)
        with slots:
            with lock, lock:
                inside += 1
                most = max(most, inside)
            time.sleep(0.005)
            with lock:
                inside -= 1
                seen.append(local.number)

    workers = [threading.Thread(target=meet, args=(n,), daemon=True) for n in range(parties)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    return sorted(seen), most <= 2


def pool():
    def job(n):
        time.sleep(0.002 * (n % 3))
        if n == 7:
            raise ValueError(n)
        return n, threading.current_thread().name.split("_")[0]

    done, failed = [], []
    with ThreadPoolExecutor(max_workers=4, thread_name_prefix="pool") as executor:
        for future in as_completed([executor.submit(job, n) for n in range(12)]):
            if future.exception():
                failed.append(future.exception().args[0])
            else:
                done.append(future.result())
    return len(done), {name for _, name in done}, failed


def uncaught():
    seen = []
    previous, threading.excepthook = threading.excepthook, lambda args: seen.append(args.exc_type.__name__)
    try:
        worker = threading.Thread(target=lambda: 1 // 0)
        worker.start()
        worker.join()
    finally:
        threading.excepthook = previous
    return seen


print("locked counter:", locked_counter())
print("ping-pong in turn:", ping_pong())
print("pipeline:", pipeline())
print("time-outs:", time_outs())
print("rendezvous:", *rendezvous())
print("pool:", *pool())
print("uncaught:", *uncaught())
print("threads left:", threading.active_count(), "native ids:", threading.get_native_id() > 0)
print("ok: threads work")
