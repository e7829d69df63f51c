// Stops often enough to be bound to a CPU, and must not see that: nor its threads, children and programs.
// The exit code is the number of the check that failed.
#define _GNU_SOURCE
#include <pthread.h>
#include <sched.h>
#include <string.h>
#include <sys/wait.h>

#include "warm.h"

static cpu_set_t before;

static int changed(void) {
    cpu_set_t now;
    if (sched_getaffinity(0, sizeof now, &now)) return 1;
    return !CPU_EQUAL(&before, &now);
}

static void busy(void) {
    for (int i = 0; i < 200; i++) syscall(SYS_getppid);
}

static void *thread(void *unused) {
    (void)unused;
    return changed() ? (void *)1 : NULL;
}

static int fails(pid_t child) {
    int status;
    return child < 0 || waitpid(child, &status, 0) != child || !WIFEXITED(status) || WEXITSTATUS(status);
}

int main(int argc, char **argv) {
    if (argc > 1) { // the program that was executed: all CPUs are again as many as are named
        if (sched_getaffinity(0, sizeof before, &before)) return 1;
        return CPU_COUNT(&before) != atoi(argv[1]);
    }
    if (sched_getaffinity(0, sizeof before, &before)) return 1;
    warm_up();
    busy();
    pid_t child = fork();
    if (child == 0) _exit(changed());
    if (fails(child)) return 2;
    busy();
    child = vfork();
    if (child == 0) {
        char count[12];
        int rest = CPU_COUNT(&before), at = 11;
        count[at] = 0;
        for (; rest; rest /= 10) count[--at] = '0' + rest % 10;
        execl(argv[0], argv[0], count + at, NULL);
        _exit(9);
    }
    if (fails(child)) return 3;
    busy();
    pthread_t made;
    void *wrong;
    if (pthread_create(&made, NULL, thread, NULL) || pthread_join(made, &wrong) || wrong) return 4;
    busy();
    if (changed()) return 5;
    cpu_set_t one;
    CPU_ZERO(&one);
    for (int cpu = 0; cpu < CPU_SETSIZE; cpu++)
        if (CPU_ISSET(cpu, &before)) {
            CPU_SET(cpu, &one);
            break;
        }
    if (sched_setaffinity(0, sizeof one, &one)) return 6;
    before = one;
    busy();
    return changed() ? 7 : 0;
}
