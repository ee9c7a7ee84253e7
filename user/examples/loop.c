// SPDX-License-Identifier: GPL-2.0
/* The event loop; see loop.h. */
#include <arpa/inet.h>
#include <errno.h>
#include <getopt.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <openssl/ssl.h>

#include <fbuf/backend.h>
#include <fbuf/parcel.h>
#include <fbuf/view.h>

#include "loop.h"

#define INPUT		(64 << 10)	/* bytes read at once */
#define EVENTS		256
#define BUFFER		(64 << 10)

TAILQ_HEAD(peers, peer);

struct fbuf_heap *heap;
bool snapshot;
time_t now;

static const struct server *server;
static struct fbuf_pool *pool;
static SSL_CTX *tls;
static int poller, listener;
static bool full;		/* there are no more descriptors */
static struct peers peers = TAILQ_HEAD_INITIALIZER(peers);
static struct peers dead = TAILQ_HEAD_INITIALIZER(dead);
static struct peers ready = TAILQ_HEAD_INITIALIZER(ready);
static atomic_bool stopped;

static struct {
	const char *address, *cert, *key;
	unsigned int port;
	size_t pool;
} options = { .address = "127.0.0.1", .pool = 256 << 20 };

void die(const char *what, int err)
{
	fprintf(stderr, "%s: %s: %s\n", server->name, what, strerror(abs(err)));
	exit(1);
}

void *must(void *memory)
{
	if (!memory)
		die("memory", ENOMEM);
	return memory;
}

size_t size_in(const char *text)
{
	char *end;
	size_t size = strtoull(text, &end, 10);

	switch (*end) {
	case 'G':
		return size << 30;
	case 'M':
		return size << 20;
	case 'K':
		return size << 10;
	default:
		return size;
	}
}

static void watch(int fd, int op, unsigned int events, void *ptr)
{
	struct epoll_event event = { .events = events, .data.ptr = ptr };

	if (epoll_ctl(poller, op, fd, &event))
		die("epoll_ctl", errno);
}

void peer_ready(struct peer *peer)
{
	if (peer->ready || peer->dead)
		return;
	peer->ready = true;
	TAILQ_INSERT_TAIL(&ready, peer, turn);
}

void peer_drop(struct peer *peer)
{
	if (peer->dead)
		return;
	server->end(peer);
	if (peer->ready)
		TAILQ_REMOVE(&ready, peer, turn);
	fbuf_queue_destroy(peer->queue);
	SSL_free(peer->ssl);
	close(peer->fd);
	peer->dead = true;
	TAILQ_REMOVE(&peers, peer, in);
	TAILQ_INSERT_TAIL(&dead, peer, in);
	if (full)
		watch(listener, EPOLL_CTL_MOD, EPOLLIN, &listener);
	full = false;
}

/* Who is asked nothing, and told nothing, may still go. */
void peer_watch(struct peer *peer)
{
	unsigned int events = fbuf_queue_events(peer->queue);

	if (peer->stopped && !events)
		events = EPOLLRDHUP;
	else if (!peer->stopped && !peer->last)
		events |= EPOLLIN;
	if (events != peer->events)
		watch(peer->fd, EPOLL_CTL_MOD, events, peer);
	peer->events = events;
}

/* Send, and go on as long as there is more. */
static void progress(struct peer *peer)
{
	int err;

	do {
		err = fbuf_queue_flush(peer->queue);
	} while (err == 1 && server->more && server->more(peer) && !peer->dead);
	if (peer->dead)
		return;
	if (err == 1 && peer->last && peer->ssl)
		SSL_shutdown(peer->ssl);
	if (err < 0 || (err == 1 && peer->last))
		peer_drop(peer);
	else
		peer_watch(peer);
}

static ssize_t receive(struct peer *peer, void *to, size_t room)
{
	ssize_t n;

	if (!peer->ssl) {
		n = recv(peer->fd, to, room, 0);
		return n < 0 ? -errno : n;
	}
	n = SSL_read(peer->ssl, to, room);
	if (n > 0)
		return n;
	switch (SSL_get_error(peer->ssl, n)) {
	case SSL_ERROR_WANT_READ:
	case SSL_ERROR_WANT_WRITE:
		return -EAGAIN;
	case SSL_ERROR_ZERO_RETURN:
		return 0;
	default:
		return -EIO;
	}
}

