// SPDX-License-Identifier: GPL-2.0
/* Requests by many connections, and what is known of their answers; see client.h. */
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "client.h"

#define SLOW_PIECE	(4 << 10)	/* read at once by those that are slow */
#define SLOW_TURNS	8		/* of the others, that a slow one lets pass */

/* What is known of an object. One at a time stores it. */
struct object {
	atomic_uint sent, stored;
	atomic_flag busy;
};

static struct object *objects;
static atomic_ulong started;
static atomic_ullong nr_gets, nr_puts, nr_misses, nr_bytes, nr_again, nr_wrong;
static struct thread *threads;

struct thread {
	pthread_t id;
	struct conn *conns;
	struct pollfd *fds;
	unsigned int nr;
	char *piece, *object;
	uint64_t random;
};

/* Versions of an object differ in length, unless they are to be even. */
static size_t object_len(unsigned int key, unsigned int version)
{
	size_t len = opt.sizes[key % opt.nr_sizes];

	if (!opt.even && len >= 64 * CONTENT_MIN)
		len -= version % 8 * CONTENT_MIN + version % 3;
	return len;
}

static unsigned int draw(struct thread *thread, unsigned int below)
{
	thread->random = thread->random * 6364136223846793005ULL + 1442695040888963407ULL;
	return (thread->random >> 33) % below;
}

static void release(struct conn *conn)
{
	if (conn->put)
		atomic_flag_clear(&objects[conn->key].busy);
	conn->put = false;
	conn->waits = false;
}

/* What cannot be borne: says what, and that is the end of it. */
static void __attribute__((__format__(printf, 2, 3)))
wrong(struct conn *conn, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	fprintf(stderr, "client: %s of key %u: ", conn->put ? "put" : "get", conn->key);
	vfprintf(stderr, format, args);
	fprintf(stderr, "\n");
	va_end(args);
	if (++nr_wrong > 20)
		exit(1);
}

/* Objects in files are stored by others' backs: a new file in the place of the old. */
static void store_file(struct thread *thread, unsigned int key, unsigned int version)
{
	size_t len = object_len(key, version);
	char name[4096], temporary[4096];
	FILE *file;

	snprintf(name, sizeof(name), "%s/k%u", opt.files, key);
	snprintf(temporary, sizeof(temporary), "%s/.k%u", opt.files, key);
	content_fill(thread->object, key, version, len);
	file = fopen(temporary, "w");
	if (!file || fwrite(thread->object, 1, len, file) != len || fclose(file) ||
	    rename(temporary, name))
		die("%s: %s", name, strerror(errno));
}

static bool send_request(struct thread *thread, struct conn *conn)
{
	const struct protocol *protocol = opt.protocol;
	char head[256];
	size_t len;
	int n;

	if (!conn->put) {
		n = protocol->get(head, sizeof(head), conn->key);
		return send_all(conn, head, n);
	}
	len = object_len(conn->key, conn->version);
	n = protocol->put(thread->object, 256, conn->key, len);
	content_fill(thread->object + n, conn->key, conn->version, len);
	n += len;
	len = strlen(protocol->put_end);
	memcpy(thread->object + n, protocol->put_end, len);
	return send_all(conn, thread->object, n + len);
}

static void expect(struct conn *conn)
{
	conn->waits = true;
	conn->part = PART_HEAD;
	conn->nr_head = 0;
	conn->after = 0;
	conn->ended = false;
	conn->since = now_ns();
	content_start(&conn->check, conn->key);
}

/* Ask again on a new connection, if that may be. */
static void again(struct thread *thread, struct conn *conn, const char *why)
{
	bool fresh = conn->fresh;

	if (!opt.lossy && (fresh || conn->nr_head)) {
		wrong(conn, "%s, after %zu bytes of its head and %zu of the object", why,
		      conn->nr_head, conn->check.pos);
		hang_up(conn);
		release(conn);
		return;
	}
	do {
		nr_again++;
		hang_up(conn);
		call(conn);
		expect(conn);
	} while (!send_request(thread, conn) && opt.lossy);
}

/* Decide what is asked next. */
static void choose(struct thread *thread, struct conn *conn)
{
	struct object *object;

	conn->key = opt.first + draw(thread, opt.keys);
	object = &objects[conn->key];
	conn->put = draw(thread, 100) < opt.writes && !atomic_flag_test_and_set(&object->busy);
	if (conn->put) {
		conn->version = atomic_fetch_add(&object->sent, 1) + 1;
		if (opt.files) {
			store_file(thread, conn->key, conn->version);
			atomic_store(&object->stored, conn->version);
			nr_puts++;
			atomic_flag_clear(&object->busy);
			conn->put = false;
		}
	}
	conn->oldest = opt.lossy || opt.stale ? 0 : atomic_load(&object->stored);
}

