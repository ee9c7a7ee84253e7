// SPDX-License-Identifier: GPL-2.0
/* fbuf send: a file through a pool into a TCP connection. */

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <linux/sockios.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "tool.h"

#define PROGRESS_SEC	0.25	/* between two lines of progress */

static const char help[] =
"Usage: fbuf send [OPTIONS] FILE HOST PORT\n"
"\n"
"Read FILE, or standard input for \"-\", into the buffers of a pool and send\n"
"them over TCP. Ends when the peer's kernel has taken everything; if it fails or\n"
"is killed before, the connection is reset.\n"
"\n"
"  -e, --engine ENGINE   demand an engine: pageref, splice, ubuf, copy, or\n"
"                        several with commas (default: the module chooses)\n"
"  -b, --buf-size SIZE   bytes in a buffer, a power of two (default 256K)\n"
"  -n, --buffers N       buffers (default 16)\n"
"  -d, --direct          read FILE past the page cache (direct I/O)\n"
"  -4, -6                IPv4 or IPv6 only\n"
"      --sha256          print the SHA-256 of what was sent\n"
"  -j, --json            results as JSON\n"
"  -h, --help            print this\n"
"\n"
"SIZE takes a suffix K, M or G.\n";

struct job {
	uint64_t buf_size;
	uint64_t nr_bufs;
	unsigned int engines;	/* that may run, 0: all */
	int family;
	bool direct;
	bool hash;
	const char *file;
	const char *host;
	const char *port;

	int fd;
	int sock;
	struct fbuf_pool *pool;
	struct fbuf_gather *gather;
	struct fbuf_gather *rest;
	struct tool_sha *sha;

	double start;
	double shown;		/* when progress was */
	bool progress;
	uint64_t size;		/* of the file, 0 if nobody knows */
	struct tool_sum sum;
};

static void show_progress(struct job *j)
{
	char done[FMT_BYTES_MAX], size[FMT_BYTES_MAX], rate[FMT_BYTES_MAX];
	double now = tool_now();

	if (!j->progress || now - j->shown < PROGRESS_SEC)
		return;
	j->shown = now;
	fmt_bytes(done, j->sum.bytes);
	fmt_bytes(rate, j->sum.bytes / (now - j->start));
	if (j->size)
		tool_progress("%s of %s, %s/s", done,
			      fmt_bytes(size, j->size), rate);
	else
		tool_progress("%s, %s/s", done, rate);
}

static void end_progress(struct job *j)
{
	if (j->progress && j->shown > j->start)
		tool_progress_end();
	j->progress = false;
}

static void explain_fill(struct job *j, int err)
{
	end_progress(j);
	if (j->direct && (err == EOPNOTSUPP || err == EINVAL))
		tool_err("%s does not take direct I/O, or not to buffers of %llu bytes; leave out --direct.",
			 j->file, (unsigned long long)j->buf_size);
	else
		tool_err("Cannot read %s: %s.", j->file, strerror(err));
}

/* Fill a buffer: fewer bytes than it has only at the end, or after a signal. */
static ssize_t fill(struct job *j, uint64_t name)
{
	unsigned int flags = FBUF_FILL_ALL;
	ssize_t ret;

	if (j->direct)
		flags |= FBUF_FILL_DIRECT;
	do {
		ret = fbuf_fill(j->pool, name, 0, j->buf_size, j->fd, flags);
	} while (ret == -EINTR);
	if (ret < 0)
		explain_fill(j, -ret);
	return ret;
}

static void explain_send(struct job *j, int err)
{
	end_progress(j);
	if (err == EPIPE || err == ECONNRESET)
		tool_err("The peer closed the connection after %llu bytes were sent.",
			 (unsigned long long)j->sum.bytes);
	else if (err == EOPNOTSUPP)
		tool_err("The connection takes none of the engines asked for; leave out --engine.");
	else
		tool_err("Cannot send to %s port %s: %s.", j->host, j->port,
			 strerror(err));
}

/* Like fbuf_send_all(), with a choice of engines and a sum of results. */
static bool send_gather(struct job *j)
{
	const struct fbuf_gather *g = j->gather;
	size_t len = fbuf_gather_len(g), done = 0;
	struct fbuf_result result;
	ssize_t ret;

	while (done < len) {
		ret = fbuf_sendto(g, j->sock, 0, j->engines, NULL, 0, &result);
		if (ret == -EINTR)
			continue;
		if (ret < 0)
			goto fail;
		done += ret;
		j->sum.bytes += ret;
		j->sum.copied += result.copied;
		j->sum.engines |= result.engine;
		show_progress(j);

		fbuf_gather_reset(j->rest);
		ret = fbuf_gather_slice(j->rest, j->gather, done, len - done);
		if (ret < 0)
			goto fail;
		g = j->rest;
	}
	return true;
fail:
	explain_send(j, -ret);
	return false;
}

/* One buffer: take it, fill it, send it, free it. 1 to go on, 0 at the end. */
static int send_buffer(struct job *j)
{
	uint64_t name;
	ssize_t len;
	int ret;

	do {
		ret = fbuf_alloc(j->pool, &name, 1, -1);
	} while (ret == -EINTR);
	if (ret < 0) {
		end_progress(j);
		tool_err("Cannot take a buffer: %s.", strerror(-ret));
		return -1;
	}

	len = fill(j, name);
	if (len > 0) {
		if (j->sha)
			tool_sha_update(j->sha, fbuf_addr(j->pool, name), len);
		fbuf_gather_reset(j->gather);
		ret = fbuf_gather_append(j->gather, name, 0, len);
		if (ret < 0 || !send_gather(j))
			len = -1;
	}
	/* In flight or not: the pool waits for its pages, we need not. */
	fbuf_free(j->pool, &name, 1);
	return len > 0 ? 1 : len;
}