/* True if memory has to do: the limits allow for no parcel, or nobody wants one. */
static bool hear_parcel(struct peer *peer, ssize_t *n)
{
	size_t len = server->wants && !peer->ssl ? server->wants(peer) : 0;
	struct fbuf_view *parcel;
	uint64_t name;

	if (!len)
		return true;
	if (len > FBUF_PARCEL_MAX)
		len = FBUF_PARCEL_MAX;
	*n = fbuf_recv(pool, peer->fd, len, FBUF_RECV_DONTWAIT, &name);
	if (*n == -EDQUOT || *n == -ENOBUFS || *n == -ENOMEM || *n == -EOPNOTSUPP)
		return true;
	if (*n <= 0)
		return false;
	parcel = fbuf_view_parcel(pool, name, *n);
	server->give(peer, must(parcel));
	return false;
}

static ssize_t hear_bytes(struct peer *peer)
{
	static char input[INPUT];
	size_t room = INPUT;
	char *to = server->room ? server->room(peer, &room) : NULL;
	ssize_t n = receive(peer, to ?: input, to ? room : INPUT);

	if (n > 0)
		server->take(peer, to ?: input, n);
	return n;
}

static void hear(struct peer *peer)
{
	ssize_t n;

	if (hear_parcel(peer, &n))
		n = hear_bytes(peer);
	if (n < 0 && n != -EAGAIN)
		peer_drop(peer);
	else if (!n)
		peer->last = true;
	/* What the library has decrypted already wakes nobody. */
	if (!peer->dead && n > 0 && peer->ssl && SSL_has_pending(peer->ssl))
		peer_ready(peer);
}

/* The kernel encrypts what the queue sends. */
static void shake(struct peer *peer)
{
	int done = SSL_accept(peer->ssl), err = SSL_get_error(peer->ssl, done);

	if (done == 1 && BIO_get_ktls_send(SSL_get_wbio(peer->ssl))) {
		peer->shaking = false;
		peer_ready(peer);
	} else if (done == 1) {
		fprintf(stderr, "%s: no kTLS, which the module tls has\n", server->name);
		peer_drop(peer);
	} else if (err != SSL_ERROR_WANT_READ && err != SSL_ERROR_WANT_WRITE) {
		peer_drop(peer);
	}
}

static void turn(struct peer *peer, unsigned int events)
{
	if (peer->dead)
		return;
	if (peer->shaking) {
		shake(peer);
		return;
	}
	if (peer->stopped && events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR)) {
		peer_drop(peer);
		return;
	}
	if (events & (EPOLLIN | EPOLLHUP | EPOLLERR) && !peer->stopped && !peer->last)
		hear(peer);
	if (!peer->dead)
		progress(peer);
}

static void welcome(int fd)
{
	struct fbuf_queue_options unlimited = { .limit = server->queue_limit };
	struct peer *peer = must(calloc(1, server->peer_size));
	int err, one = 1;

	peer->fd = fd;
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	err = fbuf_queue_create(&peer->queue, heap, fd, &unlimited);
	if (err)
		die("queue", err);
	if (tls) {
		peer->ssl = must(SSL_new(tls));
		SSL_set_fd(peer->ssl, fd);
		peer->shaking = true;
	}
	TAILQ_INSERT_TAIL(&peers, peer, in);
	peer->events = EPOLLIN;
	watch(fd, EPOLL_CTL_ADD, EPOLLIN, peer);
}

