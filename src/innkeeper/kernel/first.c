/* The first process of a worker, for as long as nothing is out of the ordinary.

   It furnishes the sandbox by a script (see worker/sandbox.py), lets the serving process in, becomes the tenant, and
   then hardly ever has anything to do. A Python that does this looks at a thousand pages of memory, each of which is
   copied by that, and takes a fifth of the time that a start costs. So Python is entered when there is something to
   decide (worker/first.py goes on from here), and what it would say without a second thought is said here. */

#include "mold.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define MOST_DESCRIPTORS 12 /* as in worker/order.py */
#define MOST_BYTES (320 * 1024)
#define MOST_FIELDS 5
#define MOST_TOLD 65536 /* bytes of a message that is not left to Python at once */
#define LANDLOCK_CREATE 444
#define LANDLOCK_ADD 445
#define LANDLOCK_RESTRICT 446
#define MOST_PUMPED 65536 /* bytes of output that are no flood whatever the limit */
#define COME "{\"do\": \"come\"}"
#define REPORT "{\"do\": \"report\"}"
#define LOOK "{\"do\": \"look\"}"
#define BEAT "{\"event\": \"beat\", \"idle\": "
#define LETTERS "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_."
#define WATCHED "\"watched\": \""
#define LOADED "{\"event\": \"loaded\", "
#define IMPORTED "{\"event\": \"imported\", \"modules\": ["

static char packet[MOST_BYTES]; /* the script's length, the script, the order */
static size_t script_length, packet_length;
static int given[MOST_DESCRIPTORS], number_given; /* channel, listener, stdout, stderr, doors */
static int pipes[2][2] = {{-1, -1}, {-1, -1}};     /* of the logs: where it is read, where written */
static int link_to_serving, rules = -1, table = -1, touch = -1;
static char loaded[MOST_TOLD + 1]; /* its last byte stays 0 */
static size_t loaded_length;
static long log_limit, pumped[2];
static int touched; /* the app's file has changed */
static int asked;   /* when the app was last used: an answer is due */
static double heard, used, patience;

static double now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

static void say(int channel, const char *text) {
    while (send(channel, text, strlen(text), MSG_NOSIGNAL) < 0 && errno == EINTR) continue;
}

/* Tell the supervisor what of the sandbox could not be had, and end. */
static void break_off(const char *what, const char *about, int error) {
    char place[256], text[512];
    size_t length = 0;
    for (; about[length] && length < sizeof place - 1; length++) /* what would need to be escaped is left out */
        place[length] = about[length] < 32 || strchr("\"\\\x7f", about[length]) ? '?' : about[length];
    place[length] = 0;
    snprintf(text, sizeof text, "{\"event\": \"broken\", \"reason\": \"OSError: [Errno %d] %s: %s: '%s'\"}", error, what,
             strerror(error), place);
    say(given[0], text);
    _exit(BROKEN);
}

/* ── the script ─────────────────────────────────────────────────────────────────────────────────────────────────── */

static unsigned long long number(const char *text) { return strtoull(text, NULL, 10); }

static const char *or_null(const char *text) { return *text ? text : NULL; }

static int do_mount(char **of) { return mount(of[0], of[1], or_null(of[2]), number(of[3]), or_null(of[4])); }
static int do_mkdir(char **of) { return mkdir(of[0], 0755); }
static int do_symlink(char **of) { return symlink(of[0], of[1]); }
static int do_detach(char **of) { return umount2(of[0], MNT_DETACH); }
static int do_hostname(char **of) { return sethostname(of[0], strlen(of[0])); }
static int do_name(char **of) { return prctl(PR_SET_NAME, of[0], 0, 0, 0); }

