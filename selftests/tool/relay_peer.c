// SPDX-License-Identifier: GPL-2.0
/*
 * relay_peer CASE COMMAND...: both peers of a relay. The command is run with "0" and
 * where the target is, and ended by SIGTERM; then its exit status must be 0. What it
 * says besides its port comes out as it is.
 */

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#define MANY		1000
#define CHUNK		65536
#define FEW		60
#define FILES		48	/* that the relay has for these */
#define WAIT_MS		20000
#define IN_BETWEEN_MAX	(64 << 20)	/* what sockets and the relay may keep */
#define RSS_MAX_KB	(48 << 10)

/* One peer of a connection: what it is to send, and to get. */
struct peer {
	int fd;
	size_t send, sent, get, got;
	bool fin;		/* at the end of what it sends */
	bool shut, end;
	unsigned int seed;	/* of what it sends; the other one's is 1 more or less */
};

static pid_t relay;
static int listener;
static struct sockaddr_in relay_at, target_at;

static void __attribute__((__noreturn__)) fail(const char *what)
{
	fprintf(stderr, "%s (%s)\n", what, strerror(errno));
	if (relay > 0)
		kill(relay, SIGKILL);
	exit(1);
}

static void must(bool ok, const char *what)
{
	if (!ok)
		fail(what);
}

static unsigned char pattern(size_t at, unsigned int seed)
{
	return at * 31 + (at >> 8) * 7 + (at >> 16) * 13 + seed;
}

static void set_block(int fd, bool block)
{
	fcntl(fd, F_SETFL, block ? 0 : O_NONBLOCK);
}

static pid_t passes_on;

/* The relay's port; the rest of what it says is passed on by a child. */
static void read_port(int fd)
{
	char line[256];
	FILE *in = fdopen(fd, "r");
	unsigned int port = 0;

	while (!port && fgets(line, sizeof(line), in))
		if (sscanf(line, "listening on port %u", &port) != 1)
			fputs(line, stderr);
	must(port, "the relay does not listen");
	relay_at = target_at;
	relay_at.sin_port = htons(port);
	passes_on = fork();
	if (passes_on) {
		fclose(in);
		return;
	}
	close(listener);
	while (fgets(line, sizeof(line), in))
		fputs(line, stderr);
	fclose(in);
	_exit(0);
}

static void start(char **command, int nr, bool listens, bool few_files)
{
	socklen_t len = sizeof(target_at);
	const struct rlimit files = { FILES, FILES };
	char target[32], *args[nr + 3];
	int fds[2];

	target_at.sin_family = AF_INET;
	target_at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	must(!bind(listener, (struct sockaddr *)&target_at, len), "bind");
	must(!listens || !listen(listener, MANY), "listen");
	must(!getsockname(listener, (struct sockaddr *)&target_at, &len), "name");
	snprintf(target, sizeof(target), "127.0.0.1:%u", ntohs(target_at.sin_port));
	memcpy(args, command, nr * sizeof(*args));
	args[nr] = "0";
	args[nr + 1] = target;
	args[nr + 2] = NULL;
	must(!pipe(fds), "pipe");
	relay = fork();
	if (!relay) {
		dup2(fds[1], STDERR_FILENO);
		close(fds[0]);
		close(fds[1]);
		if (few_files)
			setrlimit(RLIMIT_NOFILE, &files);
		execvp(*args, args);
		_exit(127);
	}
	close(fds[1]);
	read_port(fds[0]);
}

static void stop(void)
{
	int status;

	kill(relay, SIGTERM);
	must(waitpid(relay, &status, 0) == relay && !status, "the relay failed");
}

static int call(void)
{
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	must(fd >= 0, "socket");
	must(!connect(fd, (struct sockaddr *)&relay_at, sizeof(relay_at)),
	     "cannot connect to the relay");
	return fd;
}

static void set_up(struct peer p[2])
{
	struct pollfd ready = { .fd = listener, .events = POLLIN };

	p[0].fd = call();
	must(poll(&ready, 1, WAIT_MS) == 1, "the relay does not connect");
	p[1].fd = accept(listener, NULL, NULL);
	must(p[1].fd >= 0, "accept");
	p[0].seed = 1;
	p[1].seed = 2;
	set_block(p[0].fd, false);
	set_block(p[1].fd, false);
}

static void hang_up(struct peer p[2])
{
	close(p[0].fd);
	close(p[1].fd);
}

/* False if the socket is full. */
static bool send_some(struct peer *p)
{
	unsigned char buf[CHUNK];
	size_t len = p->send - p->sent, i;
	ssize_t n;

	if (len > CHUNK)
		len = CHUNK;
	for (i = 0; i < len; i++)
		buf[i] = pattern(p->sent + i, p->seed);
	n = len ? send(p->fd, buf, len, MSG_NOSIGNAL) : 0;
	if (n < 0 && errno == EAGAIN)
		return false;
	must(n >= 0, "cannot send");
	p->sent += n;
	if (p->fin && p->sent == p->send) {
		shutdown(p->fd, SHUT_WR);
		p->shut = true;
	}
	return true;
}

