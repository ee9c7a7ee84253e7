// SPDX-License-Identifier: GPL-2.0
/*
 * fbuf compare --count: what becomes of a message that its program changes, or
 * another truncates, before the peer has read it. It is tried.
 */
#include <errno.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "count.h"

/* More than a window that has not grown: some of it stays with the sender. */
#define SIZE		((size_t)512 << 10)
#define SOCKBUF		(8 << 20)
#define PATIENCE_MS	500	/* a write that took no longer did not wait */

struct hazard {
	const char *mechanism;
	struct flow f;
	uint8_t *old, *new, *got;
	sem_t changed;
	int err;		/* of the change */
	bool waited;
	size_t old_bytes, new_bytes, same;
	char what[NOTE_MAX];
};

/* The message as it is where the program has it. */
static int look(struct flow *f, uint8_t *to)
{
	ssize_t n;

	if (f->file < 0) {
		memcpy(to, f->mem, f->size);
		return 0;
	}
	n = pread(f->file, to, f->size, 0);
	return n == (ssize_t)f->size ? 0 : n < 0 ? -errno : -EIO;
}

static void *change(void *arg)
{
	struct hazard *h = arg;

	h->err = flow_fill(&h->f, FLOW_SEED + 1);
	sem_post(&h->changed);
	return NULL;
}

static int send_it(struct flow *f)
{
	size_t sent = 0;
	ssize_t n;

	while (sent < f->size) {
		n = f->method->send(f, sent, f->size - sent);
		if (n <= 0)
			return n ? n : -EIO;
		sent += n;
	}
	return 0;
}

static int receive_it(struct flow *f, uint8_t *to)
{
	size_t got = 0;
	ssize_t n;

	while (got < f->size) {
		n = recv(f->rx, to + got, f->size - got, 0);
		if (n <= 0)
			return n ? -errno : -EPIPE;
		got += n;
	}
	return 0;
}

/* Does the write end without anybody having read? */
static void wait_for_change(struct hazard *h)
{
	struct timespec until;

	clock_gettime(CLOCK_REALTIME, &until);
	until.tv_nsec += PATIENCE_MS * 1000000L;
	until.tv_sec += until.tv_nsec / 1000000000L;
	until.tv_nsec %= 1000000000L;
	h->waited = sem_timedwait(&h->changed, &until);
}

static int try_change(struct hazard *h)
{
	pthread_t thread;
	int err, ret;

	ret = pthread_create(&thread, NULL, change, h);
	if (ret)
		return -ret;
	wait_for_change(h);
	err = receive_it(&h->f, h->got);
	pthread_join(thread, NULL);
	return err ?: h->err;
}

