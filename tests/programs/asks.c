// Says "asking", makes one call that no start-up makes, says "answered".
#define _GNU_SOURCE
#include <sys/syscall.h>
#include <unistd.h>

int main(void) {
    if (write(1, "asking\n", 7) != 7) return 1;
    syscall(SYS_getsid, 0);
    return write(1, "answered\n", 9) != 9;
}
