// Makes a call that no kernel has yet, and exits with its errno.
#include <errno.h>
#include <sys/syscall.h>
#include <unistd.h>

int main(void) {
    errno = 0;
    syscall(9999);
    return errno;
}
