/* Memory that forked processes share: a snapshot of it as a file, and giving back copies that have not changed.

   A forked process copies a page when it writes to it, and Python writes to whatever it looks at: it counts the
   references. Many of those copies are soon what they were before, byte for byte, and are kept all the same. So the
   zygote's memory is made a private mapping of a file that is nowhere but in memory: a fork has no table of pages to
   copy for it, and a page that is as it was can be dropped, for it comes from the file again.

   Both must not be interrupted by anything that writes to this memory, which is why they are not in Python. Between
   the copying of a region and its mapping nothing is written but the stack. As long as nobody else has the memory
   mapped, the snapshot can be renewed: it then holds what was learned with its help. */

#define _GNU_SOURCE
#define Py_LIMITED_API 0x03090000
#include <Python.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "pages.h"

#define MOST_REGIONS 128
#define ENTRIES 512 /* of the table of pages, read at a time */
#define PRESENT (1ULL << 63)
#define SWAPPED (1ULL << 62)
#define OF_FILE (1ULL << 61)

static struct region {
    char *start;
    size_t length;
    int of_file; /* a page that is not in memory is not empty */
    const char *as_it_was; /* NULL before the snapshot */
} regions[MOST_REGIONS];
static int count;
static size_t page;
static const char *snapshot_of_all;
static int file = -1; /* the snapshot, for as long as it may be renewed */

/* The kernel's words for the pages from `start` on; how many there are, or -1. */
static ssize_t look(int table, const char *start, size_t pages, uint64_t *words) {
    size_t wanted = pages < ENTRIES ? pages : ENTRIES;
    ssize_t got = pread(table, words, wanted * sizeof *words, (off_t)((uintptr_t)start / page * sizeof *words));
    return got < 0 ? -1 : got / (ssize_t)sizeof *words;
}

/* Whether a page is a copy of this process's own. */
static int is_copy(uint64_t word) { return (word & (PRESENT | OF_FILE)) == PRESENT; }

/* Whether the snapshot lacks a page. */
static int is_new(const struct region *region, uint64_t word) {
    if (region->as_it_was) return (word & (PRESENT | SWAPPED)) && !(word & OF_FILE);
    return region->of_file || word & (PRESENT | SWAPPED);
}

/* Write what the snapshot lacks of a region to its file, and have the region be a mapping of that. What never was in
   memory is left out. 0, or -1 with errno. */
static int copy(int table, const struct region *region, off_t offset) {
    uint64_t words[ENTRIES];
    for (size_t done = 0; done < region->length;) {
        ssize_t found = look(table, region->start + done, (region->length - done) / page, words);
        if (found <= 0) return -1;
        for (ssize_t index = 0; index < found; index++) {
            size_t at = done + index * page;
            if (is_new(region, words[index]) &&
                pwrite(file, region->start + at, page, offset + (off_t)at) != (ssize_t)page)
                return -1;
        }
        done += found * page;
    }
    void *mapped = mmap(region->start, region->length, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_FIXED, file, offset);
    return mapped == MAP_FAILED ? -1 : 0;
}

static PyObject *snapshot(PyObject *self, PyObject *wanted) {
    (void)self;
    page = (size_t)sysconf(_SC_PAGESIZE);
    Py_ssize_t number = PyList_Size(wanted);
    if (number < 0) return NULL;
    if (count || number > MOST_REGIONS) {
        PyErr_SetString(PyExc_ValueError, count ? "there is a snapshot already" : "too many regions");
        return NULL;
    }
    size_t total = 0;
    for (Py_ssize_t index = 0; index < number; index++) {
        unsigned long long start, length;
        int of_file;
        if (!PyArg_ParseTuple(PyList_GetItem(wanted, index), "KKp", &start, &length, &of_file)) return NULL;
        regions[index] = (struct region){(char *)(uintptr_t)start, (size_t)length, of_file, NULL};
        total += (size_t)length;
    }
    int table = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
    file = memfd_create("innkeeper", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    void *all = MAP_FAILED;
    if (table >= 0 && file >= 0 && ftruncate(file, (off_t)total) == 0)
        all = mmap(NULL, total, PROT_READ, MAP_PRIVATE, file, 0);
    off_t offset = 0;
    if (all != MAP_FAILED)
        for (snapshot_of_all = all; count < number; count++) {
            struct region *region = &regions[count];
            if (copy(table, region, offset) < 0) break;
            region->as_it_was = snapshot_of_all + offset;
            offset += (off_t)region->length;
        }
    int failed = count < number || all == MAP_FAILED;
    if (failed) PyErr_SetFromErrno(PyExc_OSError);
    if (failed && file >= 0) {
        close(file);
        file = -1;
    }
    if (table >= 0) close(table);
    return failed ? NULL : PyLong_FromSize_t((size_t)offset);
}

static PyObject *renew(PyObject *self, PyObject *nothing) {
    (void)self;
    (void)nothing;
    if (file < 0) Py_RETURN_NONE;
    int table = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC), number = 0;
    if (table >= 0)
        while (number < count && copy(table, &regions[number], regions[number].as_it_was - snapshot_of_all) == 0)
            number++;
    int failed = table < 0 || number < count;
    if (failed) PyErr_SetFromErrno(PyExc_OSError);
    fcntl(file, F_ADD_SEALS, F_SEAL_WRITE | F_SEAL_GROW | F_SEAL_SHRINK | F_SEAL_SEAL);
    if (table >= 0) close(table);
    close(file);
    file = -1;
    if (failed) return NULL;
    Py_RETURN_NONE;
}

