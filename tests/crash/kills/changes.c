/* Counts the calls with which a process changes one file system, and stops or fails one.
 *
 * Preloaded into a daemon, its fork-server and its workers. All of them share one page
 * with the harness (struct control; tests/crash/kills/preloaded.py has the same in Python),
 * which is mapped when the library is loaded and so works behind a worker's fences, too.
 * Each role counts for itself. Counted are changes, or needs: calls that take something of
 * which there may be no more. At the call that is chosen the process waits, before or after
 * the call, until it is killed or let go; or the call is not made and fails.
 *
 * What is on another file system than the store (device) is nobody's business here. An
 * overlay is the store's: what is changed there is changed in its upper directory. Only
 * where the machine's own root is one, that one is not.
 */

#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/vfs.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

enum { NOBODY, DAEMON, SERVER, WORKER, ROLES };
enum { BEFORE, AFTER, INSTEAD };
enum { CHANGE, NEED };
enum { RUNNING, HELD, RELEASED };
enum { CREATE = 6 }; /* FSCONFIG_CMD_CREATE: overlayfs makes its work directory then */
#define ENTRIES 8192
#define NAME 56

struct entry {
    uint8_t role;
    char call[23];
    char name[NAME];
};

struct control {
    uint64_t device, root;
    uint32_t kind, role, number, when, error; /* which call, and what to do there */
    uint32_t state, reached;
    uint32_t logging, logged;
    uint32_t counts[ROLES];
    struct entry log[ENTRIES];
};

static struct control *control;
static int role = NOBODY;

static void in_child(void)
{
    if (role == SERVER)
        role = WORKER;
}

