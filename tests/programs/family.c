// Makes one telling system call in a relative: a thread, a child, a program that a thread executed.
#define _GNU_SOURCE
#include <pthread.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "warm.h"

static const char *const self = "/proc/self/exe";

static void *schedule(void *argument) {
    syscall(SYS_sched_getscheduler, 0);
    return argument;
}

static void *become(void *argument) {
    execl(self, "family", "second", (char *)NULL);
    _exit(9);
    return argument;
}

int main(int argc, char **argv) {
    warm_up();
    const char *which = argc > 1 ? argv[1] : "";
    unsigned ids[3];
    int status = 0;
    if (!strcmp(which, "second")) { // what the others execute
        return (int)syscall(SYS_getresuid, &ids[0], &ids[1], &ids[2]);
    }
    if (!strcmp(which, "threads")) {
        pthread_t threads[4];
        for (int i = 0; i < 4; i++)
            if (pthread_create(&threads[i], NULL, schedule, NULL)) return 2;
        for (int i = 0; i < 4; i++) pthread_join(threads[i], NULL);
        return 0;
    }
    if (!strcmp(which, "fork")) {
        if (fork() == 0) _exit(syscall(SYS_getpriority, 0, 0) < 0);
        wait(&status);
        return status != 0;
    }
    if (!strcmp(which, "vfork")) {
        if (vfork() == 0) {
            execl(self, "family", "second", (char *)NULL);
            _exit(9);
        }
        wait(&status);
        syscall(SYS_getsid, 0);
        return status != 0;
    }
    if (!strcmp(which, "exec")) {
        pthread_t thread;
        if (pthread_create(&thread, NULL, become, NULL)) return 2;
        for (;;) pause();
    }
    if (!strcmp(which, "orphan")) { // the child goes on when its parent has ended
        int ends[2];
        char byte;
        if (pipe(ends)) return 2;
        if (fork() == 0) {
            close(ends[1]);
            if (read(ends[0], &byte, 1) == 0) syscall(SYS_getpriority, 0, 0);
            _exit(0);
        }
        return 0;
    }
    return 2;
}
