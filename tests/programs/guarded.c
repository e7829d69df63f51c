// A program that uses seccomp, privileges and ptrace itself: what it sees must be what it would see alone.
// The exit code is the number of the check that failed.
#define _GNU_SOURCE
#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/wait.h>

#include "warm.h"

// Answers one call with this and lets the others pass.
static long load(unsigned nr, unsigned answer, unsigned long flags, int by_prctl) {
    struct sock_filter lines[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, nr, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, answer),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = {sizeof lines / sizeof *lines, lines};
    if (by_prctl) return prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program);
    return syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, flags, &program);
}

static int go;
static void *waits(void *argument) {
    while (!__atomic_load_n(&go, __ATOMIC_SEQ_CST)) syscall(SYS_getppid);
    // Refused by now, and still to be seen.
    *(long *)argument = syscall(SYS_getpriority, 0, 0) < 0 ? errno : 0;
    return NULL;
}

static int ends_by(pid_t child, int signal) {
    int status;
    return waitpid(child, &status, 0) == child && WIFSIGNALED(status) && WTERMSIG(status) == signal;
}

int main(int argc, char **argv) {
    const char *which = argc > 1 ? argv[1] : "";
    int by_prctl = argc > 2;
    if (!strcmp(which, "early") && (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) || load(SYS_getsid, SECCOMP_RET_ERRNO | EPERM, 0, 0)))
        return 1;
    int mode = prctl(PR_GET_SECCOMP), privileges = prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0);
    warm_up();
    if (!strcmp(which, "asks")) { // the same as before the calls by which it was watched
        if (prctl(PR_GET_SECCOMP) != mode) return 1;
        if (prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) != privileges) return 2;
        if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)) return 3;
        if (prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) != 1) return 4;
        return 0;
    }
    if (!strcmp(which, "unprivileged")) { // it may not load a filter without no_new_privs
        if (load(SYS_getsid, SECCOMP_RET_ERRNO | EPERM, 0, by_prctl) != -1 || errno != EACCES) return 1;
        if (syscall(SYS_getsid, 0) < 0) return 2;
        if (prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) != 0) return 3;
        if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)) return 4;
        if (load(SYS_getsid, SECCOMP_RET_ERRNO | EPERM, 0, by_prctl)) return 5;
        if (syscall(SYS_getsid, 0) != -1 || errno != EPERM) return 6;
        return prctl(PR_GET_SECCOMP) != 2;
    }
    if (!strcmp(which, "landlock")) { // needs no_new_privs or a privilege
        unsigned long long handled = 1; // LANDLOCK_ACCESS_FS_EXECUTE
        int rules = syscall(SYS_landlock_create_ruleset, &handled, sizeof handled, 0);
        if (rules < 0) return 98;
        long done = syscall(SYS_landlock_restrict_self, rules, 0);
        if (!by_prctl) return done != 0 || prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) != privileges;
        if (done != -1 || errno != EPERM) return 2; // unprivileged
        if (prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) != 0) return 3;
        if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)) return 4;
        if (syscall(SYS_landlock_restrict_self, rules, ~0U) != -1 || errno != EINVAL) return 5;
        return syscall(SYS_landlock_restrict_self, rules, 0) != 0;
    }
    if (!strcmp(which, "strict")) { // in a child, which the first other call must kill
        pid_t child = fork();
        if (child == 0) {
            long done = by_prctl ? prctl(PR_SET_SECCOMP, SECCOMP_MODE_STRICT)
                                 : syscall(SYS_seccomp, SECCOMP_SET_MODE_STRICT, 0, NULL);
            if (done || write(2, "strict\n", 7) != 7) syscall(SYS_exit, 1);
            syscall(SYS_getpriority, 0, 0);
            syscall(SYS_exit, 2);
        }
        if (!ends_by(child, SIGKILL)) return 1;
        child = fork();
        if (child == 0) {
            prctl(PR_SET_SECCOMP, SECCOMP_MODE_STRICT);
            syscall(SYS_exit, 0);
        }
        int status;
        return waitpid(child, &status, 0) != child || !WIFEXITED(status) || WEXITSTATUS(status);
    }
    if (!strcmp(which, "early")) // refused by a filter that was there before ours could be
        return syscall(SYS_getsid, 0) != -1 || errno != EPERM;
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)) return 1;
    if (!strcmp(which, "filter")) { // refused before the tracer's answer is asked for
        if (load(SYS_getpriority, SECCOMP_RET_ERRNO | ENOMEM, 0, by_prctl)) return 2;
        if (syscall(SYS_getpriority, 0, 0) != -1 || errno != ENOMEM) return 3;
        return prctl(PR_GET_SECCOMP) != 2;
    }
    if (!strcmp(which, "threads")) { // a filter for all threads at once
        pthread_t threads[4];
        long errors[4];
        for (int i = 0; i < 4; i++)
            if (pthread_create(&threads[i], NULL, waits, &errors[i])) return 2;
        if (load(SYS_getpriority, SECCOMP_RET_ERRNO | ENOMEM, SECCOMP_FILTER_FLAG_TSYNC, 0)) return 3;
        __atomic_store_n(&go, 1, __ATOMIC_SEQ_CST);
        for (int i = 0; i < 4; i++)
            if (pthread_join(threads[i], NULL) || errors[i] != ENOMEM) return 4;
        return 0;
    }
    if (!strcmp(which, "killed")) {
        pid_t child = fork();
        if (child == 0) {
            load(SYS_getpriority, SECCOMP_RET_KILL_PROCESS, 0, by_prctl);
            syscall(SYS_getpriority, 0, 0);
            _exit(1);
        }
        return !ends_by(child, SIGSYS);
    }
    if (!strcmp(which, "tracer")) { // it asks for a tracer that it does not have
        if (load(SYS_getpriority, SECCOMP_RET_TRACE | 1, 0, by_prctl)) return 2;
        return syscall(SYS_getpriority, 0, 0) != -1 || errno != ENOSYS;
    }
    if (!strcmp(which, "ptrace")) // as under any other tracer
        return ptrace(PTRACE_TRACEME, 0, NULL, NULL) != -1 || errno != EPERM;
    return 99;
}
