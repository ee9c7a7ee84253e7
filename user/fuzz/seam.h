/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Included before anything else where library and tool are built for fuzzing:
 * what they ask of the kernel, or of a library that would ask it, goes to fake.c.
 * Macros, and not the linker, so that sanitizers and fuzzer keep the real calls.
 */
#ifndef FBUF_FUZZ_SEAM_H
#define FBUF_FUZZ_SEAM_H

#include <dirent.h>
#include <dlfcn.h>
#include <fcntl.h>
#include <malloc.h>
#include <netdb.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include <netlink/netlink.h>
#include <netlink/genl/ctrl.h>
#include <netlink/genl/genl.h>

#include "fake.h"

#define LIB_LIBC_IOCTL
#define ioctl(fd, cmd, arg)		fake_ioctl(fd, cmd, arg)
#define mmap(addr, len, ...)		fake_mmap(addr, len)
#define munmap(addr, len)		fake_munmap(addr, len)
#define close(fd)			fake_close(fd)
#define poll(...)			fake_poll(__VA_ARGS__)
#define epoll_create1(...)		fake_epoll()
#define epoll_ctl(...)			fake_answer()
#define epoll_wait(...)			fake_answer()
#define fcntl(...)			fake_flags()
#define sendmsg(...)			fake_sendmsg()
#define recvmsg(...)			fake_recvmsg(__VA_ARGS__)
#define malloc(len)			fake_realloc(NULL, len)
#define realloc(old, len)		fake_realloc(old, len)
#define calloc(nr, len)			fake_calloc(nr, len)

#define __atomic_load_n(...)						\
	(fake_enemy(), __atomic_load_n(__VA_ARGS__))
#define __atomic_compare_exchange_n(...)				\
	(fake_enemy(), __atomic_compare_exchange_n(__VA_ARGS__))

/* There are members of this name: all of them get the new one. */
#define open				fake_open

#define dlopen(...)			NULL
#define execvp(...)			fake_refuse()
#define fork()				fake_refuse()
#define kill(...)			fake_refuse()
#define memfd_create(...)		fake_refuse()
#define read(...)			fake_refuse()
#define sched_setaffinity(...)		fake_refuse()
#define setenv(...)			fake_refuse()
#define setns(...)			fake_refuse()
#define setrlimit(...)			fake_refuse()
#define socket(...)			fake_refuse()
#define socketpair(...)			fake_refuse()

#define nanosleep(...)			0
#define fopen(...)			fake_fopen()
#define opendir(...)			((DIR *)NULL)
#define getaddrinfo(...)		fake_getaddrinfo(__VA_ARGS__)
#define json_load_file(...)		fake_json(__VA_ARGS__)
#define json_dump_file(...)		fake_refuse()

#define genl_connect(...)		fake_nl_resolve()
#define genl_ctrl_resolve(...)		fake_nl_resolve()
#define genl_ctrl_resolve_grp(...)	fake_nl_resolve()
#define nl_connect(...)			fake_refuse()
#define nl_socket_add_membership(...)	fake_nl_resolve()
#define nl_send_auto(...)		fake_nl_send()
#define nl_recvmsgs(...)		fake_nl_recv(__VA_ARGS__)

#endif /* FBUF_FUZZ_SEAM_H */
