// Enters the kernel by every door of x86-64: int 0x80, an x32 number, a number that means nothing.
#define _GNU_SOURCE
#include <sys/syscall.h>
#include <unistd.h>

#include "warm.h"

int main(void) {
    warm_up();
    long pid = 20; // getpid in the i386 table; writev in the x86-64 one
    __asm__ volatile("int $0x80" : "+a"(pid) : : "memory", "r8", "r9", "r10", "r11");
    syscall(0x40000000 | SYS_getppid);
    syscall(999);
    return pid != getpid();
}