/* Wait until the peer's kernel has acknowledged everything. */
static bool drain(struct job *j)
{
	const struct timespec nap = { .tv_nsec = 1000000 };
	socklen_t len;
	int left, err;

	shutdown(j->sock, SHUT_WR);
	for (;;) {
		err = 0;
		len = sizeof(err);
		if (ioctl(j->sock, SIOCOUTQ, &left))
			err = errno;
		else if (getsockopt(j->sock, SOL_SOCKET, SO_ERROR, &err, &len))
			err = errno;
		if (err) {
			explain_send(j, err);
			return false;
		}
		if (!left)
			return true;
		nanosleep(&nap, NULL);
	}
}

/*
 * Whether closing the connection resets it. While it does, a sender that fails,
 * or is killed, does not look to the peer like one that came to its end.
 */
static bool reset_on_close(struct job *j, bool reset)
{
	const struct linger linger = { .l_onoff = reset };

	if (!setsockopt(j->sock, SOL_SOCKET, SO_LINGER, &linger,
			sizeof(linger)))
		return true;
	explain_send(j, errno);
	return false;
}

static bool send_file(struct job *j)
{
	int ret;

	if (!reset_on_close(j, true))
		return false;
	j->progress = isatty(STDERR_FILENO);
	j->start = tool_now();
	j->shown = j->start;

	do {
		ret = send_buffer(j);
	} while (ret > 0);
	if (ret < 0 || !drain(j) || !reset_on_close(j, false))
		return false;

	end_progress(j);
	j->sum.seconds = tool_now() - j->start;
	return true;
}

static bool open_file(struct job *j)
{
	struct stat st;

	/* parse() set it. NOLINTNEXTLINE(clang-analyzer-core.NonNullParamChecker) */
	if (!strcmp(j->file, "-")) {
		j->file = "standard input";
		j->fd = STDIN_FILENO;
	} else {
		j->fd = open(j->file, O_RDONLY | O_CLOEXEC);
	}
	if (j->fd < 0 || fstat(j->fd, &st)) {
		tool_err("Cannot open %s: %s.", j->file, strerror(errno));
		return false;
	}
	/* It opens, and cannot be read. */
	if (S_ISDIR(st.st_mode)) {
		tool_err("Cannot read %s: %s.", j->file, strerror(EISDIR));
		return false;
	}
	if (S_ISREG(st.st_mode))
		j->size = st.st_size;
	return true;
}

static bool open_pool(struct job *j)
{
	if (tool_pool_create(&j->pool, j->buf_size, j->nr_bufs) < 0)
		return false;
	j->gather = fbuf_gather_new(j->pool);
	j->rest = fbuf_gather_new(j->pool);
	if (!j->gather || !j->rest) {
		tool_err("No memory.");
		return false;
	}
	return true;
}

static int parse(int argc, char **argv, struct job *j)
{
	enum { OPT_SHA = 256 };
	static const struct option longs[] = {
		{ "engine", required_argument, NULL, 'e' },
		{ "buf-size", required_argument, NULL, 'b' },
		{ "buffers", required_argument, NULL, 'n' },
		{ "direct", no_argument, NULL, 'd' },
		{ "sha256", no_argument, NULL, OPT_SHA },
		{ "json", no_argument, NULL, 'j' },
		{ "help", no_argument, NULL, 'h' },
		{ 0 }
	};
	int c;

	while ((c = tool_getopt(argc, argv, "e:b:n:d46jh", longs)) != -1) {
		switch (c) {
		case 'e':
			if (!tool_engines(optarg, &j->engines))
				return TOOL_USAGE;
			break;
		case 'b':
			if (!tool_buf_size(optarg, &j->buf_size))
				return TOOL_USAGE;
			break;
		case 'n':
			if (!tool_nr_bufs(optarg, &j->nr_bufs))
				return TOOL_USAGE;
			break;
		case 'd':
			j->direct = true;
			break;
		case '4':
		case '6':
			j->family = c == '4' ? AF_INET : AF_INET6;
			break;
		case OPT_SHA:
			j->hash = true;
			break;
		case 'j':
			tool_json = true;
			break;
		case 'h':
			fputs(help, stdout);
			return -1;
		default:
			return TOOL_USAGE;
		}
	}
	if (argc - optind != 3)
		return tool_usage("send", "It takes FILE, HOST and PORT.");
	j->file = argv[optind];
	j->host = argv[optind + 1];
	j->port = argv[optind + 2];
	return tool_port(j->port) ? TOOL_OK : TOOL_USAGE;
}

int cmd_send(int argc, char **argv)
{
	struct job j = {
		.buf_size = TOOL_BUF_SIZE,
		.nr_bufs = TOOL_NR_BUFS,
		.family = AF_UNSPEC,
	};
	int ret = parse(argc, argv, &j);

	if (ret)
		return ret < 0 ? TOOL_OK : ret;
	/* What fails at home is found before the peer hears of us. */
	if (!open_file(&j) || !open_pool(&j))
		return TOOL_FAIL;
	j.sock = tool_connect(j.family, j.host, j.port);
	if (j.sock < 0)
		return TOOL_FAIL;
	if (j.hash)
		j.sha = tool_sha_new();
	if (!send_file(&j))
		return TOOL_FAIL;

	j.sum.verb = "sent";
	if (j.sha)
		tool_sha_end(j.sha, j.sum.sha256);
	tool_print_sum(stdout, &j.sum);

	fbuf_gather_destroy(j.rest);
	fbuf_gather_destroy(j.gather);
	fbuf_pool_close(j.pool);
	close(j.sock);
	close(j.fd);
	return TOOL_OK;
}
