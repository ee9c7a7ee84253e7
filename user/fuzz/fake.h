/* SPDX-License-Identifier: GPL-2.0 */
/*
 * A kernel that answers what the fuzzer's input says: for the library and the
 * tool, whose system calls seam.h sends here. When the input is used up every
 * call fails, so that nothing goes on for ever.
 */
#ifndef FBUF_FUZZ_FAKE_H
#define FBUF_FUZZ_FAKE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/types.h>

#include <jansson.h>

struct addrinfo;
struct nl_cb;
struct nl_msg;
struct nl_sock;
struct pollfd;

/* Each target has one: what to do with an input. Returns 0. */
int fuzz_one(const uint8_t *data, size_t size);

/* From now on the input is this. */
void fake_start(const uint8_t *data, size_t size);
/* Drop what is still mapped; with strict, it is a bug if anything is, or open. */
void fake_stop(bool strict);

/* The input: what there is not, is 0. */
bool fake_more(void);
uint8_t fake_byte(void);
uint64_t fake_bytes(size_t len);	/* up to 8, little-endian */
/* Copies up to len bytes; returns how many. */
size_t fake_take(void *to, size_t len);

/* An open fd, or -1. */
int fake_fd(void);
/* The next allocation fails. */
void fake_be_poor(void);

/* The tool's main(), by another name. */
int tool_main(int argc, char **argv);

/*
 * Run "fbuf ARGUMENT..." as a process of its own would, but with the fake kernel;
 * argv[0] is the first argument.
 */
void fake_command(int argc, char **argv);

/* Stops the fuzzer if a bug is there. */
#define FAKE_CHECK(cond)						\
	do {								\
		if (!(cond))						\
			fake_bug(__FILE__, __LINE__, #cond);		\
	} while (0)
void fake_bug(const char *file, int line, const char *cond)
	__attribute__((__noreturn__));

/* What the calls become. */
int fake_ioctl(int fd, unsigned long cmd, void *arg);
void *fake_mmap(void *addr, size_t len);
int fake_munmap(void *addr, size_t len);
int fake_open(const char *path, int flags, ...);
int fake_close(int fd);
int fake_poll(struct pollfd *pfd, unsigned long nr, int timeout);
int fake_epoll(void);
/* 0, or an error. */
int fake_answer(void);
int fake_flags(void);
ssize_t fake_sendmsg(void);
ssize_t fake_recvmsg(int sock, struct msghdr *m, int flags);
/* Somebody else writes to the ring, between any two looks at it. */
void fake_enemy(void);
void *fake_realloc(void *old, size_t len);
void *fake_calloc(size_t nr, size_t len);

/* And those that only the tool makes. */
int fake_refuse(void);
FILE *fake_fopen(void);
json_t *fake_json(const char *path, size_t flags, json_error_t *err);
int fake_getaddrinfo(const char *host, const char *port,
		     const struct addrinfo *hints, struct addrinfo **list);
int fake_nl_send(void);
int fake_nl_recv(struct nl_sock *sock, struct nl_cb *cb);
int fake_nl_resolve(void);

#endif /* FBUF_FUZZ_FAKE_H */