static int do_file(char **of) {
    int file = open(of[0], O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
    size_t length = strlen(of[1]);
    if (file < 0) return -1;
    int result = write(file, of[1], length) == (ssize_t)length ? 0 : -1;
    return close(file) < 0 ? -1 : result;
}

static int do_rules(char **of) {
    unsigned long long attributes[3] = {number(of[0]), 0, number(of[1])};
    rules = (int)syscall(LANDLOCK_CREATE, attributes, (size_t)number(of[2]), 0);
    return rules < 0 ? -1 : 0;
}

static int do_allow(char **of) {
    struct {
        unsigned long long rights;
        int directory;
    } __attribute__((packed)) rule = {number(of[1]), open(of[0], O_PATH | O_CLOEXEC)};
    if (rule.directory < 0) return errno == ENOENT ? 0 : -1;
    int result = (int)syscall(LANDLOCK_ADD, rules, 1, &rule, 0);
    close(rule.directory);
    return result;
}

static int do_limit(char **of) {
    struct rlimit limit = {number(of[1]), number(of[1])};
    return setrlimit((int)number(of[0]), &limit);
}

/* Not ours to say in an unprivileged container, so nobody asks what came of it. */
static int do_rating(char **of) {
    int file = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);
    if (file >= 0 && write(file, of[0], strlen(of[0])) < 0) errno = 0;
    if (file >= 0) close(file);
    return 0;
}

static int do_become(char **of) {
    uid_t uid = (uid_t)number(of[0]);
    gid_t gid = (gid_t)number(of[1]);
    if (syscall(SYS_setgroups, 0, NULL) < 0 || setresgid(gid, gid, gid) < 0 || setresuid(uid, uid, uid) < 0) return -1;
    umask(022);
    return 0;
}

static int do_restrict(char **of) {
    (void)of;
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0) return -1;
    return rules < 0 ? 0 : (int)syscall(LANDLOCK_RESTRICT, rules, 0);
}

/* Let the serving process in, which goes on behind the same rules. If it has ended, that is seen next. */
static int do_admit(char **of) {
    (void)of;
    struct iovec body = {COME, sizeof COME - 1};
    send_with(link_to_serving, &body, &rules, rules >= 0);
    if (rules >= 0) close(rules);
    return 0;
}

static int do_fence(char **of) {
    (void)of;
    return install_filters();
}

static int do_patience(char **of) {
    patience = strtod(of[0], NULL);
    return 0;
}

static int do_log(char **of) {
    log_limit = (long)number(of[0]);
    return 0;
}

static const struct {
    const char *name;
    int fields, about; /* how many it has, and which of them an error is about */
    int (*act)(char **of);
} steps[] = {
    {"mount", 5, 1, do_mount},   {"mkdir", 1, 0, do_mkdir},       {"symlink", 2, 1, do_symlink},
    {"file", 2, 0, do_file},     {"detach", 1, 0, do_detach},     {"hostname", 1, 0, do_hostname},
    {"name", 1, 0, do_name},     {"rules", 3, 0, do_rules},       {"allow", 2, 0, do_allow},
    {"limit", 2, 0, do_limit},   {"rating", 1, 0, do_rating},     {"become", 2, 0, do_become},
    {"restrict", 0, 0, do_restrict}, {"admit", 0, 0, do_admit},   {"fence", 0, 0, do_fence},
    {"patience", 1, 0, do_patience}, {"log", 1, 0, do_log},
};

/* The field at `at`, which is moved behind it; NULL when the script has no further one. */
static char *field(char **at, char *end) {
    char *start = *at, *stop = start < end ? memchr(start, 0, (size_t)(end - start)) : NULL;
    if (stop) *at = stop + 1;
    return stop ? start : NULL;
}

static void follow_script(void) {
    char *at = packet + sizeof(int32_t), *end = at + script_length, *name;
    while ((name = field(&at, end))) {
        char *fields[MOST_FIELDS];
        size_t step = 0;
        while (step < sizeof steps / sizeof *steps && strcmp(steps[step].name, name)) step++;
        if (step == sizeof steps / sizeof *steps) break_off("script", name, EINVAL);
        for (int index = 0; index < steps[step].fields; index++)
            if (!(fields[index] = field(&at, end))) break_off("script", name, EINVAL);
        if (steps[step].act(fields) < 0) break_off(name, steps[step].fields ? fields[steps[step].about] : "", errno);
    }
}

