/* Says when it began: CLOCK_MONOTONIC in nanoseconds, and its pid, written to the FIFO that it is
   given; then it waits to be killed. Linked statically, so that it begins at once. */
#include <fcntl.h>
#include <stdint.h>
#include <time.h>
#include <unistd.h>

int main(int argc, char **argv) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    int64_t stamp[2] = {now.tv_sec * INT64_C(1000000000) + now.tv_nsec, getpid()};
    int to = argc > 1 ? open(argv[1], O_WRONLY) : -1;
    if (write(to, stamp, sizeof stamp) != sizeof stamp) {
        return 1;
    }
    for (;;) {
        pause();
    }
}