static void get_some(struct peer *p)
{
	unsigned char buf[CHUNK];
	ssize_t n = recv(p->fd, buf, sizeof(buf), 0), i;

	must(n >= 0, "cannot receive");
	for (i = 0; i < n; i++)
		must(buf[i] == pattern(p->got + i, 3 - p->seed), "other bytes");
	p->got += n;
	p->end = !n;
	must(p->got <= p->get, "too many bytes");
}

static bool wants_send(const struct peer *p)
{
	return p->sent < p->send || (p->fin && !p->shut);
}

/* other: the one whose bytes it gets. */
static bool wants_get(const struct peer *p, const struct peer *other)
{
	return p->got < p->get || (other->fin && !p->end);
}

/* Until all that is to be sent was got, and its end where there is one. */
static void pump(struct peer p[2])
{
	struct pollfd fds[2];
	int i;

	p[0].get = p[1].send;
	p[1].get = p[0].send;
	for (;;) {
		for (i = 0; i < 2; i++)
			fds[i] = (struct pollfd){
				.fd = p[i].fd,
				.events = (wants_send(&p[i]) ? POLLOUT : 0) |
					  (wants_get(&p[i], &p[!i]) ? POLLIN : 0),
			};
		if (!fds[0].events && !fds[1].events)
			return;
		for (i = 0; i < 2; i++)
			if (!fds[i].events)
				fds[i].fd = -1;
		must(poll(fds, 2, WAIT_MS) > 0, "it got stuck");
		for (i = 0; i < 2; i++) {
			if (fds[i].revents & POLLOUT)
				send_some(&p[i]);
			if (fds[i].revents & (POLLIN | POLLHUP | POLLERR))
				get_some(&p[i]);
		}
	}
}

/* 8 MiB one way and 5000003 bytes the other, at once; tells the ends of lines in it. */
static void both(void)
{
	struct peer p[2] = { { .send = 8 << 20, .fin = true },
			     { .send = 5000003, .fin = true } };
	size_t lines = 0, i;

	set_up(p);
	pump(p);
	hang_up(p);
	for (i = 0; i < p[0].send; i++)
		lines += pattern(i, 1) == '\n';
	for (i = 0; i < p[1].send; i++)
		lines += pattern(i, 2) == '\n';
	fprintf(stderr, "%zu lines\n", lines);
}

/* Who is done says so, and the other one answers only then. */
static void half(int first)
{
	struct peer p[2] = { };

	set_up(p);
	p[first].send = 3000000;
	p[first].fin = true;
	pump(p);
	must(p[!first].end, "no end");
	p[!first].send = 2000000;
	p[!first].fin = true;
	pump(p);
	must(p[first].end, "no end of the answer");
	hang_up(p);
}

static void reset(int fd)
{
	const struct linger now = { .l_onoff = 1 };

	setsockopt(fd, SOL_SOCKET, SO_LINGER, &now, sizeof(now));
	close(fd);
}

/* It is reset, after whatever else was sent. */
static void must_be_reset(int fd)
{
	const struct timeval soon = { .tv_sec = 5 };
	char buf[CHUNK];
	ssize_t n;

	set_block(fd, true);
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &soon, sizeof(soon));
	do {
		n = recv(fd, buf, sizeof(buf), 0);
	} while (n > 0);
	must(n < 0 && errno == ECONNRESET, "it was not reset");
	close(fd);
}

static void reset_by(int who)
{
	struct peer p[2] = { { .send = 1000 }, { .send = 1000 } };

	set_up(p);
	pump(p);
	reset(p[who].fd);
	must_be_reset(p[!who].fd);
}

/* Sends until there is no room for half a second. */
static void fill(struct peer *p)
{
	struct pollfd fd = { .fd = p->fd, .events = POLLOUT };

	while (p->sent < p->send && poll(&fd, 1, 500) == 1)
		send_some(p);
	must(p->sent < p->send, "somebody takes all there is");
	must(p->sent < IN_BETWEEN_MAX, "somebody keeps too much");
}

/* While the relay waits for the other one. */
static void reset_full(void)
{
	struct peer p[2] = { { .send = 1 << 30 } };
	struct pollfd broken = { };

	set_up(p);
	fill(&p[0]);
	reset(p[0].fd);
	/* Without a byte being read: so nothing else lets the relay go on. */
	broken.fd = p[1].fd;
	must(poll(&broken, 1, 5000) == 1, "it was not reset while it was full");
	must_be_reset(p[1].fd);
}