static int try_it(struct hazard *h)
{
	struct flow *f = &h->f;
	struct timeval patience = { .tv_sec = 20 };
	int size = SOCKBUF, err;

	setsockopt(f->tx, SOL_SOCKET, SO_SNDBUFFORCE, &size, sizeof(size));
	setsockopt(f->rx, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
	err = flow_fill(f, FLOW_SEED);
	if (!err)
		err = look(f, h->old);
	if (!err)
		err = send_it(f);
	if (!err)
		err = try_change(h);
	return err ?: look(f, h->new);
}

static const char *saw(const struct hazard *h)
{
	return !h->new_bytes ? "old" : !h->old_bytes ? "new" : "mixed";
}

static void compare_it(struct hazard *h)
{
	size_t i;

	for (i = 0; i < SIZE; i++) {
		if (h->old[i] == h->new[i])
			h->same++;
		else if (h->got[i] == h->old[i])
			h->old_bytes++;
		else
			h->new_bytes++;
	}
	if (h->new_bytes && h->old_bytes)
		snprintf(h->what, sizeof(h->what),
			 "the peer sees a mixture: %.0f %% as it was sent, and the rest changed",
			 100.0 * h->old_bytes / (h->old_bytes + h->new_bytes));
	else if (h->new_bytes)
		snprintf(h->what, sizeof(h->what),
			 "the peer sees the change, and not what was sent");
	else if (h->waited)
		snprintf(h->what, sizeof(h->what),
			 "the write waits until the peer has read: it sees what was sent");
	else
		snprintf(h->what, sizeof(h->what),
			 "the peer sees what was sent, and the program goes on");
}

static void hash(const uint8_t *data, char hex[TOOL_SHA_HEX])
{
	struct tool_sha *sha = tool_sha_new();

	tool_sha_update(sha, data, SIZE);
	tool_sha_end(sha, hex);
}

static json_t *hazard_json(const struct hazard *h, const char *kernel, int err)
{
	char sent[TOOL_SHA_HEX], received[TOOL_SHA_HEX];

	if (err)
		return json_pack("{s:s, s:s, s:s, s:s, s:n, s:s}",
				 "kernel", kernel, "mechanism", h->mechanism,
				 "destination", "loopback",
				 "hazard", "changed in flight", "peer_saw",
				 "what", h->f.why[0] ? h->f.why : strerror(-err));
	hash(h->old, sent);
	hash(h->got, received);
	return json_pack("{s:s, s:s, s:s, s:s, s:s, s:b, s:I, s:I, s:s, s:s, s:s}",
			 "kernel", kernel, "mechanism", h->mechanism,
			 "destination", "loopback",
			 "hazard", "changed in flight", "peer_saw", saw(h),
			 "waited", h->waited, "old_bytes",
			 (json_int_t)h->old_bytes, "new_bytes",
			 (json_int_t)h->new_bytes, "sent_sha256", sent,
			 "received_sha256", received, "what", h->what);
}

static json_t *change_one(const struct count_def *def, const char *kernel,
			  bool *failed)
{
	struct hazard h = { .mechanism = def->mechanism };
	const struct method *m = def_method(def);
	json_t *j;
	int err = -ENOMEM;

	h.old = malloc(SIZE);
	h.new = malloc(SIZE);
	h.got = calloc(1, SIZE);
	sem_init(&h.changed, 0, 0);
	if (!m)
		flow_fail(&h.f, -ENOENT, "unsupported: this way to send");
	else if (h.old && h.new && h.got)
		err = flow_open(&h.f, m, SIZE, true);
	if (!err) {
		err = try_it(&h);
		flow_close(&h.f);
	}
	if (!err)
		compare_it(&h);
	*failed |= err;
	j = hazard_json(&h, kernel, err);
	free(h.old);
	free(h.new);
	free(h.got);
	return j;
}

/* The program: it maps a file, which then is truncated, and sends; then reads. */
static void mapper(int fd, int sock, int talk)
{
	const struct rlimit none = { 0, 0 };
	size_t size = SIZE;
	uint8_t *p;
	int err;

	setrlimit(RLIMIT_CORE, &none);
	p = mmap(NULL, size, PROT_READ, MAP_SHARED, fd, 0);
	if (p == MAP_FAILED)
		_exit(1);
	err = 0;
	if (write(talk, &err, sizeof(err)) != sizeof(err) ||
	    read(talk, &err, sizeof(err)) != sizeof(err))
		_exit(1);
	err = write(sock, p, size) < 0 ? errno : 0;
	if (write(talk, &err, sizeof(err)) != sizeof(err))
		_exit(1);
	_exit(__atomic_load_n(p, __ATOMIC_RELAXED));
}

/* What the call gave, and the signal that ended the program. */
static int truncate_it(int fd, int talk[2], pid_t pid, int *given, int *sig)
{
	int status, word;

	if (read(talk[0], &word, sizeof(word)) != sizeof(word) ||
	    ftruncate(fd, 0) ||
	    write(talk[0], &word, sizeof(word)) != sizeof(word) ||
	    read(talk[0], given, sizeof(*given)) != sizeof(*given) ||
	    waitpid(pid, &status, 0) != pid)
		return -EIO;
	*sig = WIFSIGNALED(status) ? WTERMSIG(status) : 0;
	return 0;
}

static json_t *truncate_mapped(const char *kernel)
{
	int fd = memfd_create("fbuf-count", MFD_CLOEXEC), talk[2], tcp[2];
	int given = 0, sig = 0, err = -EIO;
	char what[NOTE_MAX];
	pid_t pid, parent = getpid();

	if (fd < 0 || ftruncate(fd, SIZE) ||
	    socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, talk) ||
	    tool_tcp_pair(tcp, 0))
		return json_null();
	pid = fork();
	if (!pid) {
		tool_die_with(parent);
		mapper(fd, tcp[0], talk[1]);
	}
	close(talk[1]);
	if (pid > 0)
		err = truncate_it(fd, talk, pid, &given, &sig);
	close(talk[0]);
	close(tcp[0]);
	close(tcp[1]);
	close(fd);
	if (err)
		snprintf(what, sizeof(what), "it could not be tried");
	else
		snprintf(what, sizeof(what),
			 "another truncates the file: write gives %s, and to look at it %s",
			 given ? strerror(given) : "no error",
			 sig ? strsignal(sig) : "nothing");
	return json_pack("{s:s, s:s, s:s, s:s, s:n, s:i, s:i, s:s}",
			 "kernel", kernel, "mechanism", "mmap-write",
			 "destination", "loopback", "hazard",
			 "truncated by another", "peer_saw", "errno", given,
			 "signal", sig, "what", what);
}

json_t *count_hazards(const char *methods, bool *failed)
{
	const struct count_def *def;
	json_t *list = json_array();
	struct utsname uts;
	unsigned int i;

	uname(&uts);
	file_dir = NULL;
	transport = (struct transport){ .addr = "127.0.0.1" };
	for (i = 0; (def = count_def_get(i)); i++) {
		if (def->disk || def->no_sg || !strcmp(def->mechanism, "cow") ||
		    (methods && !count_listed(methods, def->mechanism)))
			continue;
		tool_progress("changed in flight: %s", def->mechanism);
		json_array_append_new(list, change_one(def, uts.release, failed));
	}
	if (!methods || count_listed(methods, "mmap-write"))
		json_array_append_new(list, truncate_mapped(uts.release));
	tool_progress_end();
	return list;
}
