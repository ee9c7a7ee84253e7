/* SPDX-License-Identifier: GPL-2.0 */
/* What the sub-commands of fbuf(1) share. */
#ifndef FBUF_TOOL_H
#define FBUF_TOOL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/types.h>

#include <jansson.h>

#include <fbuf/fbuf.h>

#ifndef __printf
#define __printf(fmt, args)	__attribute__((__format__(printf, fmt, args)))
#endif

/* Exit statuses: a sub-command returns one of them. */
#define TOOL_OK		0
#define TOOL_FAIL	1	/* it was tried and failed */
#define TOOL_USAGE	2	/* the command line makes no sense */

/*
 * Sub-commands. argv[0] is the sub-command's own name, optind is 1, and
 * options before it are already taken (--json, see below).
 */
int cmd_bench(int argc, char **argv);
int cmd_compare(int argc, char **argv);
int cmd_cost(int argc, char **argv);
int cmd_demo(int argc, char **argv);
int cmd_doctor(int argc, char **argv);
int cmd_limit(int argc, char **argv);
int cmd_pool(int argc, char **argv);
int cmd_pool_watch(int argc, char **argv);
int cmd_recv(int argc, char **argv);
int cmd_relay(int argc, char **argv);
int cmd_run(int argc, char **argv);
int cmd_send(int argc, char **argv);
int cmd_stat(int argc, char **argv);
int cmd_top(int argc, char **argv);

/* What SIGPIPE did when the tool was started: for a program that it runs. */
extern void (*tool_sigpipe)(int sig);

struct tool_command {
	const char *name;
	int (*run)(int argc, char **argv);
};

/*
 * Run the one that argv[0] names, or is the beginning of, if only one is that;
 * prefix is "", or the command they are of.
 */
int tool_dispatch(const char *prefix, const struct tool_command *commands,
		  int argc, char **argv);

/* Set by "fbuf --json COMMAND"; sub-commands take -j, --json as well. */
extern bool tool_json;

/* Messages: one line on stderr with "fbuf: " before it; the newline is added. */
void tool_err(const char *fmt, ...) __printf(1, 2);
/* The same, and returns TOOL_USAGE with a pointer to "fbuf COMMAND --help". */
int tool_usage(const char *command, const char *fmt, ...) __printf(2, 3);

/*
 * getopt_long(), but what is wrong is told in our words, with where the help is;
 * '?' is then returned.
 */
struct option;
int tool_getopt(int argc, char **argv, const char *shorts,
		const struct option *longs);

/*
 * The options that all commands have, and for a command that has no others. To
 * go on, TOOL_OK; -1 if help was printed; or TOOL_USAGE.
 */
#define TOOL_LONG_JSON	{ "json", no_argument, NULL, 'j' }
#define TOOL_LONG_HELP	{ "help", no_argument, NULL, 'h' }
int tool_option(int c, const char *help);
int tool_options(int argc, char **argv, const char *help);
/* TOOL_USAGE, after a message, if arguments are left. */
int tool_no_args(const char *command, int argc, char **argv);

/*
 * Numbers from the command line: false, after a message that names what, if
 * the text is no number from min to max. Sizes take a suffix K, M or G (1024).
 */
bool tool_size(const char *what, const char *text, uint64_t min, uint64_t max,
	       uint64_t *val);
/* "pageref,splice", names of engines, into a mask. */
bool tool_engines(const char *text, unsigned int *mask);

/* The pool that send and pool make unless told otherwise. */
#define TOOL_BUF_SIZE	(256U << 10)
#define TOOL_NR_BUFS	16U

bool tool_buf_size(const char *text, uint64_t *val);
bool tool_nr_bufs(const char *text, uint64_t *val);
bool tool_pool_id(const char *text, uint64_t *id);
bool tool_seconds(const char *text, double *val);
/* False, after a message, for a number that is no port; names pass. */
bool tool_port(const char *text);

/* Numbers for people: "64.0 MiB". buf is returned. */
#define FMT_BYTES_MAX	32
const char *fmt_bytes(char buf[FMT_BYTES_MAX], double bytes);
/* "850 ms", "12.3 s", "5:07 min". */
const char *fmt_ms(char buf[FMT_BYTES_MAX], uint64_t ms);
/* The name of a user, or else the number. */
#define FMT_USER_MAX	64
const char *fmt_user(char buf[FMT_USER_MAX], uid_t uid);

