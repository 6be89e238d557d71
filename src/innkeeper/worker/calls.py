"""The system calls that a tenant's processes may make: what ordinary programs need, and no more.

The list follows what container engines allow by default, less the doors that are for administrators or have
been a way out: namespaces, mounts, kernel modules, keys, BPF, perf, io_uring, ptrace, clocks, userfaultfd.
A call that is not listed gives EPERM; one that programs try first and do without gives ENOSYS.
"""

from __future__ import annotations

import errno
from typing import List, Tuple

from innkeeper.kernel.seccomp import Rule, allowed, compile_filter, compile_refusals

_FILES = """
access chdir chmod chown close close_range copy_file_range creat dup dup2 dup3 faccessat faccessat2 fadvise64
fallocate fchdir fchmod fchmodat fchmodat2 fchown fchownat fcntl fdatasync fgetxattr flistxattr flock
fremovexattr fsetxattr fstat fstatfs fsync ftruncate futimesat getcwd getdents getdents64 getxattr
inotify_add_watch inotify_init inotify_init1 inotify_rm_watch ioctl lchown lgetxattr link linkat listxattr
llistxattr lremovexattr lseek lsetxattr lstat memfd_create mkdir mkdirat mknod mknodat newfstatat open openat
openat2 pipe pipe2 pread64 preadv preadv2 pwrite64 pwritev pwritev2 read readahead readlink readlinkat readv
removexattr rename renameat renameat2 rmdir sendfile setxattr splice stat statfs statx symlink symlinkat sync
sync_file_range syncfs tee truncate umask unlink unlinkat utime utimensat utimes vmsplice write writev
"""
_MEMORY = """
brk madvise mincore mlock mlock2 mlockall mmap mprotect mremap msync munlock munlockall munmap pkey_alloc
pkey_free pkey_mprotect membarrier map_shadow_stack mseal
"""
_PROCESSES = """
alarm arch_prctl capget capset execve execveat exit exit_group fork get_robust_list get_thread_area getcpu
getegid geteuid getgid getgroups getitimer getpgid getpgrp getpid getppid getpriority getrandom getresgid
getresuid getrlimit getrusage getsid gettid getuid ioprio_get ioprio_set kill pause pidfd_open pidfd_send_signal
prctl prlimit64 restart_syscall rseq rt_sigaction rt_sigpending rt_sigprocmask rt_sigqueueinfo rt_sigreturn
rt_sigsuspend rt_sigtimedwait rt_tgsigqueueinfo sched_get_priority_max sched_get_priority_min sched_getaffinity
sched_getattr sched_getparam sched_getscheduler sched_rr_get_interval sched_setaffinity sched_setattr
sched_setparam sched_setscheduler sched_yield seccomp set_robust_list set_thread_area set_tid_address setfsgid
setfsuid setgid setgroups setitimer setpgid setpriority setregid setresgid setresuid setreuid setrlimit setsid
setuid sigaltstack sysinfo tgkill time times tkill uname vfork wait4 waitid landlock_create_ruleset
landlock_add_rule landlock_restrict_self
"""
_WAITING = """
clock_getres clock_gettime clock_nanosleep epoll_create epoll_create1 epoll_ctl epoll_pwait epoll_pwait2
epoll_wait eventfd eventfd2 futex futex_waitv futex_wake futex_wait futex_requeue gettimeofday nanosleep poll
ppoll pselect6 select signalfd signalfd4 timer_create timer_delete timer_getoverrun timer_gettime timer_settime
timerfd_create timerfd_gettime timerfd_settime io_cancel io_destroy io_getevents io_pgetevents io_setup
io_submit
"""
_TALKING = """
accept accept4 bind connect getpeername getsockname getsockopt listen recvfrom recvmmsg recvmsg sendmmsg sendmsg
sendto setsockopt shutdown socketpair mq_getsetattr mq_notify mq_open mq_timedreceive mq_timedsend mq_unlink
msgctl msgget msgrcv msgsnd semctl semget semop semtimedop shmat shmctl shmdt shmget
"""
# Requests of ioctl that put words into a terminal's input (TIOCSTI, TIOCLINUX), and those by which files would be
# counted for nobody: another project (FS_IOC_FSSETXATTR), a subvolume or snapshot of one's own (btrfs).
_REFUSED_REQUESTS = (0x5412, 0x541C, 0x401C5820, 0x5000940E, 0x50009418, 0x50009401, 0x50009417)
_NEW_NAMESPACES = 0x7E020000  # CLONE_NEWNS, -CGROUP, -UTS, -IPC, -USER, -PID and -NET
_WHOLE = 0xFFFFFFFF
_TYPE = 0xF  # of a socket's type, the part that is not a flag
_UNIX, _INET, _INET6, _NETLINK = 1, 2, 10, 16
_STREAM, _DATAGRAM = 1, 2
_PERSONALITIES = (0x0, 0x8, 0x20000, 0x20008, 0xFFFFFFFF)


def _rules() -> List[Rule]:
    names = " ".join((_FILES, _MEMORY, _PROCESSES, _WAITING, _TALKING))
    rules = allowed(names)
    rules.append(Rule("clone", ((0, _NEW_NAMESPACES, 0),)))
    rules.append(Rule("socket", ((0, _WHOLE, _UNIX),)))
    rules.append(Rule("socket", ((0, _WHOLE, _NETLINK), (2, _WHOLE, 0))))  # routes and interfaces only
    for family in (_INET, _INET6):
        for kind in (_STREAM, _DATAGRAM):
            rules.append(Rule("socket", ((0, _WHOLE, family), (1, _TYPE, kind))))
    rules += [Rule("personality", ((0, _WHOLE, value),)) for value in _PERSONALITIES]
    return rules


def programs() -> Tuple[bytes, ...]:
    """The compiled filters. Raises OSError when libseccomp is not there."""
    refused = [
        (call, errno.ENOSYS) for call in ("clone3", "io_uring_setup", "io_uring_enter", "io_uring_register")
    ]
    requests = [Rule("ioctl", ((1, _WHOLE, request),)) for request in _REFUSED_REQUESTS]
    return compile_filter(_rules(), errno.EPERM, refused), compile_refusals(requests, errno.EPERM)
