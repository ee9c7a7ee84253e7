// SPDX-License-Identifier: GPL-2.0
/* fbuf demo: a file through a chain of three processes on one pool. */

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <grp.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tool.h"

#define DEMO_SIZE	(64ULL << 20)
#define DEMO_BUF_SIZE	(64ULL << 10)
#define DEMO_NR_BUFS	64
/*
 * Three users that nobody is: 65520 to 65533 are neither systemd's (60001 to
 * 60513, 61184 to 65519), nor Debian's (60000 to 64999), nor anybody's range of
 * subordinate ones (100000 and up); and a container with 65536 users has them.
 * The last two of that range are those of some container images.
 */
#define FIRST_UID	65521
#define FILTER_WORD	0x2020202020202020ULL
#define RECV_SIZE	(256U << 10)

static const char help[] =
"Usage: fbuf demo [OPTIONS] [FILE]\n"
"\n"
"Send FILE, or a pattern, through three processes on one pool: a producer fills\n"
"buffers, a filter changes them in place, a sender sends them over TCP to a\n"
"receiver. Each has a handle with no more rights than it needs, and, run by\n"
"root, a user of its own.\n"
"\n"
"  -b, --buf-size SIZE   bytes in a buffer, a power of two (default 64K)\n"
"  -n, --buffers N       buffers (default 64)\n"
"      --size SIZE       bytes of the pattern without FILE (default 64M)\n"
"      --protect HOW     what a write to a buffer in flight does: volatile (is\n"
"                        seen, the default), secured (waits), snapshot (goes to\n"
"                        a copy)\n"
"  -j, --json            as JSON\n"
"  -h, --help            print this\n"
"\n"
"SIZE takes a suffix K, M or G. Exit status: 1 if the data arrived changed,\n"
"anything was copied, or a buffer was still held at the end.\n";

enum { PRODUCER, FILTER, SENDER, RECEIVER, NR_ROLES };
#define NR_HANDLES	RECEIVER	/* the receiver has none */

/* What a process says when it is done. */
struct report {
	uint64_t bytes, buffers, passes, polls, copied;
	uint32_t uid, rights;
	char sha256[TOOL_SHA_HEX];
};

struct child {
	pid_t pid;		/* 0 when it is reaped */
	pid_t was;
	int sock;		/* to it, or -1 */
	bool reported;
	struct report report;
};

struct demo {
	uint64_t buf_size, nr_bufs, size;
	unsigned int protect;	/* FBUF_POOL_* */
	const char *path;
	int file;		/* or -1: a pattern */
	int tcp[2];
	struct child child[NR_ROLES];
};

/* A child's side. */
struct stage {
	const struct demo *demo;
	struct fbuf_pool *pool;
	uint32_t next;		/* the handle to pass to */
	struct report report;
};

static const char * const protections[] = { "volatile", "secured", "snapshot" };

static const unsigned int protection_flags[] = {
	0, FBUF_POOL_SECURED, FBUF_POOL_SNAPSHOT,
};

static int child_err(const char *role, const char *what, int err)
{
	tool_err("The %s %s: %s.", role, what, strerror(-err));
	return err;
}

/* Word number i of the pattern: no two alike. */
static uint64_t pattern(uint64_t i)
{
	uint64_t x = (i + 1) * 0x9e3779b97f4a7c15ULL;

	x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ULL;
	return x ^ (x >> 31);
}

/* Bytes at .. at + len - 1 of it; the room at to is of whole words. */
static void pattern_at(void *to, size_t len, uint64_t at)
{
	uint64_t *words = to;
	size_t i;

	for (i = 0; i * 8 < len; i++)
		words[i] = pattern(at / 8 + i);
}

