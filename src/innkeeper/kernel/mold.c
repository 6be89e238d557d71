/* The mold: a process that does nothing but fork, so that its memory stays as it is.

   A process that forks has its pages marked as shared, and copies each of them again when it next writes to it; those
   that it has copied are listed by the kernel, page by page, for all that is forked from then on. If it is a Python at
   work, both cost about as much as a worker's own start. So the one that talks with the supervisor (zygote/server.py)
   has this one fork, which writes to nothing but its stack.

   A request is one packet: a word of 32 bits, and the link by which what is forked is told what to be. The answer is
   two such words, the process's number and why there is none (errno), and its pidfd. */

#include "mold.h"
#include "pages.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define SERVING 1 /* the bit of a request: with a serving process */
#define SPACES (CLONE_NEWNS | CLONE_NEWIPC | CLONE_NEWUTS)
#define ROOM (1024 * 1024) /* bytes that may be on their way between the processes of a worker, as in sockets.py */

#define MOST_SENT 12 /* descriptors */
#define MOST_FILTERS 4

static int requests, own_pids, walled, number_of_filters;
static struct sock_fprog filters[MOST_FILTERS];
static const struct stretch *ahead; /* what serving processes are going to write to */
static size_t number_ahead;

int send_with(int socket, struct iovec *body, const int *descriptors, int count) {
    union {
        struct cmsghdr header;
        char room[CMSG_SPACE(MOST_SENT * sizeof(int))];
    } control = {.header = {.cmsg_len = CMSG_LEN((size_t)count * sizeof(int)), .cmsg_level = SOL_SOCKET,
                            .cmsg_type = SCM_RIGHTS}};
    struct msghdr message = {.msg_iov = body, .msg_iovlen = 1};
    if (count > 0) {
        message.msg_control = &control;
        message.msg_controllen = CMSG_SPACE((size_t)count * sizeof(int));
        memcpy(CMSG_DATA(&control.header), descriptors, (size_t)count * sizeof(int));
    }
    ssize_t sent;
    while ((sent = sendmsg(socket, &message, MSG_NOSIGNAL)) < 0 && errno == EINTR) continue;
    return sent < 0 ? -1 : 0;
}

ssize_t receive_with(int socket, struct iovec *body, int *descriptor) {
    union {
        struct cmsghdr header;
        char room[CMSG_SPACE(sizeof(int))];
    } control;
    struct msghdr message = {.msg_iov = body, .msg_iovlen = 1, .msg_control = &control,
                             .msg_controllen = sizeof control};
    ssize_t got;
    while ((got = recvmsg(socket, &message, MSG_CMSG_CLOEXEC)) < 0 && errno == EINTR) continue;
    struct cmsghdr *header = got > 0 ? CMSG_FIRSTHDR(&message) : NULL;
    *descriptor = -1;
    if (header && header->cmsg_level == SOL_SOCKET && header->cmsg_type == SCM_RIGHTS)
        for (size_t at = CMSG_LEN(0); at < header->cmsg_len; at += sizeof(int)) { /* there is room for a second one */
            if (*descriptor >= 0) close(*descriptor);
            memcpy(descriptor, (char *)header + at, sizeof *descriptor);
        }
    return got;
}

int install_filters(void) {
    for (int index = 0; index < number_of_filters; index++)
        if (prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filters[index], 0, 0) < 0) return -1;
    return 0;
}

/* The next request and its link; 0 when nobody is left to ask. */
static int receive(int32_t *request, int *link) {
    struct iovec body = {request, sizeof *request};
    return receive_with(requests, &body, link) == sizeof *request && *link >= 0;
}

static void answer(pid_t pid, int error, int pidfd) {
    int32_t words[2] = {pid, error};
    struct iovec body = {words, sizeof words};
    send_with(requests, &body, &pidfd, pidfd >= 0);
}

static int packets(int ends[2]) {
    int room = ROOM;
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) < 0) return -1;
    for (int end = 0; end < 2; end++) setsockopt(ends[end], SOL_SOCKET, SO_SNDBUF, &room, sizeof room);
    return 0;
}

/* What was forked: enter namespaces that nothing is in yet, fork the serving process. What Python is told is described
   at `serve`. */
