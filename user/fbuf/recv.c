// SPDX-License-Identifier: GPL-2.0
/* fbuf recv: what one TCP connection brings, into a file. */

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tool.h"

#define BUF_SIZE	(256 * 1024)

static const char help[] =
"Usage: fbuf recv [OPTIONS] PORT [FILE]\n"
"\n"
"Accept one TCP connection and write what it brings to FILE, or to standard\n"
"output for \"-\"; without FILE it is read and dropped. PORT 0 takes a free\n"
"port. \"listening on port N\" on standard error says when to connect. It fails\n"
"if the sender resets the connection, as \"fbuf send\" does when it fails.\n"
"\n"
"      --bind ADDRESS   listen on this address only\n"
"  -4, -6               IPv4 or IPv6 only\n"
"      --sha256         print the SHA-256 of what came\n"
"  -j, --json           results as JSON\n"
"  -h, --help           print this\n";

struct job {
	const char *port;
	const char *file;	/* or NULL */
	const char *addr;	/* or NULL */
	int family;
	int out;		/* the file, or -1 */
	bool hash;
	struct tool_sha *sha;
	struct tool_sum sum;
};

static int parse(int argc, char **argv, struct job *j)
{
	enum { OPT_SHA = 256, OPT_BIND };
	static const struct option longs[] = {
		{ "bind", required_argument, NULL, OPT_BIND },
		{ "sha256", no_argument, NULL, OPT_SHA },
		{ "json", no_argument, NULL, 'j' },
		{ "help", no_argument, NULL, 'h' },
		{ 0 }
	};
	int c;

	while ((c = tool_getopt(argc, argv, "46jh", longs)) != -1) {
		switch (c) {
		case OPT_BIND:
			j->addr = optarg;
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
	if (argc - optind != 1 && argc - optind != 2)
		return tool_usage("recv", "It takes PORT and perhaps FILE.");
	j->port = argv[optind];
	j->file = argv[optind + 1];
	return tool_port(j->port) ? TOOL_OK : TOOL_USAGE;
}

static bool open_out(struct job *j)
{
	j->out = -1;
	if (!j->file)
		return true;
	if (!strcmp(j->file, "-")) {
		j->file = "standard output";
		j->out = STDOUT_FILENO;
		return true;
	}
	/* Cut when somebody connects, and not before. */
	j->out = open(j->file, O_WRONLY | O_CREAT | O_CLOEXEC, 0666);
	if (j->out < 0)
		tool_err("Cannot open %s: %s.", j->file, strerror(errno));
	return j->out >= 0;
}

static int accept_one(struct job *j)
{
	unsigned int port;
	int sock, fd;

	sock = tool_listen(j->family, j->addr, j->port, &port);
	if (sock < 0)
		return -1;
	fprintf(stderr, "listening on port %u\n", port);
	do {
		fd = accept4(sock, NULL, NULL, SOCK_CLOEXEC);
	} while (fd < 0 && (errno == EINTR || errno == ECONNABORTED));
	if (fd < 0)
		tool_err("Cannot accept a connection: %s.", strerror(errno));
	close(sock);
	return fd;
}

static bool write_all(int fd, const char *buf, size_t len)
{
	ssize_t ret;

	while (len) {
		ret = write(fd, buf, len);
		if (ret < 0 && errno == EINTR)
			continue;
		if (ret < 0)
			return false;
		buf += ret;
		len -= ret;
	}
	return true;
}

static void explain_recv(const struct job *j, int err)
{
	if (err == ECONNRESET)
		tool_err("The sender did not come to its end: it was cut off after %llu bytes.",
			 (unsigned long long)j->sum.bytes);
	else
		tool_err("The connection broke: %s.", strerror(err));
}

static bool receive(struct job *j, int sock)
{
	static char buf[BUF_SIZE];
	ssize_t len;

	for (;;) {
		len = read(sock, buf, sizeof(buf));
		if (!len)
			return true;
		if (len < 0 && errno == EINTR)
			continue;
		if (len < 0) {
			explain_recv(j, errno);
			return false;
		}
		if (j->sha)
			tool_sha_update(j->sha, buf, len);
		if (j->out >= 0 && !write_all(j->out, buf, len)) {
			tool_err("Cannot write %s: %s.", j->file,
				 strerror(errno));
			return false;
		}
		j->sum.bytes += len;
	}
}

static bool close_out(struct job *j)
{
	/* Some file systems tell only now that there was no room. */
	if (j->out < 0 || close(j->out) == 0)
		return true;
	tool_err("Cannot write %s: %s.", j->file, strerror(errno));
	return false;
}

int cmd_recv(int argc, char **argv)
{
	struct job j = { .family = AF_UNSPEC };
	int ret = parse(argc, argv, &j);
	bool piped;
	double start;
	int sock;

	if (ret)
		return ret < 0 ? TOOL_OK : ret;
	if (!open_out(&j))
		return TOOL_FAIL;
	sock = accept_one(&j);
	if (sock < 0)
		return TOOL_FAIL;

	piped = j.out == STDOUT_FILENO;
	/* What cannot be cut, a pipe or a device, need not be. */
	if (j.out >= 0 && !piped && ftruncate(j.out, 0) && errno != EINVAL) {
		tool_err("Cannot empty %s: %s.", j.file, strerror(errno));
		return TOOL_FAIL;
	}
	if (j.hash)
		j.sha = tool_sha_new();
	start = tool_now();
	if (!receive(&j, sock) || (!piped && !close_out(&j))) {
		if (j.out >= 0)
			tool_err("%s is not whole: about %llu bytes were written.",
				 j.file, (unsigned long long)j.sum.bytes);
		return TOOL_FAIL;
	}
	close(sock);

	j.sum.verb = "received";
	j.sum.seconds = tool_now() - start;
	if (j.sha)
		tool_sha_end(j.sha, j.sum.sha256);
	tool_print_sum(piped ? stderr : stdout, &j.sum);
	return TOOL_OK;
}