/* Bytes at .. at + len - 1 of what is sent, not into a pool: see produce(). */
static int source_read(const struct demo *d, void *to, size_t len, uint64_t at)
{
	size_t done;
	ssize_t n;

	if (d->file < 0) {
		pattern_at(to, len, at);
		return 0;
	}
	for (done = 0; done < len; done += n) {
		n = pread(d->file, (char *)to + done, len - done, at + done);
		if (n < 0)
			return -errno;
		if (!n)
			return -ENODATA;
	}
	return 0;
}

static size_t at_most(uint64_t left, uint64_t max)
{
	return left < max ? left : max;
}

static int pass_on(struct stage *s, const char *role, uint64_t name,
		   uint64_t len)
{
	const struct fbuf_item item = { .name = name, .data = len };
	int ret = fbuf_pass(s->pool, s->next, &item, 1, 0);

	if (ret < 0)
		return child_err(role, "cannot pass a buffer on", ret);
	s->report.passes++;
	return 0;
}

/* The next buffer that the process before this one passed. */
static int take(struct stage *s, const char *role, struct fbuf_ring_entry *e)
{
	int ret = fbuf_ring_next(s->pool, e);

	if (!ret) {
		s->report.polls++;
		ret = fbuf_ring_wait(s->pool, e, -1);
	}
	if (ret < 0)
		return child_err(role, "cannot read its ring", ret);
	s->report.buffers++;
	s->report.bytes += e->data;
	return 0;
}

/*
 * The same into a buffer. A file by FILL: where memory is protected, read() fails
 * with EFAULT rather than wait.
 */
static int produce(const struct stage *s, uint64_t name, size_t len, uint64_t at)
{
	size_t done = 0;
	ssize_t n;

	if (s->demo->file < 0) {
		pattern_at(fbuf_addr(s->pool, name), len, at);
		return 0;
	}
	while (done < len) {
		n = fbuf_fill_at(s->pool, name, done, len - done,
				 s->demo->file, at + done, 0, FBUF_FILL_ALL);
		if (n == -EINTR)
			continue;
		if (n <= 0)
			return n ? n : -ENODATA;
		done += n;
	}
	return 0;
}

static int producer(struct stage *s)
{
	const struct demo *d = s->demo;
	uint64_t name, len;
	int ret;

	while (s->report.bytes < d->size) {
		ret = fbuf_alloc_flags(s->pool, &name, 1, FBUF_ALLOC_WAIT, -1);
		if (ret < 0)
			return child_err("producer", "gets no buffer", ret);
		len = at_most(d->size - s->report.bytes, d->buf_size);
		ret = produce(s, name, len, s->report.bytes);
		if (ret < 0)
			return child_err("producer", "cannot read its file",
					 ret);
		ret = pass_on(s, "producer", name, len);
		if (ret < 0)
			return ret;
		s->report.buffers++;
		s->report.bytes += len;
	}
	return 0;
}

static int filter(struct stage *s)
{
	struct fbuf_ring_entry e;
	uint64_t *words;
	size_t i;
	int ret;

	while (s->report.bytes < s->demo->size) {
		ret = take(s, "filter", &e);
		if (ret < 0)
			return ret;
		/* To the end of the last word: a buffer has whole ones. */
		words = fbuf_addr(s->pool, e.name);
		for (i = 0; i * 8 < e.data; i++)
			words[i] ^= FILTER_WORD;
		ret = pass_on(s, "filter", e.name, e.data);
		if (ret < 0)
			return ret;
	}
	return 0;
}

/* By hand rather than with fbuf_send_all(), which does not tell the copies. */
static int send_buffer(struct stage *s, struct fbuf_gather *g,
		       const struct fbuf_ring_entry *e)
{
	struct fbuf_result result = { 0 };
	const uint64_t name = e->name;
	uint64_t done;
	ssize_t ret;

	for (done = 0; done < e->data; done += ret) {
		fbuf_gather_reset(g);
		ret = fbuf_gather_append(g, name, done, e->data - done);
		if (ret < 0)
			return ret;
		ret = fbuf_send(g, s->demo->tcp[0], 0, &result);
		if (ret < 0)
			return ret;
		s->report.copied += result.copied;
	}
	return fbuf_free(s->pool, &name, 1);
}