static void ask(struct thread *thread, struct conn *conn)
{
	choose(thread, conn);
	if (conn->fd < 0)
		call(conn);
	expect(conn);
	if (!send_request(thread, conn))
		again(thread, conn, "it was not taken");
}

/* The whole answer is there. */
static void finish(struct conn *conn)
{
	struct content_check *check = &conn->check;
	struct object *object = &objects[conn->key];

	conn->fresh = false;
	if (conn->put && conn->answer == ANSWER_MISS) {
		nr_misses++;
	} else if (conn->put) {
		atomic_store(&object->stored, conn->version);
		nr_puts++;
	} else if (conn->answer == ANSWER_MISS) {
		nr_misses++;
		if (!opt.lossy)
			wrong(conn, "there is none");
	} else {
		nr_gets++;
		nr_bytes += check->pos;
		if (check->wrong || check->version < conn->oldest ||
		    check->version > atomic_load(&object->sent) ||
		    check->pos != object_len(conn->key, check->version)) {
			wrong(conn, "of versions %u to %u, of version %u %zu bytes", conn->oldest,
			      atomic_load(&object->sent), check->version,
			      object_len(conn->key, check->version));
			content_explain(check, atomic_load(&object->sent));
		}
	}
	release(conn);
	/* HTTP/1.0 */
	if (conn->ended || opt.once)
		hang_up(conn);
}

/* Behind an object may be a few bytes more. */
static void end_object(struct conn *conn)
{
	conn->part = PART_END;
	if (!conn->parsed.after || !conn->parsed.after[conn->after])
		finish(conn);
}

/* Each takes what is its own, and returns how many bytes; or -1, and that was wrong. */

static ssize_t take_head(struct conn *conn, const char *data, size_t len)
{
	size_t n = HEAD_MAX - conn->nr_head < len ? HEAD_MAX - conn->nr_head : len;

	memcpy(conn->head + conn->nr_head, data, n);
	conn->head[conn->nr_head + n] = '\0';
	memset(&conn->parsed, 0, sizeof(conn->parsed));
	conn->answer = opt.protocol->answer(conn->head, &conn->parsed);
	if (conn->answer == ANSWER_BAD ||
	    (conn->put ? conn->answer == ANSWER_MISS && !opt.lossy :
			 conn->answer == ANSWER_STORED) ||
	    (conn->answer == ANSWER_MORE && conn->nr_head + n == HEAD_MAX)) {
		wrong(conn, "answered: %.200s", conn->head);
		return -1;
	}
	if (conn->answer == ANSWER_MORE) {
		conn->nr_head += n;
		return n;
	}
	n = conn->parsed.used - conn->nr_head;
	conn->nr_head = conn->parsed.used;
	conn->left = conn->parsed.len;
	conn->part = PART_OBJECT;
	if (!conn->left)
		end_object(conn);
	return n;
}

static ssize_t take_object(struct conn *conn, const char *data, size_t len)
{
	size_t n = len < conn->left ? len : conn->left;

	if (!conn->put)
		content_piece(&conn->check, data, n);
	if (conn->left != SIZE_MAX)
		conn->left -= n;
	if (!conn->left)
		end_object(conn);
	return n;
}

static ssize_t take_end(struct conn *conn, const char *data)
{
	if (*data != conn->parsed.after[conn->after]) {
		wrong(conn, "not its end after %zu bytes", conn->check.pos);
		return -1;
	}
	conn->after++;
	end_object(conn);
	return 1;
}

/* Take what came. False if the connection is of no use any more. */
static bool take(struct conn *conn, const char *data, size_t len)
{
	ssize_t n;

	for (; len && conn->waits; data += n, len -= n) {
		switch (conn->part) {
		case PART_HEAD:
			n = take_head(conn, data, len);
			break;
		case PART_OBJECT:
			n = take_object(conn, data, len);
			break;
		default:
			n = take_end(conn, data);
		}
		if (n < 0)
			return false;
	}
	if (len)
		wrong(conn, "%zu bytes more than an answer", len);
	return !len;
}

static void hear(struct thread *thread, struct conn *conn)
{
	ssize_t n = receive(conn, thread->piece, conn->slow ? SLOW_PIECE : PIECE);

	if (n > 0) {
		if (!take(conn, thread->piece, n)) {
			hang_up(conn);
			release(conn);
		}
	} else if (n < 0 && !conn->ssl && (errno == EAGAIN || errno == EINTR)) {
		return;
	} else if (conn->part == PART_OBJECT && conn->parsed.len == SIZE_MAX) {
		conn->ended = true;
		finish(conn);
	} else {
		again(thread, conn, n ? strerror(errno) : "it ended");
	}
}

/* One more request if there is one to be made. */
static bool more(void)
{
	return atomic_fetch_add(&started, 1) < opt.requests;
}

