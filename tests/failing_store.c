/* A network file system whose server is gone, for LD_PRELOAD.

   While the file $FAIL_FLAG is there, every call on a path below $FAIL_UNDER, or on a file that was opened there, fails with
   the errno that $FAIL_FLAG holds in decimal digits, and adds a byte to $FAIL_FLAG.count.  Linux with glibc. */
#define _GNU_SOURCE
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <unistd.h>

/* Read once: getenv is not safe beside a setenv in another thread. */
static char under[PATH_MAX], flag[PATH_MAX], count[PATH_MAX + 8];

__attribute__((constructor)) static void begin(void) {
    if (getenv("FAIL_UNDER") && getenv("FAIL_FLAG")) {
        snprintf(under, sizeof under, "%s", getenv("FAIL_UNDER"));
        snprintf(flag, sizeof flag, "%s", getenv("FAIL_FLAG"));
        snprintf(count, sizeof count, "%s.count", flag);
    }
}

/* The errno to fail with; 0 while all is well.  System calls, because the functions of libc are the ones below. */
static int failing(void) {
    char digits[8] = "";
    int before = errno, file = *flag ? (int)syscall(SYS_openat, AT_FDCWD, flag, O_RDONLY | O_CLOEXEC, 0) : -1;
    if (file >= 0) {
        syscall(SYS_read, file, digits, sizeof digits - 1);
        syscall(SYS_close, file);
    }
    errno = before;
    return atoi(digits);
}

static void link_of(char *to, size_t size, int descriptor) {
    char from[64];
    if (descriptor == AT_FDCWD)
        snprintf(from, sizeof from, "/proc/self/cwd");
    else
        snprintf(from, sizeof from, "/proc/self/fd/%d", descriptor);
    long length = syscall(SYS_readlinkat, AT_FDCWD, from, to, size - 1);
    to[length > 0 ? length : 0] = 0;
}

/* What a call on `path` in the folder `directory` fails with; without a path, one on the open file `directory`. */
static int refused(int directory, const char *path) {
    char whole[2 * PATH_MAX] = "";
    int error = failing(), before = errno;
    size_t length = strlen(under);
    if (!error)
        return 0;
    if (!path || *path != '/')
        link_of(whole, PATH_MAX, directory);
    if (path && *path)
        snprintf(whole + strlen(whole), PATH_MAX, *path == '/' ? "%s" : "/%s", path);
    errno = before;
    if (strncmp(whole, under, length) || (whole[length] && whole[length] != '/'))
        return 0;
    int file = (int)syscall(SYS_openat, AT_FDCWD, count, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0644);
    if (file >= 0) {
        syscall(SYS_write, file, ".", 1);
        syscall(SYS_close, file);
    }
    return error;
}

#define OR_FAIL(directory, path, result) \
    do { \
        int error_ = refused(directory, path); \
        if (error_) { \
            errno = error_; \
            return result; \
        } \
    } while (0)
#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))
#define CALL(type, name, parameters, directory, path, arguments) \
    type name parameters { \
        OR_FAIL(directory, path, -1); \
        return REAL(name) arguments; \
    }
#define OPEN(name, parameters, directory, arguments) \
    int name parameters { \
        mode_t mode = 0; \
        if (flags & (O_CREAT | O_TMPFILE)) { \
            va_list rest; \
            va_start(rest, flags); \
            mode = va_arg(rest, mode_t); \
            va_end(rest); \
        } \
        OR_FAIL(directory, path, -1); \
        return REAL(name) arguments; \
    }
#define P const char *path