/* CLOCK_MONOTONIC in seconds. */
double tool_now(void);
void tool_sleep(double seconds);
/*
 * Say what is going on, on a terminal alone; each line takes the place of the one
 * before, and the last one goes.
 */
void tool_progress(const char *fmt, ...) __printf(1, 2);
void tool_progress_end(void);
/* Let the reader have what was printed; false if there is none any more. */
bool tool_flush(void);

/*
 * Pools, with FBUF_POOL_* flags; the second is only a pool fd, not mapped. On
 * failure a negative errno, after a message that says what to do.
 */
int tool_pool_create(struct fbuf_pool **pool, size_t buf_size,
		     unsigned int nr_bufs);
int tool_pool_fd(size_t buf_size, unsigned int nr_bufs, unsigned int flags);

/* What bounds this process's pools, besides the machine and the module's limits. */
enum tool_bound { TOOL_BOUND_NONE, TOOL_BOUND_MEMLOCK, TOOL_BOUND_CGROUP };
enum tool_bound tool_pool_bound(void);
/* A pool fd or a negative errno, and no word. */
int tool_pool_try(uint32_t buf_size, uint32_t nr_bufs);

/* That the module is not loaded, and what to do about that. */
void tool_no_module(void);

/* Sockets. family is AF_UNSPEC, AF_INET or AF_INET6; -1 after a message. */
int tool_connect(int family, const char *host, const char *port);
int tool_listen(int family, const char *addr, const char *port,
		unsigned int *bound);

/*
 * A TCP connection over loopback: fd[0] sends, fd[1] receives. sockbuf is bytes
 * for the buffers, as far as the caller may, or 0 to leave them to the kernel.
 */
int tool_tcp_pair(int fd[2], int sockbuf);
/* A pool as tool_pool_fd() makes it, mapped. */
int tool_pool_create_flags(struct fbuf_pool **pool, size_t buf_size,
			   unsigned int nr_bufs, unsigned int flags);
/* In a child: die when the parent does. */
void tool_die_with(pid_t parent);

/* SHA-256. */
#define TOOL_SHA_HEX	65	/* bytes of its text, NUL included */

struct tool_sha;
struct tool_sha *tool_sha_new(void);	/* exits without memory */
void tool_sha_update(struct tool_sha *sha, const void *data, size_t len);
/* Writes the hash and frees. */
void tool_sha_end(struct tool_sha *sha, char hex[TOOL_SHA_HEX]);

/* A number that may be more than INT64_MAX; only to be printed by these: */
json_t *tool_json_u64(uint64_t val);
/* JSON, indented; takes the reference to j. */
void tool_print_json(FILE *to, json_t *j);
/* JSON in one line of standard output, at once; false as tool_flush(). */
bool tool_print_json_line(json_t *j);

/*
 * Tables: cells are added row by row, the first row being the heads, if any;
 * columns are as wide as need be. Those that a line has no room for come in a
 * table of their own below, each row with its keys again.
 */
struct tool_table {
	unsigned int cols;
	unsigned int keys;	/* the first columns, which name the row; 0: one */
	unsigned int left;	/* mask of columns to be aligned left */
	int width;		/* of a column, at least */
	size_t nr;		/* cells */
	char **cells;
};

void table_cell(struct tool_table *t, const char *fmt, ...) __printf(2, 3);
void table_heads(struct tool_table *t, const char * const *heads);
/* Characters in a line of the terminal; 80 if it is none. */
unsigned int table_room(void);
/* Prints at most so many lines, and empties the table. */
void table_print(struct tool_table *t, size_t lines);

/* What a transfer did, as text or, with tool_json, as JSON. */
struct tool_sum {
	const char *verb;		/* "sent" or "received" */
	uint64_t bytes;
	uint64_t copied;		/* of a sender */
	unsigned int engines;		/* that ran; 0 for a receiver */
	double seconds;
	char sha256[TOOL_SHA_HEX];	/* or empty */
};

void tool_print_sum(FILE *to, const struct tool_sum *sum);

#endif /* FBUF_TOOL_H */