__attribute__((constructor)) static void load(void)
{
    const char *path = getenv("CHANGES_CONTROL"), *who = getenv("CHANGES_ROLE");
    if (!path)
        return;
    int fd = syscall(SYS_openat, AT_FDCWD, path, O_RDWR | O_CLOEXEC, 0);
    if (fd < 0)
        abort();
    control = mmap(NULL, sizeof *control, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (control == MAP_FAILED)
        abort();
    close(fd);
    pthread_atfork(NULL, NULL, in_child);
    if (who)
        role = atoi(who);
}

/* The harness forks the daemon, which says so itself. */
void changes_become(int who) { role = who; }

static int on_overlay(int fd)
{
    struct statfs system;
    return fd >= 0 && fstatfs(fd, &system) == 0 && system.f_type == OVERLAYFS_SUPER_MAGIC;
}

static int on_fd(int fd)
{
    struct stat found;
    int before = errno;
    int ours = role && control->kind == CHANGE && fstat(fd, &found) == 0 &&
               (S_ISREG(found.st_mode) || S_ISDIR(found.st_mode)) &&
               (found.st_dev == control->device ||
                (found.st_dev != control->root && on_overlay(fd)));
    errno = before;
    return ours;
}

/* By the directory that the path is in: the file itself need not be there. */
static int on_path(int directory, const char *path)
{
    struct stat found;
    char above[4096];
    int before = errno, ours = 0;
    if (!role || control->kind != CHANGE || !path || strlen(path) >= sizeof above)
        return 0;
    strcpy(above, path);
    char *slash = strrchr(above, '/');
    if (!slash)
        strcpy(above, ".");
    else if (slash == above)
        strcpy(above, "/");
    else
        *slash = 0;
    if (fstatat(directory, above, &found, 0) == 0) {
        ours = found.st_dev == control->device;
        if (!ours && found.st_dev != control->root) {
            int fd = syscall(SYS_openat, directory, above, O_PATH | O_CLOEXEC, 0);
            ours = on_overlay(fd);
            if (fd >= 0)
                close(fd);
        }
    }
    errno = before;
    return ours;
}

/* A call that takes a descriptor, a process or a thread, which there may be no more of. */
static int need(void) { return role && control->kind == NEED; }

static void hold(void)
{
    struct timespec pause = {0, 200000};
    __atomic_store_n(&control->state, HELD, __ATOMIC_SEQ_CST);
    while (__atomic_load_n(&control->state, __ATOMIC_SEQ_CST) == HELD)
        syscall(SYS_nanosleep, &pause, NULL);
}

static void note(const char *call, int fd, const char *name)
{
    uint32_t at = __atomic_fetch_add(&control->logged, 1, __ATOMIC_SEQ_CST);
    char link[32], target[4096];
    if (at >= ENTRIES)
        return;
    struct entry *entry = &control->log[at];
    entry->role = role;
    snprintf(entry->call, sizeof entry->call, "%s", call);
    if (!name && fd >= 0 && role == DAEMON) {
        snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
        ssize_t length = readlink(link, target, sizeof target - 1);
        target[length > 0 ? length : 0] = 0;
        name = target;
    }
    size_t length = name ? strlen(name) : 0;
    snprintf(entry->name, NAME, "%s", name ? name + (length >= NAME ? length - NAME + 1 : 0) : "");
}

/* Returns what is to be done about this call: -1 nothing, else AFTER or INSTEAD. */
static int arrive(const char *call, int fd, const char *name)
{
    int before = errno, verdict = -1;
    uint32_t number = __atomic_add_fetch(&control->counts[role], 1, __ATOMIC_SEQ_CST);
    int chosen = control->number == number && control->role == (uint32_t)role;
    if (control->logging || chosen)
        note(call, fd, name);
    if (chosen) {
        control->reached = 1;
        if (control->when == BEFORE)
            hold();
        else
            verdict = control->when;
    }
    errno = before;
    return verdict;
}

static void leave(int verdict)
{
    int before = errno;
    if (verdict == AFTER)
        hold();
    errno = before;
}

#define AROUND(type, ours, call, fd, path, made)                                                   \
    if (!(ours))                                                                                   \
        return made;                                                                               \
    int verdict = arrive(call, fd, path);                                                          \
    if (verdict == INSTEAD) {                                                                      \
        errno = control->error;                                                                    \
        return -1;                                                                                 \
    }                                                                                              \
    type result = made;                                                                            \
    leave(verdict);                                                                                \
    return result;

/* A call that changes the file behind its first argument. */
#define BY_FD(type, name, parameters, arguments)                                                   \
    type name parameters                                                                           \
    {                                                                                              \
        static type(*real) parameters;                                                             \
        if (!real)                                                                                 \
            real = (type(*) parameters)dlsym(RTLD_NEXT, #name);                                    \
        AROUND(type, on_fd(fd), #name, fd, NULL, real arguments)                                   \
    }

/* A call that changes what a path names. */
#define BY_PATH(name, directory, parameters, arguments)                                            \
    int name parameters                                                                            \
    {                                                                                              \
        static int(*real) parameters;                                                              \
        if (!real)                                                                                 \
            real = (int(*) parameters)dlsym(RTLD_NEXT, #name);                                     \
        AROUND(int, on_path(directory, path), #name, -1, path, real arguments)                     \
    }

BY_FD(ssize_t, write, (int fd, const void *data, size_t size), (fd, data, size))
BY_FD(ssize_t, pwrite, (int fd, const void *data, size_t size, off_t at), (fd, data, size, at))
BY_FD(ssize_t, pwrite64, (int fd, const void *data, size_t size, off64_t at), (fd, data, size, at))
BY_FD(ssize_t, writev, (int fd, const struct iovec *data, int count), (fd, data, count))
BY_FD(ssize_t, pwritev, (int fd, const struct iovec *data, int count, off_t at),
      (fd, data, count, at))
BY_FD(ssize_t, pwritev64, (int fd, const struct iovec *data, int count, off64_t at),
      (fd, data, count, at))
BY_FD(int, ftruncate, (int fd, off_t size), (fd, size))
BY_FD(int, ftruncate64, (int fd, off64_t size), (fd, size))
BY_FD(int, fallocate, (int fd, int mode, off_t at, off_t size), (fd, mode, at, size))
BY_FD(int, fallocate64, (int fd, int mode, off64_t at, off64_t size), (fd, mode, at, size))
BY_FD(int, fchmod, (int fd, mode_t mode), (fd, mode))
BY_FD(int, fchown, (int fd, uid_t user, gid_t group), (fd, user, group))
BY_FD(int, futimens, (int fd, const struct timespec times[2]), (fd, times))
BY_FD(int, fsetxattr, (int fd, const char *name, const void *value, size_t size, int flags),
      (fd, name, value, size, flags))
BY_FD(int, fremovexattr, (int fd, const char *name), (fd, name))
BY_FD(int, fsync, (int fd), (fd))
BY_FD(int, fdatasync, (int fd), (fd))
BY_FD(int, syncfs, (int fd), (fd))
BY_FD(int, sync_file_range, (int fd, off64_t at, off64_t size, unsigned int flags),
      (fd, at, size, flags))
BY_FD(ssize_t, copy_file_range,
      (int from, off64_t *at, int fd, off64_t *to, size_t size, unsigned int flags),
      (from, at, fd, to, size, flags))
BY_FD(ssize_t, sendfile, (int fd, int from, off_t *at, size_t size), (fd, from, at, size))
BY_FD(ssize_t, sendfile64, (int fd, int from, off64_t *at, size_t size), (fd, from, at, size))

BY_PATH(mkdir, AT_FDCWD, (const char *path, mode_t mode), (path, mode))
BY_PATH(mkdirat, at, (int at, const char *path, mode_t mode), (at, path, mode))
BY_PATH(rmdir, AT_FDCWD, (const char *path), (path))
BY_PATH(unlink, AT_FDCWD, (const char *path), (path))
BY_PATH(unlinkat, at, (int at, const char *path, int flags), (at, path, flags))
BY_PATH(rename, AT_FDCWD, (const char *old, const char *path), (old, path))
BY_PATH(renameat, at, (int from, const char *old, int at, const char *path), (from, old, at, path))
BY_PATH(renameat2, at,
        (int from, const char *old, int at, const char *path, unsigned int flags),
        (from, old, at, path, flags))
BY_PATH(link, AT_FDCWD, (const char *old, const char *path), (old, path))
BY_PATH(linkat, at, (int from, const char *old, int at, const char *path, int flags),
        (from, old, at, path, flags))
BY_PATH(symlink, AT_FDCWD, (const char *target, const char *path), (target, path))
BY_PATH(symlinkat, at, (const char *target, int at, const char *path), (target, at, path))
BY_PATH(mknod, AT_FDCWD, (const char *path, mode_t mode, dev_t device), (path, mode, device))
BY_PATH(mknodat, at, (int at, const char *path, mode_t mode, dev_t device),
        (at, path, mode, device))
BY_PATH(mkfifo, AT_FDCWD, (const char *path, mode_t mode), (path, mode))
BY_PATH(mkfifoat, at, (int at, const char *path, mode_t mode), (at, path, mode))
BY_PATH(chmod, AT_FDCWD, (const char *path, mode_t mode), (path, mode))
BY_PATH(fchmodat, at, (int at, const char *path, mode_t mode, int flags), (at, path, mode, flags))
BY_PATH(chown, AT_FDCWD, (const char *path, uid_t user, gid_t group), (path, user, group))
BY_PATH(lchown, AT_FDCWD, (const char *path, uid_t user, gid_t group), (path, user, group))
BY_PATH(fchownat, at, (int at, const char *path, uid_t user, gid_t group, int flags),
        (at, path, user, group, flags))
BY_PATH(setxattr, AT_FDCWD,
        (const char *path, const char *name, const void *value, size_t size, int flags),
        (path, name, value, size, flags))
BY_PATH(lsetxattr, AT_FDCWD,
        (const char *path, const char *name, const void *value, size_t size, int flags),
        (path, name, value, size, flags))
BY_PATH(removexattr, AT_FDCWD, (const char *path, const char *name), (path, name))
BY_PATH(lremovexattr, AT_FDCWD, (const char *path, const char *name), (path, name))
BY_PATH(truncate, AT_FDCWD, (const char *path, off_t size), (path, size))
BY_PATH(truncate64, AT_FDCWD, (const char *path, off64_t size), (path, size))
BY_PATH(umount, AT_FDCWD, (const char *path), (path))
BY_PATH(umount2, AT_FDCWD, (const char *path, int flags), (path, flags))
BY_PATH(mount, AT_FDCWD,
        (const char *source, const char *path, const char *kind, unsigned long flags,
         const void *options),
        (source, path, kind, flags, options))

BY_PATH(utimensat, at,
        (int at, const char *path, const struct timespec times[2], int flags),
        (at, path, times, flags))

/* Opening changes something when it may make or cut a file. */
#define CHANGES(flags) ((flags) & (O_CREAT | O_TRUNC) || ((flags) & O_TMPFILE) == O_TMPFILE)

#define OPENS(name, directory, parameters, ...)                                                    \
    int name parameters                                                                            \
    {                                                                                              \
        static int(*real) parameters;                                                              \
        if (!real)                                                                                 \
            real = (int(*) parameters)dlsym(RTLD_NEXT, #name);                                     \
        va_list list;                                                                              \
        va_start(list, flags);                                                                     \
        mode_t mode = va_arg(list, mode_t);                                                        \
        va_end(list);                                                                              \
        AROUND(int, need() || (CHANGES(flags) && on_path(directory, path)), "open", -1, path,      \
               real(__VA_ARGS__, mode))                                                            \
    }

OPENS(open, AT_FDCWD, (const char *path, int flags, ...), path, flags)
OPENS(open64, AT_FDCWD, (const char *path, int flags, ...), path, flags)
OPENS(openat, at, (int at, const char *path, int flags, ...), at, path, flags)
OPENS(openat64, at, (int at, const char *path, int flags, ...), at, path, flags)

#define TAKES(name, parameters, arguments)                                                         \
    int name parameters                                                                            \
    {                                                                                              \
        static int(*real) parameters;                                                              \
        if (!real)                                                                                 \
            real = (int(*) parameters)dlsym(RTLD_NEXT, #name);                                     \
        AROUND(int, need(), #name, -1, NULL, real arguments)                                       \
    }

TAKES(socket, (int domain, int type, int protocol), (domain, type, protocol))
TAKES(socketpair, (int domain, int type, int protocol, int fds[2]), (domain, type, protocol, fds))
TAKES(pipe2, (int fds[2], int flags), (fds, flags))
TAKES(epoll_create1, (int flags), (flags))
TAKES(eventfd, (unsigned int count, int flags), (count, flags))
TAKES(fork, (void), ())

int fcntl(int fd, int command, ...)
{
    static int (*real)(int, int, ...);
    if (!real)
        real = (int (*)(int, int, ...))dlsym(RTLD_NEXT, "fcntl");
    va_list list;
    va_start(list, command);
    void *argument = va_arg(list, void *);
    va_end(list);
    AROUND(int, need() && command == F_DUPFD_CLOEXEC, "fcntl", -1, NULL,
           real(fd, command, argument))
}

/* It returns its error. */
int pthread_create(pthread_t *thread, const pthread_attr_t *attributes, void *(*run)(void *),
                   void *argument)
{
    static int (*real)(pthread_t *, const pthread_attr_t *, void *(*)(void *), void *);
    if (!real)
        real = (int (*)(pthread_t *, const pthread_attr_t *, void *(*)(void *), void *))dlsym(
            RTLD_NEXT, "pthread_create");
    if (need() && arrive("pthread_create", -1, NULL) == INSTEAD)
        return control->error;
    return real(thread, attributes, run, argument);
}

/* Calls that the C library has no function for; all others pass. */
long syscall(long number, ...)
{
    static long (*real)(long, ...);
    if (!real)
        real = (long (*)(long, ...))dlsym(RTLD_NEXT, "syscall");
    long a[6];
    va_list list;
    va_start(list, number);
    for (int i = 0; i < 6; i++)
        a[i] = va_arg(list, long);
    va_end(list);
    int ours = 0, fd = -1;
    const char *call = "syscall", *path = NULL;
    if (number == SYS_openat2) {
        call = "open", path = (const char *)a[1];
        ours = need() || (CHANGES(*(uint64_t *)a[2]) && on_path(a[0], path));
    } else if (number == 452) { /* fchmodat2 */
        call = "fchmodat", path = (const char *)a[1];
        ours = on_path(a[0], path);
    } else if (number == SYS_syncfs || number == SYS_fallocate) {
        call = number == SYS_syncfs ? "syncfs" : "fallocate", fd = a[0];
        ours = on_fd(fd);
    } else if (number == SYS_renameat2) {
        call = "renameat2", path = (const char *)a[3];
        ours = on_path(a[2], path);
    } else if (number == SYS_fsconfig) {
        call = "fsconfig", path = "overlay";
        ours = role == DAEMON && control->kind == CHANGE && a[1] == CREATE;
    } else if (number == SYS_pidfd_open || number == SYS_fsopen || number == SYS_fsmount ||
               number == SYS_open_tree) {
        call = number == SYS_pidfd_open ? "pidfd_open" : "mount";
        ours = need();
    }
    AROUND(long, ours, call, fd, path, real(number, a[0], a[1], a[2], a[3], a[4], a[5]))
}