/* ── beginning ──────────────────────────────────────────────────────────────────────────────────────────────────── */

/* Take the script, the order and its descriptors; ends with whoever was to send them. */
static void receive_order(int link) {
    union {
        struct cmsghdr header;
        char room[CMSG_SPACE(MOST_DESCRIPTORS * sizeof(int))];
    } control;
    struct iovec body = {packet, sizeof packet};
    struct msghdr message = {.msg_iov = &body, .msg_iovlen = 1, .msg_control = &control,
                             .msg_controllen = sizeof control};
    ssize_t got;
    while ((got = recvmsg(link, &message, MSG_CMSG_CLOEXEC)) < 0 && errno == EINTR) continue;
    struct cmsghdr *header = got > (ssize_t)sizeof(int32_t) ? CMSG_FIRSTHDR(&message) : NULL;
    if (!header) _exit(0);
    number_given = (int)((header->cmsg_len - CMSG_LEN(0)) / sizeof(int));
    memcpy(given, CMSG_DATA(header), (size_t)number_given * sizeof(int));
    int32_t length;
    memcpy(&length, packet, sizeof length);
    packet_length = (size_t)got;
    script_length = (size_t)length;
    if (script_length > packet_length - sizeof length || number_given < 4) _exit(BROKEN);
    close(link);
}

static void enter_doors(void) {
    for (int door = 4; door < number_given; door++)
        if (write(given[door], "0", 1) < 0) break_off("entering a control group", "", errno);
}

/* Give the order to the serving process, which gets ready while the root is furnished; of the logs it is lent pipes. */
static void engage(void) {
    for (int log = 0; log < 2; log++)
        if (pipe2(pipes[log], O_CLOEXEC) < 0 || fcntl(pipes[log][0], F_SETFL, O_NONBLOCK) < 0)
            break_off("pipe", "", errno);
    int lent[MOST_DESCRIPTORS] = {given[1], pipes[0][1], pipes[1][1]};
    memcpy(lent + 3, given + 4, (size_t)(number_given - 4) * sizeof(int));
    size_t before = sizeof(int32_t) + script_length;
    struct iovec body = {packet + before, packet_length - before};
    send_with(link_to_serving, &body, lent, number_given - 1); /* if it has ended, that is seen next */
}

/* ── watching ───────────────────────────────────────────────────────────────────────────────────────────────────── */

/* Whether the serving process has ended; others that have are buried. */
static int bury(pid_t serving) {
    siginfo_t ended;
    for (;;) {
        ended.si_pid = 0;
        if (waitid(P_ALL, 0, &ended, WEXITED | WNOHANG | WNOWAIT) < 0 || !ended.si_pid) return 0;
        if (ended.si_pid == serving) return 1;
        waitpid(ended.si_pid, NULL, 0);
    }
}

/* A beat: {"event": "beat", "idle": …, "unused": …}. 0 when it is none after all. */
static int on_beat(const char *text) {
    const char *found = strstr(text, "\"unused\": ");
    char *end;
    double seconds = found ? strtod(found + 10, &end) : 0.0;
    if (!found || !(seconds >= 0 && seconds < 1e9) || strcmp(end, "}")) return 0;
    heard = now();
    used = heard - seconds;
    if (asked) {
        char said[80];
        snprintf(said, sizeof said, "{\"event\": \"used\", \"unused\": %.3f}", seconds);
        say(given[0], said);
        asked = 0;
    }
    if (strncmp(text + sizeof BEAT - 1, "true", 4) == 0) say(given[0], "{\"event\": \"idle\"}");
    return 1;
}

