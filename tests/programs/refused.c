// Lives where a filter can't be loaded: under one that refuses that, or without room for it; or runs
// programs that change its user.
#define _GNU_SOURCE
#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>

#include "warm.h"

int main(int argc, char **argv) {
    const char *which = argc > 1 ? argv[1] : "";
    if (!strcmp(which, "under")) { // the rest runs where nobody may load a filter
        struct sock_filter lines[] = {
            BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
            BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_seccomp, 0, 1),
            BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
            BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
        };
        struct sock_fprog program = {sizeof lines / sizeof *lines, lines};
        if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) || prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program)) return 98;
        execv(argv[2], argv + 2);
        return 97;
    }
    if (!strcmp(which, "cramped")) { // nothing more can be mapped
        struct rlimit none = {4096, 4096};
        if (setrlimit(RLIMIT_AS, &none)) return 1;
    }
    warm_up();
    if (!strcmp(which, "become")) { // a program that changes who we are
        execl(argv[2], argv[2], "user", argv[3], NULL);
        return 97;
    }
    if (!strcmp(which, "user")) return geteuid() != (uid_t)atol(argv[2]);
    errno = 0;
    syscall(SYS_getpriority, 0, 0);
    return errno != 0;
}