static int sender(struct stage *s)
{
	struct fbuf_gather *g = fbuf_gather_new(s->pool);
	struct fbuf_ring_entry e;
	int ret = 0;

	if (!g)
		ret = child_err("sender", "makes no gather", -ENOMEM);
	while (!ret && s->report.bytes < s->demo->size) {
		ret = take(s, "sender", &e);
		if (ret < 0)
			break;
		ret = send_buffer(s, g, &e);
		if (ret < 0)
			child_err("sender", "cannot send", ret);
	}
	fbuf_gather_destroy(g);
	shutdown(s->demo->tcp[0], SHUT_WR);
	return ret;
}

static int receiver(struct stage *s)
{
	struct tool_sha *sha = tool_sha_new();
	char *buf = malloc(RECV_SIZE);
	ssize_t n = buf ? 1 : -1;

	while (n > 0) {
		n = recv(s->demo->tcp[1], buf, RECV_SIZE, 0);
		if (n <= 0)
			break;
		tool_sha_update(sha, buf, n);
		s->report.bytes += n;
	}
	free(buf);
	tool_sha_end(sha, s->report.sha256);
	return n < 0 ? child_err("receiver", "cannot receive", -errno) : 0;
}

static const struct role {
	const char *name;
	unsigned int rights;
	int (*run)(struct stage *s);
} roles[NR_ROLES] = {
	{ "producer", FBUF_RIGHT_READ | FBUF_RIGHT_WRITE | FBUF_RIGHT_ALLOC,
	  producer },
	{ "filter", FBUF_RIGHT_READ | FBUF_RIGHT_WRITE, filter },
	{ "sender", FBUF_RIGHT_READ | FBUF_RIGHT_SEND, sender },
	{ "receiver", 0, receiver },
};

/* An ordinary user, another one for each process, if the caller may do that. */
static int drop_root(unsigned int role)
{
	uid_t id = FIRST_UID + role;

	if (geteuid() || role >= NR_HANDLES)
		return 0;
	if (setgroups(0, NULL) || setresgid(id, id, id) ||
	    setresuid(id, id, id))
		return child_err(roles[role].name, "cannot become another user",
				 -errno);
	return 0;
}

/* What is not for this process; the other children's sockets among them. */
static void close_others(const struct demo *d, unsigned int role)
{
	unsigned int i;

	for (i = 0; i < NR_ROLES; i++) {
		if (d->child[i].sock >= 0)
			close(d->child[i].sock);
	}
	if (role != SENDER)
		close(d->tcp[0]);
	if (role != RECEIVER)
		close(d->tcp[1]);
	if (role != PRODUCER && d->file >= 0)
		close(d->file);
}

/* A ring that can never be full: a buffer is in it once. */
static unsigned int ring_entries(uint64_t nr_bufs)
{
	unsigned int entries = 1;

	while (entries < nr_bufs)
		entries *= 2;
	return entries;
}

/* Take the handle from the parent, make its ring, and say so. */
static int child_join(struct stage *s, unsigned int role, int sock)
{
	const char *name = roles[role].name;
	int fd, ret;

	fd = fbuf_pool_fd_recv(sock);
	if (fd < 0)
		return child_err(name, "got no pool", fd);
	ret = fbuf_pool_open(&s->pool, fd);
	if (ret < 0)
		return child_err(name, "cannot open the pool", ret);
	s->report.rights = fbuf_pool_rights(s->pool);
	ret = fbuf_ring_setup(s->pool, ring_entries(s->demo->nr_bufs),
			      FBUF_RING_ACCEPT, -1);
	if (ret < 0)
		return child_err(name, "cannot make its ring", ret);
	if (recv(sock, &s->next, sizeof(s->next), 0) != sizeof(s->next) ||
	    send(sock, "", 1, MSG_NOSIGNAL) != 1)
		return child_err(name, "lost its parent", -EPIPE);
	return 0;
}