OPEN(open, (P, int flags, ...), AT_FDCWD, (path, flags, mode))
OPEN(open64, (P, int flags, ...), AT_FDCWD, (path, flags, mode))
OPEN(openat, (int at, P, int flags, ...), at, (at, path, flags, mode))
OPEN(openat64, (int at, P, int flags, ...), at, (at, path, flags, mode))
CALL(int, stat, (P, struct stat *to), AT_FDCWD, path, (path, to))
CALL(int, stat64, (P, struct stat64 *to), AT_FDCWD, path, (path, to))
CALL(int, lstat, (P, struct stat *to), AT_FDCWD, path, (path, to))
CALL(int, lstat64, (P, struct stat64 *to), AT_FDCWD, path, (path, to))
CALL(int, fstatat, (int at, P, struct stat *to, int flags), at, path, (at, path, to, flags))
CALL(int, fstatat64, (int at, P, struct stat64 *to, int flags), at, path, (at, path, to, flags))
CALL(int, statx, (int at, P, int flags, unsigned mask, struct statx *to), at, path, (at, path, flags, mask, to))
CALL(int, access, (P, int mode), AT_FDCWD, path, (path, mode))
CALL(int, faccessat, (int at, P, int mode, int flags), at, path, (at, path, mode, flags))
CALL(int, mkdir, (P, mode_t mode), AT_FDCWD, path, (path, mode))
CALL(int, mkdirat, (int at, P, mode_t mode), at, path, (at, path, mode))
CALL(int, rmdir, (P), AT_FDCWD, path, (path))
CALL(int, rename, (P, const char *to), AT_FDCWD, path, (path, to))
CALL(int, renameat, (int at, P, int to_at, const char *to), at, path, (at, path, to_at, to))
CALL(int, unlink, (P), AT_FDCWD, path, (path))
CALL(int, unlinkat, (int at, P, int flags), at, path, (at, path, flags))
CALL(int, truncate, (P, off_t length), AT_FDCWD, path, (path, length))
CALL(int, truncate64, (P, off64_t length), AT_FDCWD, path, (path, length))
CALL(int, chmod, (P, mode_t mode), AT_FDCWD, path, (path, mode))
CALL(int, utimes, (P, const struct timeval times[2]), AT_FDCWD, path, (path, times))
CALL(int, utimensat, (int at, P, const struct timespec times[2], int flags), at, path, (at, path, times, flags))
CALL(int, futimens, (int file, const struct timespec times[2]), file, NULL, (file, times))
CALL(ssize_t, readlink, (P, char *to, size_t size), AT_FDCWD, path, (path, to, size))
CALL(ssize_t, read, (int file, void *to, size_t size), file, NULL, (file, to, size))
CALL(ssize_t, write, (int file, const void *from, size_t size), file, NULL, (file, from, size))
CALL(ssize_t, pwrite, (int file, const void *from, size_t size, off_t at), file, NULL, (file, from, size, at))
CALL(ssize_t, pwrite64, (int file, const void *from, size_t size, off64_t at), file, NULL, (file, from, size, at))
CALL(int, fsync, (int file), file, NULL, (file))
CALL(int, fdatasync, (int file), file, NULL, (file))
CALL(int, ftruncate, (int file, off_t length), file, NULL, (file, length))
CALL(int, ftruncate64, (int file, off64_t length), file, NULL, (file, length))

DIR *opendir(P) {
    OR_FAIL(AT_FDCWD, path, NULL);
    return REAL(opendir)(path);
}

FILE *fopen(P, const char *mode) {
    OR_FAIL(AT_FDCWD, path, NULL);
    return REAL(fopen)(path, mode);
}

FILE *fopen64(P, const char *mode) {
    OR_FAIL(AT_FDCWD, path, NULL);
    return REAL(fopen64)(path, mode);
}

/* What programs call that were built for a glibc before 2.33. */
int __xstat(int version, P, struct stat *to) { return (void)version, stat(path, to); }
int __lxstat(int version, P, struct stat *to) { return (void)version, lstat(path, to); }
int __xstat64(int version, P, struct stat64 *to) { return (void)version, stat64(path, to); }
int __lxstat64(int version, P, struct stat64 *to) { return (void)version, lstat64(path, to); }