/* The app is loaded, and with that comes a watch over its file; else Python has to see to it, and 0 is returned. */
static int on_loaded(void) {
    heard = used = now();
    ssize_t got = receive_with(link_to_serving, &(struct iovec){loaded, MOST_TOLD}, &touch);
    loaded_length = got > 0 ? (size_t)got : 0;
    if (touch < 0) return 0;
    say(given[0], "{\"event\": \"loaded\"}");
    return 1;
}

/* Whether this is the rest of a list of names, and nothing else. What is passed on as it is could be the app's words:
   the serving process is the tenant's. */
static int is_names(const char *text) {
    for (;;) {
        size_t length;
        if (*text++ != '"' || !(length = strspn(text, LETTERS)) || text[length] != '"') return 0;
        text += length + 1;
        if (strcmp(text, "]}") == 0) return 1;
        if (*text++ != ',' || *text++ != ' ') return 0;
    }
}

/* Hear what the serving process says, as far as it is of no consequence. 0 when Python has to hear it. */
static int hear(void) {
    char text[MOST_TOLD + 1];
    for (;;) {
        ssize_t got = recv(link_to_serving, text, MOST_TOLD, MSG_PEEK | MSG_DONTWAIT | MSG_TRUNC);
        if (got < 0) return errno == EAGAIN || errno == EINTR;
        if (got == 0 || got > MOST_TOLD) return 0;
        text[got] = 0;
        if (strncmp(text, LOADED, sizeof LOADED - 1) == 0) {
            if (loaded_length || !on_loaded()) return 0;
        } else if (strncmp(text, IMPORTED, sizeof IMPORTED - 1) == 0 && is_names(text + sizeof IMPORTED - 1)) {
            say(given[0], text);
            if (recv(link_to_serving, text, MOST_TOLD, MSG_DONTWAIT) < 0) return 0;
            heard = now();
        } else if (strncmp(text, BEAT, sizeof BEAT - 1) == 0 && on_beat(text)) {
            if (recv(link_to_serving, text, MOST_TOLD, MSG_DONTWAIT) < 0) return 0;
        } else
            return 0;
    }
}

/* Answer the supervisor's question how things stand, and pass on the one when the app was last used. 0 for all that it
   may say else. */
static int obey(void) {
    char text[64];
    ssize_t got = recv(given[0], text, sizeof text - 1, MSG_PEEK | MSG_DONTWAIT | MSG_TRUNC);
    if (got < 0) return errno == EAGAIN || errno == EINTR;
    if (got >= (ssize_t)sizeof text) return 0;
    text[got] = 0;
    int is_look = strcmp(text, LOOK) == 0;
    if ((!is_look && strcmp(text, REPORT)) || recv(given[0], text, sizeof text, MSG_DONTWAIT) < 0) return 0;
    if (!is_look) {
        char said[128];
        snprintf(said, sizeof said, "{\"event\": \"report\", \"ready\": %s, \"draining\": false, \"failed\": false}",
                 loaded_length ? "true" : "false");
        say(given[0], said);
        return 1;
    }
    asked = 1;
    return send(link_to_serving, LOOK, sizeof LOOK - 1, MSG_NOSIGNAL | MSG_DONTWAIT) >= 0;
}

/* Write into a log file what was printed. 0, and it is left in its pipe, when that could become too much. */
static int pump(int log) {
    char text[4096];
    struct stat file;
    int waiting;
    if (ioctl(pipes[log][0], FIONREAD, &waiting) < 0 || fstat(given[2 + log], &file) < 0) return 0;
    long most = log_limit / 2 < MOST_PUMPED ? log_limit / 2 : MOST_PUMPED;
    if (pumped[log] + waiting > most || file.st_size + waiting >= log_limit) return 0;
    while (waiting > 0) {
        ssize_t got = read(pipes[log][0], text, (size_t)waiting < sizeof text ? (size_t)waiting : sizeof text);
        if (got <= 0) return 0;
        waiting -= (int)got;
        pumped[log] += got;
        for (ssize_t done = 0, more; done < got; done += more)
            if ((more = write(given[2 + log], text + done, (size_t)(got - done))) < 0) break; /* the disk is full */
    }
    return 1;
}