static void look_at_time(struct thread *thread)
{
	unsigned long long now = now_ns();
	unsigned int i;

	for (i = 0; i < thread->nr; i++) {
		struct conn *conn = &thread->conns[i];

		if (conn->waits && now - conn->since > opt.seconds * 1000000000ULL)
			die("no answer for %u s: %s of key %u, %zu bytes of %zu", opt.seconds,
			    conn->put ? "put" : "get", conn->key, conn->check.pos,
			    conn->parsed.len);
	}
}

/* Listen to all that wait, once; the slow ones let some turns pass. */
static void listen_to_all(struct thread *thread)
{
	bool fast = false, pending = false;
	unsigned int i;

	for (i = 0; i < thread->nr; i++) {
		struct conn *conn = &thread->conns[i];
		bool turn = !conn->slow || ++conn->turn % SLOW_TURNS == 0;

		thread->fds[i].fd = conn->waits && turn ? conn->fd : -1;
		thread->fds[i].events = POLLIN;
		thread->fds[i].revents = 0;
		fast |= conn->waits && !conn->slow;
		pending |= conn->waits && turn && has_more(conn);
	}
	if (!fast)
		usleep(500);
	if (poll(thread->fds, thread->nr, pending || !fast ? 0 : 10) < 0 && errno != EINTR)
		die("poll: %s", strerror(errno));
	for (i = 0; i < thread->nr; i++)
		if (thread->fds[i].fd >= 0 &&
		    (thread->fds[i].revents || has_more(&thread->conns[i])))
			hear(thread, &thread->conns[i]);
}

static void *work(void *arg)
{
	struct thread *thread = arg;
	unsigned int i, waiting, turn = 0;
	bool last = false;

	do {
		waiting = 0;
		for (i = 0; i < thread->nr; i++) {
			struct conn *conn = &thread->conns[i];

			if (!conn->waits && !last) {
				last = !more();
				if (!last)
					ask(thread, conn);
			}
			waiting += conn->waits;
		}
		if (waiting)
			listen_to_all(thread);
		if (!(++turn % 1024))
			look_at_time(thread);
	} while (waiting || !last);
	for (i = 0; i < thread->nr; i++)
		hang_up(&thread->conns[i]);
	return NULL;
}

static void prepare(struct thread *thread, unsigned int number)
{
	unsigned int i;

	thread->random = 1 + number + 1000ULL * opt.seed;
	thread->nr = opt.connections / opt.threads +
		(number < opt.connections % opt.threads);
	thread->conns = calloc(thread->nr + 1, sizeof(*thread->conns));
	thread->fds = calloc(thread->nr + 1, sizeof(*thread->fds));
	thread->piece = malloc(PIECE);
	thread->object = malloc((64 << 20) + 4096);
	if (!thread->conns || !thread->fds || !thread->piece || !thread->object)
		die("no memory");
	for (i = 0; i < thread->nr; i++) {
		thread->conns[i].fd = -1;
		thread->conns[i].slow = (i + number) * opt.slow % 100 + opt.slow > 99;
	}
}

void load_prepare(void)
{
	unsigned int i;

	objects = calloc(opt.first + opt.keys, sizeof(*objects));
	threads = calloc(opt.threads, sizeof(*threads));
	if (!objects || !threads)
		die("no memory");
	for (i = opt.first; i < opt.first + opt.keys; i++)
		objects[i].sent = opt.newest;
	for (i = 0; i < opt.threads; i++)
		prepare(&threads[i], i);
}

/* Store the first version of all. */
void load_fill(void)
{
	struct thread *thread = &threads[0];
	struct conn conn = { .fd = -1 };
	unsigned int i;

	for (i = opt.first; i < opt.first + opt.keys; i++) {
		if (opt.files) {
			store_file(thread, i, 0);
			continue;
		}
		if (conn.fd < 0)
			call(&conn);
		conn.key = i;
		conn.version = 0;
		conn.put = true;
		expect(&conn);
		if (!send_request(thread, &conn))
			die("key %u was not taken", i);
		while (conn.waits) {
			struct pollfd fd = { .fd = conn.fd, .events = POLLIN };

			if (!has_more(&conn) && poll(&fd, 1, opt.seconds * 1000) != 1)
				die("key %u: no answer", i);
			hear(thread, &conn);
		}
	}
	hang_up(&conn);
	nr_puts = 0;
}

bool load_ask(void)
{
	unsigned int i;

	for (i = 0; i < opt.threads; i++)
		if (pthread_create(&threads[i].id, NULL, work, &threads[i]))
			die("no thread");
	for (i = 0; i < opt.threads; i++)
		pthread_join(threads[i].id, NULL);
	printf("gets=%llu puts=%llu bytes=%llu misses=%llu again=%llu wrong=%llu\n", nr_gets,
	       nr_puts, nr_bytes, nr_misses, nr_again, nr_wrong);
	return !nr_wrong;
}