static int child_main(const struct demo *d, unsigned int role, int sock,
		      pid_t parent)
{
	struct stage s = { .demo = d };

	close_others(d, role);
	if (drop_root(role))
		return TOOL_FAIL;
	/* Not before: a change of user undoes it. */
	tool_die_with(parent);
	if (role < NR_HANDLES && child_join(&s, role, sock))
		return TOOL_FAIL;
	if (roles[role].run(&s))
		return TOOL_FAIL;
	s.report.uid = getuid();
	fbuf_pool_close(s.pool);
	if (send(sock, &s.report, sizeof(s.report), MSG_NOSIGNAL) < 0)
		return TOOL_FAIL;
	return TOOL_OK;
}

/* Before there is a pool: a child has of it only what it is handed. */
static int start(struct demo *d, unsigned int role)
{
	struct child *c = &d->child[role];
	pid_t parent = getpid(), pid;
	int pair[2], err;

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair))
		return child_err(roles[role].name, "gets no socket", -errno);
	pid = fork();
	if (!pid) {
		close(pair[0]);
		_exit(child_main(d, role, pair[1], parent));
	}
	err = pid < 0 ? -errno : 0;
	close(pair[1]);
	c->sock = pair[0];
	if (err)
		return child_err(roles[role].name, "cannot be started", err);
	c->pid = pid;
	c->was = pid;
	return 0;
}

/* A child that failed has said why; one that was killed has not. */
static void reap(struct demo *d, unsigned int role, bool quiet)
{
	struct child *c = &d->child[role];
	int status;

	if (c->sock >= 0)
		close(c->sock);
	c->sock = -1;
	if (!c->pid)
		return;
	while (waitpid(c->pid, &status, 0) < 0 && errno == EINTR)
		;
	c->pid = 0;
	if (WIFSIGNALED(status) && !quiet)
		tool_err("The %s died of signal %d (%s).", roles[role].name,
			 WTERMSIG(status), strsignal(WTERMSIG(status)));
}

static void reap_all(struct demo *d)
{
	unsigned int i;

	for (i = 0; i < NR_ROLES; i++) {
		if (d->child[i].pid && !d->child[i].reported)
			kill(d->child[i].pid, SIGKILL);
		reap(d, i, true);
	}
}

/* Hand each process its handle, the last one first: the others pass to it. */
static int hand_over(struct demo *d, struct fbuf_pool *pool)
{
	uint32_t handle = 0, next;
	int role, fd, ret;
	char byte;

	for (role = SENDER; role >= PRODUCER; role--) {
		int sock = d->child[role].sock;

		next = handle;
		fd = fbuf_pool_share(pool, roles[role].rights, 0, &handle);
		if (fd < 0)
			return child_err(roles[role].name, "gets no handle",
					 fd);
		ret = fbuf_pool_fd_send(sock, fd);
		close(fd);
		/* It answers when others may pass to it. */
		if (ret < 0 || send(sock, &next, sizeof(next),
				    MSG_NOSIGNAL) < 0 ||
		    recv(sock, &byte, 1, 0) != 1) {
			reap(d, role, false);
			tool_err("The %s did not take its handle.",
				 roles[role].name);
			return -EPIPE;
		}
	}
	return 0;
}

/* Independently of the chain: byte by byte, from the source. */
static int expect(const struct demo *d, char sha256[TOOL_SHA_HEX])
{
	struct tool_sha *sha = tool_sha_new();
	uint8_t *buf = malloc(d->buf_size);
	uint64_t at;
	size_t len, i;
	int ret = buf ? 0 : -ENOMEM;

	for (at = 0; buf && at < d->size; at += len) {
		len = at_most(d->size - at, d->buf_size);
		ret = source_read(d, buf, len, at);
		if (ret)
			break;
		for (i = 0; i < len; i++)
			/* Written as words. */
			/* NOLINTNEXTLINE(clang-analyzer-core.uninitialized.Assign) */
			buf[i] ^= 0x20;
		tool_sha_update(sha, buf, len);
	}
	free(buf);
	tool_sha_end(sha, sha256);
	if (ret < 0)
		tool_err("Cannot read %s: %s.", d->path ? d->path : "the data",
			 strerror(-ret));
	return ret;
}

