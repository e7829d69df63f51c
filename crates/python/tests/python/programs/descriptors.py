import os, sys

print(sorted(int(fd) for fd in os.listdir("/proc/self/fd"))[:3])
for fd in range(3, 40):
    try:
        os.fstat(fd)
    except OSError:
        continue
    print(os.readlink("/proc/self/fd/%d" % fd))
