// Checks that signals arrive as they were sent; the exit code is the number of the check that failed.
#define _GNU_SOURCE
#include <errno.h>
#include <signal.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "warm.h"

static volatile sig_atomic_t seen[65], value, code;

static void handler(int signal, siginfo_t *info, void *context) {
    (void)context;
    seen[signal]++;
    code = info->si_code;
    value = info->si_value.sival_int;
}

int main(void) {
    warm_up();
    const int last = SIGRTMAX, middle = SIGRTMIN + 3;
    const int all[] = {SIGUSR1, SIGTRAP, SIGSYS, SIGALRM, SIGWINCH, middle, last};
    struct sigaction action = {.sa_sigaction = handler, .sa_flags = SA_SIGINFO};
    for (unsigned i = 0; i < sizeof all / sizeof *all; i++) {
        if (sigaction(all[i], &action, NULL)) return 1;
        union sigval sent = {.sival_int = 4711 + (int)i};
        if (sigqueue(getpid(), all[i], sent)) return 2;
        if (seen[all[i]] != 1 || code != SI_QUEUE || value != sent.sival_int) return 3;
    }
    alarm(1);
    struct timespec minute = {60, 0};
    if (nanosleep(&minute, NULL) != -1 || errno != EINTR || seen[SIGALRM] != 2) return 4;

    int status, go[2];
    char byte = 0;
    if (pipe(go)) return 1;
    pid_t child = fork();
    if (child == 0) {
        raise(SIGSTOP);
        _exit(read(go[0], &byte, 1) == 1 ? 7 : 8); // not before its parent has seen it go on
    }
    if (waitpid(child, &status, WUNTRACED) != child || !WIFSTOPPED(status) || WSTOPSIG(status) != SIGSTOP) return 5;
    kill(child, SIGCONT);
    if (waitpid(child, &status, WCONTINUED) != child || !WIFCONTINUED(status)) return 6;
    if (write(go[1], &byte, 1) != 1) return 7;
    if (waitpid(child, &status, 0) != child || !WIFEXITED(status) || WEXITSTATUS(status) != 7) return 7;

    child = fork();
    if (child == 0) for (;;) pause();
    kill(child, SIGRTMIN);
    if (waitpid(child, &status, 0) != child || !WIFSIGNALED(status) || WTERMSIG(status) != SIGRTMIN) return 8;
    return 0;
}