/* Until all have reported, or one is gone without. */
static int collect(struct demo *d)
{
	struct pollfd pfd[NR_ROLES];
	unsigned int left = NR_ROLES, i;

	for (i = 0; i < NR_ROLES; i++)
		pfd[i] = (struct pollfd){
			.fd = d->child[i].sock, .events = POLLIN,
		};
	while (left) {
		if (poll(pfd, NR_ROLES, -1) < 0 && errno != EINTR)
			return child_err("parent", "cannot wait", -errno);
		for (i = 0; i < NR_ROLES; i++) {
			struct child *c = &d->child[i];

			if (!pfd[i].revents)
				continue;
			if (recv(c->sock, &c->report, sizeof(c->report), 0) !=
			    sizeof(c->report)) {
				reap(d, i, false);
				tool_err("The %s failed; the others are stopped.",
					 roles[i].name);
				return -EPIPE;
			}
			c->reported = true;
			pfd[i].fd = -1;
			pfd[i].revents = 0;
			left--;
		}
	}
	return 0;
}

static const char *rights_text(char buf[32], unsigned int rights)
{
	static const char * const names[] = { "read", "write", "alloc", "send" };
	unsigned int i;

	*buf = '\0';
	for (i = 0; i < 4; i++) {
		if (!(rights & (1U << i)))
			continue;
		if (*buf)
			strcat(buf, ",");
		strcat(buf, names[i]);
	}
	return *buf ? buf : "-";
}

/* What came out. */
struct outcome {
	char expected[TOOL_SHA_HEX];
	struct fbuf_info info;
	double seconds;
	uint64_t copied, passes, handed, polls;
	bool good;
};

static void judge(const struct demo *d, struct outcome *o)
{
	const struct report *r = &d->child[RECEIVER].report;
	unsigned int i;

	for (i = 0; i < NR_ROLES; i++) {
		o->passes += d->child[i].report.passes;
		o->polls += d->child[i].report.polls;
	}
	o->handed = d->child[FILTER].report.buffers +
		    d->child[SENDER].report.buffers;
	/* What the sender was told, and what the module counted. */
	o->copied = d->child[SENDER].report.copied;
	if (o->info.copied > o->copied)
		o->copied = o->info.copied;
	o->good = !strcmp(r->sha256, o->expected) && r->bytes == d->size &&
		  !o->copied && !o->info.nr_held;
}

static const char *protection(const struct demo *d)
{
	unsigned int i = 2;

	/* The first, volatile, has no flag. */
	while (i && protection_flags[i] != d->protect)
		i--;
	return protections[i];
}

static void set_number(json_t *j, const char *key, uint64_t n)
{
	json_object_set_new(j, key, json_integer(n));
}

static void set_text(json_t *j, const char *key, const char *text)
{
	json_object_set_new(j, key, json_string(text));
}

static json_t *processes_json(const struct demo *d)
{
	json_t *list = json_array(), *j;
	unsigned int i;
	char rights[32];

	for (i = 0; i < NR_ROLES; i++) {
		const struct report *r = &d->child[i].report;

		j = json_object();
		set_text(j, "role", roles[i].name);
		set_number(j, "pid", d->child[i].was);
		set_number(j, "uid", r->uid);
		set_text(j, "rights", rights_text(rights, r->rights));
		set_number(j, "buffers", r->buffers);
		set_number(j, "bytes", r->bytes);
		set_number(j, "passes", r->passes);
		set_number(j, "polls", r->polls);
		json_array_append_new(list, j);
	}
	return list;
}

