// Makes so many calls of one kind that dig, unless it counts, has put its filter in by then.
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

static inline void warm_up(void) {
    if (getenv("WARM"))
        for (int i = 0; i < 4000; i++) syscall(SYS_getppid);
}
