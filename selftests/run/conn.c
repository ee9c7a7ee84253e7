// SPDX-License-Identifier: GPL-2.0
/* A connection to the server, by TCP or TLS; see client.h. */
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include <openssl/err.h>
#include <openssl/ssl.h>

#include "client.h"

static struct ssl_ctx_st *tls;

void conn_prepare(void)
{
	if (!opt.tls)
		return;
	tls = SSL_CTX_new(TLS_client_method());
	if (!tls)
		die("no TLS");
}

void hang_up(struct conn *conn)
{
	if (conn->ssl) {
		SSL_free(conn->ssl);
		conn->ssl = NULL;
	}
	if (conn->fd >= 0)
		close(conn->fd);
	conn->fd = -1;
}

static bool begin_tls(struct conn *conn)
{
	conn->ssl = SSL_new(tls);
	if (!conn->ssl || !SSL_set_fd(conn->ssl, conn->fd))
		die("no TLS");
	return SSL_connect(conn->ssl) == 1;
}

/* A server may be down for a while, if that is expected. */
void call(struct conn *conn)
{
	unsigned long long until = now_ns() + opt.seconds * 1000000000ULL;
	struct timeval limit = { .tv_sec = opt.seconds };
	int one = 1, small = 16 << 10, size = opt.rcvbuf;

	for (;;) {
		conn->fd = socket(opt.addr.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
		if (conn->fd < 0)
			die("socket: %s", strerror(errno));
		if (conn->slow)
			setsockopt(conn->fd, SOL_SOCKET, SO_RCVBUF, &small, sizeof(small));
		else if (size)
			setsockopt(conn->fd, SOL_SOCKET, SO_RCVBUF, &size, sizeof(size));
		setsockopt(conn->fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit));
		setsockopt(conn->fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
		setsockopt(conn->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
		if (!connect(conn->fd, (struct sockaddr *)&opt.addr, opt.addrlen) &&
		    (!opt.tls || begin_tls(conn)))
			break;
		hang_up(conn);
		if (!opt.lossy || now_ns() > until)
			die("cannot connect: %s", strerror(errno));
		usleep(20000);
	}
	conn->fresh = true;
}

bool send_all(struct conn *conn, const char *data, size_t len)
{
	while (len) {
		ssize_t sent;

		if (conn->ssl)
			sent = SSL_write(conn->ssl, data, len);
		else
			sent = send(conn->fd, data, len, MSG_NOSIGNAL);
		if (sent <= 0)
			return false;
		data += sent;
		len -= sent;
	}
	return true;
}

ssize_t receive(struct conn *conn, void *data, size_t len)
{
	if (conn->ssl)
		return SSL_read(conn->ssl, data, len);
	return recv(conn->fd, data, len, MSG_DONTWAIT);
}

bool has_more(struct conn *conn)
{
	return conn->ssl && SSL_has_pending(conn->ssl);
}