static void print_json(const struct demo *d, const struct outcome *o)
{
	json_t *j = json_object();

	set_number(j, "pool", o->info.id);
	set_number(j, "buf_size", d->buf_size);
	set_number(j, "nr_bufs", d->nr_bufs);
	set_text(j, "protect", protection(d));
	json_object_set_new(j, "processes", processes_json(d));
	set_number(j, "bytes", d->size);
	json_object_set_new(j, "seconds", json_real(o->seconds));
	set_number(j, "copied", o->copied);
	set_number(j, "handed_over", o->handed);
	set_number(j, "passes", o->passes);
	set_number(j, "polls", o->polls);
	set_text(j, "sha256_sent", o->expected);
	set_text(j, "sha256_received", d->child[RECEIVER].report.sha256);
	set_number(j, "held", o->info.nr_held);
	json_object_set_new(j, "ok", json_boolean(o->good));
	tool_print_json(stdout, j);
}

static const char *verdict(const struct demo *d, const struct outcome *o)
{
	if (o->good)
		return "The same, and nothing was copied";
	if (o->info.nr_held)
		return "FAILED: buffers are held by processes that are gone";
	if (o->copied)
		return "FAILED: the CPU copied";
	if (d->child[RECEIVER].report.bytes != d->size)
		return "FAILED: bytes are missing";
	return "FAILED: the data arrived changed";
}

static void print_text(const struct demo *d, const struct outcome *o)
{
	char rights[32], buf[FMT_BYTES_MAX];
	unsigned int i;

	printf("pool %llu: %llu buffers of %s, %s\n\n",
	       (unsigned long long)o->info.id,
	       (unsigned long long)d->nr_bufs, fmt_bytes(buf, d->buf_size),
	       protection(d));
	printf("%-10s %8s %8s  %-18s %8s %8s %8s\n", "process", "pid", "uid",
	       "rights", "buffers", "passes", "polls");
	for (i = 0; i < NR_ROLES; i++) {
		const struct report *r = &d->child[i].report;

		printf("%-10s %8d %8u  %-18s %8llu %8llu %8llu\n",
		       roles[i].name, d->child[i].was, r->uid,
		       rights_text(rights, r->rights),
		       (unsigned long long)r->buffers,
		       (unsigned long long)r->passes,
		       (unsigned long long)r->polls);
	}
	printf("\nbytes sent               %llu (%s) in %.3f s\n",
	       (unsigned long long)d->size, fmt_bytes(buf, d->size),
	       o->seconds);
	printf("copied by the CPU        %llu\n",
	       (unsigned long long)o->copied);
	printf("system calls a hand-over %.2f (%llu passes of %llu buffers)\n",
	       o->handed ? (double)o->passes / o->handed : 0,
	       (unsigned long long)o->passes, (unsigned long long)o->handed);
	printf("waits in poll besides    %llu\n",
	       (unsigned long long)o->polls);
	printf("held at the end          %u\n", o->info.nr_held);
	printf("sha256 sent              %s\n", o->expected);
	printf("sha256 received          %s\n",
	       d->child[RECEIVER].report.sha256);
	printf("%s.\n", verdict(d, o));
}

static int run_chain(struct demo *d, struct fbuf_pool *pool,
		     struct outcome *o)
{
	double begin = tool_now();
	unsigned int i;
	int ret;

	if (hand_over(d, pool) || collect(d))
		return TOOL_FAIL;
	o->seconds = tool_now() - begin;
	for (i = 0; i < NR_ROLES; i++)
		reap(d, i, false);
	ret = fbuf_pool_info(pool, &o->info);
	if (ret < 0) {
		tool_err("Cannot ask the pool: %s.", strerror(-ret));
		return TOOL_FAIL;
	}
	if (expect(d, o->expected))
		return TOOL_FAIL;
	judge(d, o);
	if (tool_json)
		print_json(d, o);
	else
		print_text(d, o);
	return o->good ? TOOL_OK : TOOL_FAIL;
}

