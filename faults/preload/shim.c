/* What a process sees of the clock on the wall and of the disk under its append-only files, as a page of memory says.

   Loaded before libc (LD_PRELOAD); the page is a file that the harness maps too (page.py has the same fields), so a
   change holds from the next call on, in the process and in all that it forks. Other clocks are left alone. */

#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#define NS_PER_S 1000000000LL

struct page {
    volatile int64_t clock_offset_ns; /* what is added to CLOCK_REALTIME */
    volatile int64_t clock_reads;     /* how often it was read while the offset was not 0 */
    volatile int64_t sync_errno;      /* what a sync of an append-only file fails with; 0: nothing */
    volatile int64_t sync_good;       /* so many syncs are good before the first that fails */
    volatile int64_t sync_delay_ns;   /* how much longer each takes */
    volatile int64_t syncs_failed, syncs_delayed;
};

static struct page nothing, *page = &nothing;

/* Look at another page from now on: after a fork, each child has one of its own. 0, or -1 when it cannot be mapped. */
int taskchaos_use_page(const char *path) {
    int file = open(path, O_RDWR | O_CLOEXEC);
    if (file < 0) return -1;
    void *found = mmap(NULL, sizeof(struct page), PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    close(file);
    if (found == MAP_FAILED) return -1;
    page = found;
    return 0;
}

__attribute__((constructor)) static void begin(void) {
    const char *path = getenv("TASKCHAOS_PAGE");
    if (path) taskchaos_use_page(path);
}

static int64_t offset_ns(void) {
    int64_t offset = page->clock_offset_ns;
    if (offset) __atomic_fetch_add(&page->clock_reads, 1, __ATOMIC_RELAXED);
    return offset;
}

static int real_clock(clockid_t clock, struct timespec *at) {
    static int (*real)(clockid_t, struct timespec *);
    if (!real) real = (int (*)(clockid_t, struct timespec *))dlsym(RTLD_NEXT, "clock_gettime");
    return real(clock, at);
}

int clock_gettime(clockid_t clock, struct timespec *at) {
    int result = real_clock(clock, at);
    if (result == 0 && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE)) {
        int64_t ns = at->tv_sec * NS_PER_S + at->tv_nsec + offset_ns();
        at->tv_sec = ns / NS_PER_S;
        at->tv_nsec = ns % NS_PER_S;
    }
    return result;
}

int gettimeofday(struct timeval *restrict at, void *restrict zone) {
    struct timespec now;
    (void)zone;
    if (clock_gettime(CLOCK_REALTIME, &now)) return -1;
    at->tv_sec = now.tv_sec;
    at->tv_usec = now.tv_nsec / 1000;
    return 0;
}

time_t time(time_t *at) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    if (at) *at = now.tv_sec;
    return now.tv_sec;
}

static int append_only(int file) {
    char link[64], path[4096];
    snprintf(link, sizeof link, "/proc/self/fd/%d", file);
    ssize_t length = readlink(link, path, sizeof path - 1);
    if (length < 4) return 0;
    path[length] = 0;
    return strcmp(path + length - 4, ".aof") == 0;
}

static int sync_file(const char *name, int file) {
    int64_t delay = page->sync_delay_ns, error = page->sync_errno;
    if ((delay || error) && append_only(file)) {
        if (delay) {
            struct timespec wait = {delay / NS_PER_S, delay % NS_PER_S};
            __atomic_fetch_add(&page->syncs_delayed, 1, __ATOMIC_RELAXED);
            nanosleep(&wait, NULL);
        }
        if (error && __atomic_fetch_sub(&page->sync_good, 1, __ATOMIC_RELAXED) <= 0) {
            __atomic_fetch_add(&page->syncs_failed, 1, __ATOMIC_RELAXED);
            errno = (int)error;
            return -1;
        }
    }
    return ((int (*)(int))dlsym(RTLD_NEXT, name))(file);
}

int fsync(int file) { return sync_file("fsync", file); }

int fdatasync(int file) { return sync_file("fdatasync", file); }