static void accept_all(void)
{
	int fd;

	while ((fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0)
		welcome(fd);
	if (errno != EMFILE && errno != ENFILE)
		return;
	watch(listener, EPOLL_CTL_MOD, 0, &listener);
	full = true;
}

static void run(void)
{
	struct epoll_event events[EVENTS];
	struct peer *peer;
	time_t last = 0;
	int i, n;

	while (!stopped) {
		n = epoll_wait(poller, events, EVENTS, server->tick ? 1000 : -1);
		now = time(NULL);
		for (i = 0; i < n; i++) {
			if (events[i].data.ptr == &listener)
				accept_all();
			else
				turn(events[i].data.ptr, events[i].events);
		}
		if (now != last && server->tick)
			server->tick();
		last = now;
		while ((peer = TAILQ_FIRST(&ready))) {
			TAILQ_REMOVE(&ready, peer, turn);
			peer->ready = false;
			turn(peer, peer->ssl ? EPOLLIN : 0);
		}
		while ((peer = TAILQ_FIRST(&dead))) {
			TAILQ_REMOVE(&dead, peer, in);
			free(peer);
		}
	}
}

static void start_tls(void)
{
	tls = SSL_CTX_new(TLS_server_method());
	if (!tls || SSL_CTX_use_certificate_chain_file(tls, options.cert) != 1 ||
	    SSL_CTX_use_PrivateKey_file(tls, options.key, SSL_FILETYPE_PEM) != 1)
		die(options.cert, EINVAL);
	SSL_CTX_set_options(tls, SSL_OP_ENABLE_KTLS | SSL_OP_NO_RENEGOTIATION);
}

static void start_listening(void)
{
	struct sockaddr_in addr = { .sin_family = AF_INET, .sin_port = htons(options.port) };
	socklen_t len = sizeof(addr);
	int one = 1;

	listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	if (inet_pton(AF_INET, options.address, &addr.sin_addr) != 1)
		die(options.address, EINVAL);
	if (bind(listener, (struct sockaddr *)&addr, len) || listen(listener, SOMAXCONN) ||
	    getsockname(listener, (struct sockaddr *)&addr, &len))
		die(options.address, errno);
	poller = epoll_create1(EPOLL_CLOEXEC);
	watch(listener, EPOLL_CTL_ADD, EPOLLIN, &listener);
	printf("%s: listening on port %u, %zu MiB, backend %s\n", server->name,
	       ntohs(addr.sin_port), options.pool >> 20,
	       fbuf_backend_name(fbuf_pool_backend(pool)));
	fflush(stdout);
}

static void start_heap(void)
{
	struct fbuf_pool_options wanted = FBUF_POOL_OPTIONS_INIT;
	int err;

	wanted.buf_size = BUFFER;
	wanted.nr_bufs = options.pool / BUFFER;
	wanted.flags = FBUF_POOL_LAZY | (snapshot ? FBUF_POOL_SNAPSHOT : 0);
	err = fbuf_pool_create_with(&pool, &wanted);
	if (!err)
		err = fbuf_heap_create(&heap, pool, 0);
	if (err)
		die("pool", err);
}

static void parse(int argc, char **argv)
{
	char letters[64];
	int c;

	snprintf(letters, sizeof(letters), "a:p:m:sc:k:%s", server->options);
	while ((c = getopt(argc, argv, letters)) != -1) {
		if (c == 'a')
			options.address = optarg;
		else if (c == 'p')
			options.port = atoi(optarg);
		else if (c == 'm')
			options.pool = size_in(optarg);
		else if (c == 's')
			snapshot = true;
		else if (c == 'c')
			options.cert = optarg;
		else if (c == 'k')
			options.key = optarg;
		else if (c == '?' || !server->option(c, optarg))
			optind = argc + 1;
	}
	if (optind == argc && !options.cert == !options.key)
		return;
	fprintf(stderr, "usage: %s [-a ADDRESS] [-p PORT] [-m POOL_SIZE] [-s]\n"
		"\t[-c CERTIFICATE -k KEY] %s\n"
		"-s: a pool of snapshots\n", server->name, server->usage);
	exit(2);
}

static void stop(int signal)
{
	(void)signal;
	stopped = true;
}

void loop_run(const struct server *of, int argc, char **argv)
{
	struct sigaction action = { .sa_handler = stop };
	struct rlimit limit;
	struct peer *peer;

	server = of;
	options.port = server->port;
	parse(argc, argv);
	signal(SIGPIPE, SIG_IGN);
	sigaction(SIGTERM, &action, NULL);
	sigaction(SIGINT, &action, NULL);
	getrlimit(RLIMIT_NOFILE, &limit);
	limit.rlim_cur = limit.rlim_max;
	setrlimit(RLIMIT_NOFILE, &limit);
	start_heap();
	if (options.cert)
		start_tls();
	start_listening();
	run();
	while ((peer = TAILQ_FIRST(&peers)))
		peer_drop(peer);
	while ((peer = TAILQ_FIRST(&dead))) {
		TAILQ_REMOVE(&dead, peer, in);
		free(peer);
	}
}

void loop_end(void)
{
	SSL_CTX_free(tls);
	close(listener);
	close(poller);
	fbuf_heap_destroy(heap);
	fbuf_pool_close(pool);
}
