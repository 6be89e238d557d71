/* Copying, ahead, pages that a forked process is going to write to: pages.c tells which, mold.c does it as well. */

#include <stdint.h>
#include <sys/mman.h>

#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23 /* Linux 5.14 */
#endif

struct stretch {
    uint64_t start, length;
};

/* Copy all pages of so many stretches, each at once; bytes. */
static inline size_t copy_stretches(const struct stretch *stretches, size_t count) {
    size_t copied = 0;
    for (size_t index = 0; index < count; index++)
        if (madvise((void *)(uintptr_t)stretches[index].start, stretches[index].length, MADV_POPULATE_WRITE) == 0)
            copied += stretches[index].length;
    return copied;
}
