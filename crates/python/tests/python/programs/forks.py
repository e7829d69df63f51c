import multiprocessing, os


def square(number):
    return number * number


if __name__ == "__main__":
    pid = os.fork()
    if not pid:
        raise SystemExit(7)
    print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)
    with multiprocessing.get_context("fork").Pool(2) as pool:
        print(pool.map(square, range(5)))
