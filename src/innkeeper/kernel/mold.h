/* What the parts of the mold have of each other: mold.c, which forks, and first.c, which is a first process. */

#define _GNU_SOURCE
#define Py_LIMITED_API 0x03090000
#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <sys/types.h>
#include <sys/uio.h>

#define BROKEN 70 /* exit status, EX_SOFTWARE of sysexits.h */

/* Send one packet with so many descriptors; 0, or -1 with errno. */
int send_with(int socket, struct iovec *body, const int *descriptors, int count);

/* Receive one packet and the descriptor that comes with it, else -1; its length, or -1 with errno. */
ssize_t receive_with(int socket, struct iovec *body, int *descriptor);

/* Hold this process to the system calls that the fence allows; 0, or -1 with errno. */
int install_filters(void);

/* Be a first process until Python is needed. What that is told is described at `serve`. */
PyObject *first(int link, int to_serving, pid_t serving, int error);