/* Whether the loaded app's file is called `name`; yes, if that is not easily told. */
static int is_watched(const char *name) {
    const char *path = strstr(loaded, WATCHED), *end = path ? strpbrk(path += sizeof WATCHED - 1, "\"\\") : NULL;
    if (!end || *end == '\\') return 1;
    const char *start = end;
    while (start > path && start[-1] != '/') start--;
    return strlen(name) == (size_t)(end - start) && memcmp(name, start, (size_t)(end - start)) == 0;
}

/* Read what has changed in the directory of the app's file. 0 when it was the file, which is for Python. */
static int look_at_changes(void) {
    char events[4096] __attribute__((aligned(__alignof__(struct inotify_event))));
    ssize_t got = read(touch, events, sizeof events - 1);
    if (got < 0) return errno == EAGAIN || errno == EINTR;
    events[got] = 0;
    for (size_t at = 0; at + sizeof(struct inotify_event) <= (size_t)got;) {
        const struct inotify_event *event = (const struct inotify_event *)(events + at);
        if (event->mask & IN_Q_OVERFLOW || (event->len && is_watched(event->name))) touched = 1;
        at += sizeof *event + (event->len < sizeof events ? event->len : sizeof events);
    }
    return got > 0 && !touched;
}

static void on_child(int signal) { (void)signal; }

/* Watch until there is something to decide. */
static void watch(pid_t serving) {
    sigset_t children, before;
    struct sigaction quietly = {.sa_handler = on_child}, as_before;
    sigemptyset(&children);
    sigaddset(&children, SIGCHLD);
    sigprocmask(SIG_BLOCK, &children, &before);
    sigaction(SIGCHLD, &quietly, &as_before);
    while (!bury(serving)) {
        struct pollfd polled[] = {{.fd = given[0], .events = POLLIN},
                                  {.fd = link_to_serving, .events = POLLIN},
                                  {.fd = pipes[0][0], .events = POLLIN},
                                  {.fd = pipes[1][0], .events = POLLIN},
                                  {.fd = touch, .events = POLLIN}};
        double left = heard + patience - now();
        if (left < 0) left = 0;
        struct timespec limit = {(time_t)left, (long)((left - (double)(time_t)left) * 1e9)};
        int ready = ppoll(polled, 5, loaded_length ? &limit : NULL, &before);
        if (ready == 0) break;
        if (ready < 0) continue;
        if (polled[4].revents && !look_at_changes()) break;
        if ((polled[2].revents && !pump(0)) || (polled[3].revents && !pump(1))) break;
        if (polled[0].revents && !obey()) break;
        if (polled[1].revents && !hear()) break;
    }
    sigaction(SIGCHLD, &as_before, NULL);
    sigprocmask(SIG_SETMASK, &before, NULL);
}

PyObject *first(int link, int to_serving, pid_t serving, int error) {
    receive_order(link);
    if (error) break_off("namespaces", "", error);
    link_to_serving = to_serving;
    enter_doors();
    if (serving) {
        table = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
        engage();
    }
    follow_script();
    for (int door = 4; door < number_given; door++) close(given[door]); /* nobody of the app's is to find them */
    if (serving) {
        heard = used = now();
        watch(serving);
    }
    size_t before = sizeof(int32_t) + script_length;
    PyOS_AfterFork_Child();
    PyObject *told = Py_BuildValue(
        "(y#(iiii)(iiii)(ll)(ii)iiiy#ddi)", packet + before, (Py_ssize_t)(packet_length - before), given[0], given[1],
        given[2], given[3], pipes[0][0], pipes[0][1], pipes[1][0], pipes[1][1], pumped[0], pumped[1],
        (int)serving, to_serving, table, touch, touched,
        loaded, (Py_ssize_t)loaded_length, heard, used, asked);
    if (!told) _exit(BROKEN); /* for the caller, NULL is the mold's */
    return told;
}