static PyObject *begin(int32_t request, int link) {
    int ends[2] = {-1, -1}, error = 0;
    pid_t serving = 0;
    close(requests);
    close(own_pids);
    signal(SIGTERM, SIG_DFL);
    signal(SIGINT, SIG_DFL);
    prctl(PR_SET_NAME, "ik spare", 0, 0, 0);
    setsid();
    if (walled ? unshare(SPACES) < 0 : prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) < 0) error = errno;
    if (!error && request & SERVING) {
        if (packets(ends) < 0 || (serving = fork()) < 0) error = errno;
        if (!error && serving == 0) {
            prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
            close(link);
            close(ends[0]);
            copy_stretches(ahead, number_ahead);
            PyOS_AfterFork_Child();
            return PyLong_FromLong(ends[1]);
        }
        if (ends[1] >= 0) close(ends[1]);
    }
    return first(link, ends[0], error ? 0 : serving, error);
}

/* Fork once and answer. What Python is told in the new processes; NULL in this one. */
static PyObject *cast(int32_t request, int link) {
    if (walled && unshare(CLONE_NEWPID) < 0) {
        answer(0, errno, -1);
        return NULL;
    }
    signal(SIGCHLD, SIG_DFL); /* so that the number stays the process's until its pidfd is there */
    pid_t pid = fork();
    if (pid == 0) return begin(request, link);
    int error = pid < 0 ? errno : 0, pidfd = -1;
    if (!error && (pidfd = (int)syscall(SYS_pidfd_open, pid, 0)) < 0) error = errno;
    signal(SIGCHLD, SIG_IGN); /* the kernel reaps */
    while (waitpid(-1, NULL, WNOHANG) > 0) continue;
    if (walled && setns(own_pids, CLONE_NEWPID) < 0) _exit(BROKEN); /* the next one would be in a stranger's place */
    answer(error ? 0 : pid, error, pidfd);
    if (pidfd >= 0) close(pidfd);
    return NULL;
}

static PyObject *serve(PyObject *self, PyObject *arguments) {
    (void)self;
    int asker, channel;
    PyObject *programs;
    const char *foreseen;
    Py_ssize_t length;
    if (!PyArg_ParseTuple(arguments, "iiipO!y#", &requests, &asker, &channel, &walled, &PyTuple_Type, &programs,
                          &foreseen, &length))
        return NULL;
    ahead = (const struct stretch *)foreseen;
    number_ahead = (size_t)length / sizeof *ahead;
    if (PyTuple_Size(programs) > MOST_FILTERS) {
        PyErr_SetString(PyExc_ValueError, "too many filters");
        return NULL;
    }
    for (; number_of_filters < PyTuple_Size(programs); number_of_filters++) {
        PyObject *program = PyTuple_GetItem(programs, number_of_filters);
        struct sock_filter *code = (struct sock_filter *)PyBytes_AsString(program);
        if (!code) return NULL;
        filters[number_of_filters] =
            (struct sock_fprog){(unsigned short)((size_t)PyBytes_Size(program) / sizeof *code), code};
    }
    pid_t talker = fork();
    if (talker < 0) return PyErr_SetFromErrno(PyExc_OSError);
    if (talker == 0) {
        close(requests);
        Py_RETURN_NONE;
    }
    close(asker);
    close(channel);
    if ((own_pids = open("/proc/self/ns/pid", O_RDONLY | O_CLOEXEC)) < 0) _exit(BROKEN);
    signal(SIGTERM, SIG_IGN);
    signal(SIGINT, SIG_IGN);
    signal(SIGCHLD, SIG_IGN);
    PyOS_BeforeFork(); /* once for all: what is forked ends it, if it gets as far as Python */
    int32_t request;
    int link;
    while (receive(&request, &link)) {
        PyObject *told = cast(request, link);
        if (told) return told;
        close(link);
    }
    _exit(0);
}

static PyMethodDef methods[] = {
    {"serve", serve, METH_VARARGS,
     "Become the mold: fork on request until nobody is left to ask. Takes the link where requests come, its other\n"
     "end, a descriptor to close, whether each forked process is to have namespaces of its own, the seccomp programs\n"
     "of first processes, and what a serving process copies before all else (`_pages.stretches`).\n\n"
     "Returns None in a process that goes on as the caller did; a link to the first process in each serving process;\n"
     "in a first process, when it needs Python, what `innkeeper.kernel.mold.Begun` describes. Raises OSError."},
    {NULL, NULL, 0, NULL},
};

static struct PyModuleDef definition = {PyModuleDef_HEAD_INIT, "_mold", NULL, -1, methods, NULL, NULL, NULL, NULL};

PyMODINIT_FUNC PyInit__mold(void) { return PyModule_Create(&definition); }