static int run(struct demo *d)
{
	struct outcome o = { .good = false };
	struct fbuf_pool *pool = NULL;
	int ret = TOOL_FAIL, err = 0;
	unsigned int i;

	err = tool_tcp_pair(d->tcp, 0);
	if (err) {
		tool_err("No TCP connection over loopback: %s.",
			 strerror(-err));
		return TOOL_FAIL;
	}
	fflush(NULL);
	for (i = 0; i < NR_ROLES; i++)
		d->child[i].sock = -1;
	for (i = 0; i < NR_ROLES && !err; i++)
		err = start(d, i);
	/* Else the receiver would never see the end. */
	close(d->tcp[0]);
	close(d->tcp[1]);
	if (!err && !tool_pool_create_flags(&pool, d->buf_size, d->nr_bufs,
					    d->protect))
		ret = run_chain(d, pool, &o);
	reap_all(d);
	fbuf_pool_close(pool);
	return ret;
}

static bool parse_protect(struct demo *d, const char *text)
{
	unsigned int i;

	for (i = 0; i < 3; i++) {
		if (!strcmp(text, protections[i])) {
			d->protect = protection_flags[i];
			return true;
		}
	}
	tool_err("Protection is volatile, secured or snapshot, not \"%s\".",
		 text);
	return false;
}

enum { OPT_SIZE = 256, OPT_PROTECT };

static const struct option longs[] = {
	{ "buf-size", required_argument, NULL, 'b' },
	{ "buffers", required_argument, NULL, 'n' },
	{ "size", required_argument, NULL, OPT_SIZE },
	{ "protect", required_argument, NULL, OPT_PROTECT },
	{ "json", no_argument, NULL, 'j' },
	{ "help", no_argument, NULL, 'h' },
	{ 0 }
};

static bool parse_option(struct demo *d, int opt)
{
	switch (opt) {
	case 'b':
		return tool_buf_size(optarg, &d->buf_size);
	case 'n':
		return tool_size("The number of buffers", optarg, 1,
				 FBUF_RING_MAX, &d->nr_bufs);
	case OPT_SIZE:
		return tool_size("The size of the pattern", optarg, 0,
				 FBUF_POOL_SIZE_MAX, &d->size);
	case OPT_PROTECT:
		return parse_protect(d, optarg);
	case 'j':
		tool_json = true;
		return true;
	}
	return false;
}

static bool open_file(struct demo *d)
{
	struct stat st;

	d->file = open(d->path, O_RDONLY | O_CLOEXEC);
	if (d->file < 0 || fstat(d->file, &st)) {
		tool_err("Cannot open %s: %s.", d->path, strerror(errno));
		return false;
	}
	if (!S_ISREG(st.st_mode)) {
		tool_err("%s is no regular file: it has to be read twice.",
			 d->path);
		return false;
	}
	d->size = st.st_size;
	return true;
}

int cmd_demo(int argc, char **argv)
{
	struct demo d = {
		.buf_size = DEMO_BUF_SIZE,
		.nr_bufs = DEMO_NR_BUFS,
		.size = DEMO_SIZE,
		.file = -1,
	};
	int c, ret;

	while ((c = tool_getopt(argc, argv, "b:n:jh", longs)) != -1) {
		if (c == 'h') {
			fputs(help, stdout);
			return TOOL_OK;
		}
		if (!parse_option(&d, c))
			return TOOL_USAGE;
	}
	if (argc > optind + 1)
		return tool_usage("demo", "\"%s\" is one argument too many.",
				  argv[optind + 1]);
	d.path = argv[optind];
	if (d.path && !open_file(&d))
		return TOOL_FAIL;
	ret = run(&d);
	if (d.file >= 0)
		close(d.file);
	return ret;
}