static void look_at_memory(void)
{
	char name[64], line[128];
	long kb = 0;
	FILE *f;

	snprintf(name, sizeof(name), "/proc/%d/status", relay);
	f = fopen(name, "r");
	while (f && fgets(line, sizeof(line), f))
		if (sscanf(line, "VmRSS: %ld", &kb) == 1)
			break;
	must(kb > 0 && kb < RSS_MAX_KB, "the relay has too much memory");
	fclose(f);
}

/* One that nobody reads from; the others go on, and so does it in the end. */
static void slow(void)
{
	struct peer p[2] = { { .send = 1 << 30 } };
	struct peer others[2] = { { .send = 4 << 20, .fin = true },
				  { .send = 4 << 20, .fin = true } };

	set_up(p);
	fill(&p[0]);
	look_at_memory();
	set_up(others);
	pump(others);
	hang_up(others);
	p[0].send = p[0].sent;
	p[0].fin = true;
	pump(p);
	hang_up(p);
}

/* All at once; what one sends must not come to another. */
static void many(void)
{
	static struct peer p[MANY][2];
	int i;

	for (i = 0; i < MANY; i++) {
		set_up(p[i]);
		p[i][0].send = 1000 + i;
		p[i][1].send = 3000 - i;
	}
	for (i = 0; i < MANY; i++)
		while (p[i][0].sent < p[i][0].send)
			must(send_some(&p[i][0]), "no room");
	for (i = 0; i < MANY; i++)
		pump(p[i]);
	for (i = 0; i < MANY; i++) {
		p[i][i & 1].fin = true;
		pump(p[i]);
		hang_up(p[i]);
	}
}

/* The next one that the relay connects, or -1. */
static int accept_next(int ms)
{
	struct pollfd ready = { .fd = listener, .events = POLLIN };

	return poll(&ready, 1, ms) == 1 ? accept(listener, NULL, NULL) : -1;
}

/* More than the relay has files for: who is too many comes when others have gone. */
static void few(void)
{
	int fds[FEW], at[FEW], i, nr = 0;

	for (i = 0; i < FEW; i++)
		fds[i] = call();
	while (nr < FEW && (at[nr] = accept_next(1000)) >= 0)
		nr++;
	must(nr > 0 && nr < FEW, "it has files for all");
	for (i = 0; i < FEW; i++) {
		if (i == nr)
			at[nr++] = accept_next(WAIT_MS);
		must(at[i] >= 0, "who came late does not come in");
		close(at[i]);
		close(fds[i]);
	}
}

/* Nobody is at home. */
static void refused(void)
{
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	must(fd >= 0, "socket");
	/* The reset may be there before connect() has returned. */
	if (!connect(fd, (struct sockaddr *)&relay_at, sizeof(relay_at)))
		must_be_reset(fd);
	else
		must(errno == ECONNRESET, "cannot connect to the relay");
}

/* With --connections 3: it ends by itself. */
static void ends(void)
{
	struct peer p[2];
	int status, i;

	for (i = 0; i < 3; i++) {
		memset(p, 0, sizeof(p));
		p[0].send = 1000;
		p[0].fin = true;
		p[1].fin = true;
		set_up(p);
		must(!waitpid(relay, &status, WNOHANG), "it ended too early");
		pump(p);
		hang_up(p);
	}
	alarm(WAIT_MS / 1000);
	must(waitpid(relay, &status, 0) == relay && !status, "the relay failed");
}

static void raise_files(void)
{
	struct rlimit limit;

	getrlimit(RLIMIT_NOFILE, &limit);
	limit.rlim_cur = limit.rlim_max;
	setrlimit(RLIMIT_NOFILE, &limit);
	must(limit.rlim_max > 2 * MANY + 16, "it may have too few files");
}

static void half_client(void) { half(0); }
static void half_target(void) { half(1); }
static void reset_client(void) { reset_by(0); }
static void reset_target(void) { reset_by(1); }

int main(int argc, char **argv)
{
	static const struct {
		const char *name;
		void (*run)(void);
	} cases[] = {
		{ "both", both }, { "half_client", half_client },
		{ "half_target", half_target }, { "reset_client", reset_client },
		{ "reset_target", reset_target }, { "reset_full", reset_full },
		{ "slow", slow }, { "many", many }, { "refused", refused },
		{ "ends", ends }, { "few", few },
	};
	size_t i;

	must(argc > 2, "usage: relay_peer CASE COMMAND...");
	for (i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		if (strcmp(cases[i].name, argv[1]))
			continue;
		start(argv + 2, argc - 2, cases[i].run != refused,
		      cases[i].run == few);
		/* After the relay is there: it is to raise its own limit itself. */
		raise_files();
		cases[i].run();
		if (cases[i].run != ends)
			stop();
		/* Who reads what the relay said reads all of it. */
		waitpid(passes_on, NULL, 0);
		return 0;
	}
	fail("no such case");
}
