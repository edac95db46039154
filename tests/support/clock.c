/* Preloaded into a daemon: its wall clock is off by as many seconds as the file TEST_CLOCK says
   (eight bytes, of this host's order). Durations are true. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

int clock_gettime(clockid_t id, struct timespec *at)
{
    long result = syscall(SYS_clock_gettime, id, at);
    const char *path = getenv("TEST_CLOCK");
    if (result == 0 && id == CLOCK_REALTIME && path) {
        int fd = open(path, O_RDONLY | O_CLOEXEC);
        int64_t seconds = 0;
        if (fd >= 0 && read(fd, &seconds, sizeof seconds) == sizeof seconds)
            at->tv_sec += seconds;
        if (fd >= 0)
            close(fd);
    }
    return (int)result;
}
