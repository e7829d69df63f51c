// Ends in the way that is asked for, or waits (a minute at the most) to be ended.
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "warm.h"

static void linger(void) {
    alarm(60);
    if (write(1, "ready\n", 6) != 6) abort();
    for (;;) pause();
}

int main(int argc, char **argv) {
    warm_up();
    const char *which = argc > 1 ? argv[1] : "";
    if (!strcmp(which, "segv")) raise(SIGSEGV);
    if (!strcmp(which, "three")) return 3;
    if (!strcmp(which, "linger")) { // with a child that ignores what can be ignored
        if (fork() == 0) {
            for (int number = 1; number < 32; number++)
                if (number != SIGALRM) signal(number, SIG_IGN);
        }
        linger();
    }
    if (!strcmp(which, "leave")) { // the child lingers, its parent has ended
        int ends[2];
        char byte;
        if (pipe(ends)) return 2;
        if (fork() == 0) {
            close(ends[1]);
            if (read(ends[0], &byte, 1) == 0) linger();
            return 2;
        }
        return 0;
    }
    return 2;
}