static PyObject *give_back(PyObject *self, PyObject *arguments) {
    (void)self;
    int table;
    size_t given = 0;
    if (!PyArg_ParseTuple(arguments, "i", &table)) return NULL;
    for (int number = 0; number < count; number++) {
        const struct region *region = &regions[number];
        uint64_t words[ENTRIES];
        for (size_t done = 0; done < region->length;) {
            ssize_t found = look(table, region->start + done, (region->length - done) / page, words);
            if (found <= 0) return PyErr_SetFromErrno(PyExc_OSError);
            for (ssize_t index = 0; index < found; index++) {
                size_t at = done + index * page;
                if (is_copy(words[index]) &&
                    memcmp(region->start + at, region->as_it_was + at, page) == 0 &&
                    madvise(region->start + at, page, MADV_DONTNEED) == 0)
                    given += page;
            }
            done += found * page;
        }
    }
    return PyLong_FromSize_t(given);
}

static PyObject *touched(PyObject *self, PyObject *arguments) {
    (void)self;
    int table;
    size_t total = 0;
    if (!PyArg_ParseTuple(arguments, "i", &table)) return NULL;
    for (int number = 0; number < count; number++) total += regions[number].length / page;
    PyObject *found = PyBytes_FromStringAndSize(NULL, (Py_ssize_t)total);
    char *marks = found ? PyBytes_AsString(found) : NULL;
    if (!marks) return NULL;
    for (int number = 0; number < count; number++) {
        const struct region *region = &regions[number];
        uint64_t words[ENTRIES];
        for (size_t done = 0; done < region->length;) {
            ssize_t seen = look(table, region->start + done, (region->length - done) / page, words);
            if (seen <= 0) {
                Py_DECREF(found);
                return PyErr_SetFromErrno(PyExc_OSError);
            }
            for (ssize_t index = 0; index < seen; index++) *marks++ = is_copy(words[index]) ? 1 : 0;
            done += seen * page;
        }
    }
    return found;
}

static PyObject *stretches(PyObject *self, PyObject *wanted) {
    (void)self;
    const char *marks = PyBytes_AsString(wanted);
    size_t total = 0, number_found = 0;
    if (!marks) return NULL;
    for (int number = 0; number < count; number++) total += regions[number].length / page;
    if ((size_t)PyBytes_Size(wanted) != total) {
        PyErr_SetString(PyExc_ValueError, "this is not of the same snapshot");
        return NULL;
    }
    struct stretch *found = PyMem_Malloc((total + 1) * sizeof *found);
    if (!found) return PyErr_NoMemory();
    for (int number = 0; number < count; number++) {
        size_t pages = regions[number].length / page;
        for (size_t first = 0, end; first < pages; first = end) {
            for (end = first + 1; end < pages && marks[end] == marks[first]; end++) continue;
            if (marks[first])
                found[number_found++] = (struct stretch){(uintptr_t)regions[number].start + first * page,
                                                         (end - first) * page};
        }
        marks += pages;
    }
    PyObject *told = PyBytes_FromStringAndSize((char *)found, (Py_ssize_t)(number_found * sizeof *found));
    PyMem_Free(found);
    return told;
}

static PyObject *copy_ahead(PyObject *self, PyObject *wanted) {
    (void)self;
    const void *found = PyBytes_AsString(wanted);
    if (!found) return NULL;
    return PyLong_FromSize_t(copy_stretches(found, (size_t)PyBytes_Size(wanted) / sizeof(struct stretch)));
}

static PyMethodDef methods[] = {
    {"snapshot", snapshot, METH_O,
     "Make regions of memory, (address, length, whether it is a file's) each, private mappings of a file that is\n"
     "nowhere but in memory; its size. Raises OSError."},
    {"renew", renew, METH_NOARGS,
     "Have the snapshot be of now, and stay so. What was forked since the snapshot must have ended. Raises OSError."},
    {"give_back", give_back, METH_VARARGS,
     "Drop the copies that are as they were at the snapshot; bytes. Takes the descriptor of /proc/self/pagemap, and\n"
     "a process in which no other thread runs."},
    {"touched", touched, METH_VARARGS, "A byte for each page of the snapshot: 1 where this process has a copy."},
    {"stretches", stretches, METH_O, "Where the pages lie that `touched` has told of, for `copy_ahead` and the mold."},
    {"copy_ahead", copy_ahead, METH_O, "Make copies of pages, as `stretches` tells them; bytes."},
    {NULL, NULL, 0, NULL},
};

static struct PyModuleDef definition = {PyModuleDef_HEAD_INIT, "_pages", NULL, -1, methods, NULL, NULL, NULL, NULL};

PyMODINIT_FUNC PyInit__pages(void) { return PyModule_Create(&definition); }
