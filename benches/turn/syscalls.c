/*
 * Counts what a server asks of the kernel, by standing before the C library's wrappers (LD_PRELOAD).
 * That costs a few nanoseconds a call, where tracing would cost microseconds and so make the server
 * look better than it is: a slow server finds more waiting each time it wakes.
 *
 * The count is a 64-bit number in the file that CALLBOX_SYSCALLS names. Counted are the calls of a
 * relay at work: waiting, receiving, sending, reading, writing, and changing what is waited for.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <poll.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

static uint64_t nowhere, *count = &nowhere;

__attribute__((constructor)) static void begin(void) {
  const char *path = getenv("CALLBOX_SYSCALLS");
  int file = path ? open(path, O_RDWR | O_CLOEXEC) : -1;
  if (file < 0) return;
  void *place = mmap(0, sizeof *count, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
  if (place != MAP_FAILED) count = place;
  close(file);
}

/* A wrapper of the same name that counts and passes the call on. */
#define COUNTED(result, name, parameters, ...)                                    \
  result name parameters {                                                        \
    static result(*next) parameters;                                              \
    if (!next) next = (result(*) parameters)dlsym(RTLD_NEXT, #name);              \
    __atomic_fetch_add(count, 1, __ATOMIC_RELAXED);                               \
    return next(__VA_ARGS__);                                                     \
  }

COUNTED(ssize_t, read, (int f, void *b, size_t n), f, b, n)
COUNTED(ssize_t, write, (int f, const void *b, size_t n), f, b, n)
COUNTED(ssize_t, readv, (int f, const struct iovec *v, int n), f, v, n)
COUNTED(ssize_t, writev, (int f, const struct iovec *v, int n), f, v, n)
COUNTED(ssize_t, recv, (int s, void *b, size_t n, int f), s, b, n, f)
COUNTED(ssize_t, send, (int s, const void *b, size_t n, int f), s, b, n, f)
COUNTED(ssize_t, recvfrom, (int s, void *b, size_t n, int f, struct sockaddr *a, socklen_t *l), s, b, n, f, a, l)
COUNTED(ssize_t, sendto, (int s, const void *b, size_t n, int f, const struct sockaddr *a, socklen_t l), s, b, n, f, a, l)
COUNTED(ssize_t, recvmsg, (int s, struct msghdr *m, int f), s, m, f)
COUNTED(ssize_t, sendmsg, (int s, const struct msghdr *m, int f), s, m, f)
COUNTED(int, recvmmsg, (int s, struct mmsghdr *m, unsigned n, int f, struct timespec *t), s, m, n, f, t)
COUNTED(int, sendmmsg, (int s, struct mmsghdr *m, unsigned n, int f), s, m, n, f)
/* What programs call that were built with checks of buffer sizes, as Debian's are. */
COUNTED(ssize_t, __read_chk, (int f, void *b, size_t n, size_t z), f, b, n, z)
COUNTED(ssize_t, __recv_chk, (int s, void *b, size_t n, size_t z, int f), s, b, n, z, f)
COUNTED(ssize_t, __recvfrom_chk, (int s, void *b, size_t n, size_t z, int f, struct sockaddr *a, socklen_t *l), s, b, n, z, f, a, l)
COUNTED(int, getsockopt, (int s, int l, int o, void *v, socklen_t *n), s, l, o, v, n)
COUNTED(int, setsockopt, (int s, int l, int o, const void *v, socklen_t n), s, l, o, v, n)
COUNTED(int, epoll_wait, (int e, struct epoll_event *v, int n, int t), e, v, n, t)
COUNTED(int, epoll_ctl, (int e, int o, int f, struct epoll_event *v), e, o, f, v)
COUNTED(int, poll, (struct pollfd *p, nfds_t n, int t), p, n, t)
