// Makes a relative in an odd way, which makes one telling system call (getpriority); checks that the flags
// that were asked for are still there afterwards. The exit code is the number of the check that failed.
#define _GNU_SOURCE
#include <linux/sched.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>

#include "warm.h"

static int tell(void) { return syscall(SYS_getpriority, 0, 0) < 0; }
static void *tell_as_thread(void *argument) {
    tell();
    return argument;
}
static int tell_as_clone(void *argument) { return argument ? 9 : tell(); }

static int ended_well(pid_t child) {
    int status;
    return waitpid(child, &status, __WALL) == child && WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

static void *stack(void) {
    char *at = mmap(NULL, 65536, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    return at + 65536;
}

int main(int argc, char **argv) {
    warm_up();
    const char *which = argc > 1 ? argv[1] : "";
    if (!strcmp(which, "untraced")) {
        pid_t child = clone(tell_as_clone, stack(), CLONE_UNTRACED | SIGCHLD, NULL);
        return child < 0 ? 1 : !ended_well(child);
    }
    if (!strcmp(which, "untraced3")) { // twice: from memory that may be written and from such that may not
        struct clone_args *args = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        args->flags = CLONE_UNTRACED;
        args->exit_signal = SIGCHLD;
        for (int i = 1; i < 3; i++) {
            pid_t child = syscall(SYS_clone3, args, sizeof *args);
            if (child == 0) _exit(args->flags != CLONE_UNTRACED || tell());
            if (child < 0) return i;
            if (!ended_well(child)) return 2 + i;
            if (args->flags != CLONE_UNTRACED) return 4 + i;
            if (mprotect(args, 4096, PROT_READ)) return 7;
        }
        return 0;
    }
    if (!strcmp(which, "sibling")) { // the child's child is the parent's child
        int ends[2];
        pid_t made;
        if (pipe(ends)) return 1;
        pid_t child = fork();
        if (child == 0) {
            made = clone(tell_as_clone, stack(), CLONE_PARENT | SIGCHLD, NULL);
            _exit(write(ends[1], &made, sizeof made) != sizeof made);
        }
        if (!ended_well(child)) return 2;
        if (read(ends[0], &made, sizeof made) != sizeof made) return 3;
        return !ended_well(made);
    }
    if (!strcmp(which, "shared")) { // memory and files, but no thread, and no signal at its end
        pid_t child = clone(tell_as_clone, stack(), CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND, NULL);
        return child < 0 ? 1 : !ended_well(child);
    }
    if (!strcmp(which, "storm")) { // threads and processes at once, while a filter may be coming
        pthread_t threads[8];
        for (int i = 0; i < 8; i++)
            if (pthread_create(&threads[i], NULL, tell_as_thread, NULL)) return 1;
        for (int i = 0; i < 20; i++) {
            pid_t child = fork();
            if (child == 0) _exit(tell());
            for (int j = 0; j < 100; j++) syscall(SYS_getppid);
            if (!ended_well(child)) return 2;
        }
        for (int i = 0; i < 8; i++) pthread_join(threads[i], NULL);
        return 0;
    }
    return 99;
}
