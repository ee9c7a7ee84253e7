// SPDX-License-Identifier: GPL-2.0
#include <fcntl.h>
#include <grp.h>
#include <linux/bpf.h>
#include <linux/tcp.h>
#include <linux/tls.h>
#include <netinet/in.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <time.h>
#include <ucontext.h>
#include <unistd.h>

#include "kselftest.h"
#include "util.h"

#ifndef SOL_TLS
#define SOL_TLS		282
#endif

int control_open(void)
{
	int fd = open(FBUF_DEVICE, O_RDWR | O_CLOEXEC);

	return fd < 0 ? -errno : fd;
}

int pool_create_on(int control, size_t buf_size, unsigned int nr_bufs,
		   __u32 flags)
{
	struct fbuf_pool_create arg = {
		.size = sizeof(arg),
		.flags = flags,
		.buf_size = buf_size,
		.nr_bufs = nr_bufs,
		.node = -1,
	};
	int fd = ioctl(control, FBUF_IOC_POOL_CREATE, &arg);

	return fd < 0 ? -errno : fd;
}

static int pool_create_flags(size_t buf_size, unsigned int nr_bufs,
			     __u32 flags)
{
	int control = control_open();
	int fd;

	if (control < 0)
		return control;
	fd = pool_create_on(control, buf_size, nr_bufs, flags);
	close(control);
	return fd;
}

int pool_create(size_t buf_size, unsigned int nr_bufs)
{
	return pool_create_flags(buf_size, nr_bufs, 0);
}

int pool_map(struct pool *p, int fd, int prot)
{
	struct fbuf_info info;
	void *map;
	int err;

	err = pool_info(fd, &info);
	if (err)
		return err;
	map = mmap(NULL, info.pool_size, prot, MAP_SHARED, fd, FBUF_MMAP_POOL);
	if (map == MAP_FAILED)
		return -errno;
	p->fd = fd;
	p->buf_size = info.buf_size;
	p->nr_bufs = info.nr_bufs;
	p->size = info.pool_size;
	p->map = map;
	return 0;
}

int pool_make_flags(struct pool *p, size_t buf_size, unsigned int nr_bufs,
		    __u32 flags)
{
	int fd = pool_create_flags(buf_size, nr_bufs, flags);
	int err;

	if (fd < 0)
		return fd;
	err = pool_map(p, fd, PROT_READ | PROT_WRITE);
	if (err)
		close(fd);
	return err;
}

int pool_make(struct pool *p, size_t buf_size, unsigned int nr_bufs)
{
	return pool_make_flags(p, buf_size, nr_bufs, 0);
}

void pool_unmake(struct pool *p)
{
	if (!p->map)
		return;
	munmap(p->map, p->size);
	close(p->fd);
	p->map = NULL;
}

int try_map(int fd, size_t len, int prot, int flags, __u64 offset)
{
	void *p = mmap(NULL, len, prot, flags, fd, offset);

	if (p == MAP_FAILED)
		return -errno;
	munmap(p, len);
	return 0;
}

int pool_batch(int fd, unsigned long cmd, const __u64 *names,
	       unsigned int count, __u32 flags, int timeout)
{
	struct fbuf_batch arg = {
		.size = sizeof(arg),
		.flags = flags,
		.names = (uintptr_t)names,
		.count = count,
		.timeout = timeout,
	};
	int ret = ioctl(fd, cmd, &arg);

	return ret < 0 ? -errno : ret;
}

int pool_alloc(int fd, __u64 *names, unsigned int count)
{
	return pool_batch(fd, FBUF_IOC_ALLOC, names, count, 0, 0);
}

int pool_free(int fd, const __u64 *names, unsigned int count)
{
	return pool_batch(fd, FBUF_IOC_FREE, names, count, 0, 0);
}

int pool_hold(int fd, const __u64 *names, unsigned int count)
{
	return pool_batch(fd, FBUF_IOC_HOLD, names, count, 0, 0);
}

int pool_secure(int fd, const __u64 *names, unsigned int count)
{
	return pool_batch(fd, FBUF_IOC_SECURE, names, count, 0, 0);
}

int pool_drop(int fd, const __u64 *names, unsigned int count)
{
	return pool_batch(fd, FBUF_IOC_DROP, names, count, 0, 0);
}

int pool_wait(int fd, const __u64 *names, unsigned int count, int timeout)
{
	return pool_batch(fd, FBUF_IOC_WAIT, names, count, 0, timeout);
}

int pool_share_flags(int fd, __u32 rights, __u32 max_holds, __u32 flags,
		     __u32 *handle)
{
	struct fbuf_share arg = {
		.size = sizeof(arg),
		.flags = flags,
		.rights = rights,
		.max_holds = max_holds,
	};
	int ret = ioctl(fd, FBUF_IOC_SHARE, &arg);

	if (ret < 0)
		return -errno;
	if (handle)
		*handle = arg.handle;
	return ret;
}

int pool_share(int fd, __u32 rights, __u32 max_holds, __u32 *handle)
{
	return pool_share_flags(fd, rights, max_holds, 0, handle);
}

int pool_pass(int fd, __u32 to, __u32 flags, const struct fbuf_item *items,
	      unsigned int count)
{
	struct fbuf_pass arg = {
		.size = sizeof(arg),
		.flags = flags,
		.items = (uintptr_t)items,
		.count = count,
		.to = to,
	};
	int ret = ioctl(fd, FBUF_IOC_PASS, &arg);

	return ret < 0 ? -errno : ret;
}

int pool_pass_one(int fd, __u32 to, __u64 name, __u64 data)
{
	struct fbuf_item item = { .name = name, .data = data };

	return pool_pass(fd, to, 0, &item, 1);
}

__u32 pool_handle(int fd)
{
	struct fbuf_info info;

	return pool_info(fd, &info) ? ~0U : info.handle;
}

int pool_alloc_wait(int fd, __u64 *names, unsigned int count, int ms)
{
	long end = now_ms() + ms;
	int ret;

	for (;;) {
		ret = pool_alloc(fd, names, count);
		if (ret != -EAGAIN || now_ms() >= end)
			return ret;
		relax();
	}
}

int pool_info(int fd, struct fbuf_info *info)
{
	memset(info, 0, sizeof(*info));
	info->size = sizeof(*info);
	return ioctl(fd, FBUF_IOC_INFO, info) < 0 ? -errno : 0;
}

__u64 pool_charged(const struct pool *pool)
{
	struct fbuf_info info;

	return pool_info(pool->fd, &info) ? ~0ULL : info.charged;
}

__u64 pool_resident(int fd)
{
	struct fbuf_info info;

	return pool_info(fd, &info) ? ~0ULL : info.resident;
}

bool only_user(void)
{
	const char *env = getenv("FBUF_BACKEND");

	return env && !strcmp(env, "user");
}

int pool_wait_idle(int fd, unsigned int nr_bufs, int ms)
{
	__u64 *names = calloc(nr_bufs, sizeof(*names));
	long end = now_ms() + ms;
	unsigned int got = 0;
	int ret = 0;

	if (!names)
		return -ENOMEM;
	while (got < nr_bufs && ret >= 0) {
		ret = pool_alloc_wait(fd, names + got, nr_bufs - got,
				      end - now_ms());
		if (ret > 0)
			got += ret;
	}
	if (got)
		pool_free(fd, names, got);
	free(names);
	return ret < 0 ? ret : 0;
}

__u64 buf_offset(const struct pool *p, __u64 name)
{
	return (__u64)FBUF_NAME_INDEX(name) * p->buf_size;
}

__u8 *buf_addr(const struct pool *p, __u64 name)
{
	return p->map + buf_offset(p, name);
}

struct fbuf_seg buf_seg(const struct pool *p, __u64 name, size_t offset,
			size_t len)
{
	struct fbuf_seg seg = {
		.addr = buf_offset(p, name) + offset,
		.len = len,
	};

	return seg;
}

struct fbuf_seg named_seg(__u64 name, size_t offset, size_t len)
{
	struct fbuf_seg seg = {
		.addr = name,
		.len = len,
		.flags = FBUF_SEG_NAMED | FBUF_SEG_OFFSET(offset),
	};

	return seg;
}

struct fbuf_seg inline_seg(const void *data, size_t len)
{
	struct fbuf_seg seg = {
		.addr = (uintptr_t)data,
		.len = len,
		.flags = FBUF_SEG_INLINE,
	};

	return seg;
}

int ring_make(struct ring *r, int fd, __u32 flags, __u32 entries, int eventfd)
{
	struct fbuf_ring_setup arg = {
		.size = sizeof(arg),
		.flags = flags,
		.entries = entries,
		.eventfd = eventfd,
	};
	void *map;

	if (ioctl(fd, FBUF_IOC_RING, &arg))
		return -errno;
	map = mmap(NULL, arg.map_size, PROT_READ | PROT_WRITE, MAP_SHARED, fd,
		   FBUF_MMAP_RING);
	if (map == MAP_FAILED)
		return -errno;
	r->head = map;
	r->entries = map + FBUF_RING_ENTRIES;
	r->size = arg.map_size;
	return 0;
}

void ring_unmake(struct ring *r)
{
	if (r->head)
		munmap(r->head, r->size);
	r->head = NULL;
}

__u32 ring_len(const struct ring *r)
{
	return __atomic_load_n(&r->head->tail, __ATOMIC_ACQUIRE) -
	       r->head->head;
}

bool ring_next(struct ring *r, struct fbuf_ring_entry *entry)
{
	__u32 head = r->head->head;

	if (!ring_len(r))
		return false;
	*entry = r->entries[head & r->head->mask];
	__atomic_store_n(&r->head->head, head + 1, __ATOMIC_RELEASE);
	return true;
}

bool ring_wait(struct ring *r, struct fbuf_ring_entry *entry, int ms)
{
	return wait_for(ring_next(r, entry), ms);
}

ssize_t pool_send(int fd, int sock, const struct fbuf_seg *segs,
		  unsigned int nr_segs, __u32 flags, __u32 engines,
		  struct sent *sent)
{
	struct fbuf_send arg = {
		.size = sizeof(arg),
		.flags = flags,
		.segs = (uintptr_t)segs,
		.nr_segs = nr_segs,
		.fd = sock,
		.engines = engines,
	};
	int ret = ioctl(fd, FBUF_IOC_SEND, &arg);

	if (sent) {
		sent->engine = arg.engine;
		sent->copied = arg.copied;
	}
	return ret < 0 ? -errno : ret;
}

int pool_fanout(int fd, const struct fbuf_seg *segs, unsigned int nr_segs,
		struct fbuf_target *targets, unsigned int nr_targets,
		__u32 flags)
{
	struct fbuf_fanout arg = {
		.size = sizeof(arg),
		.flags = flags,
		.segs = (uintptr_t)segs,
		.targets = (uintptr_t)targets,
		.nr_segs = nr_segs,
		.nr_targets = nr_targets,
	};
	int ret = ioctl(fd, FBUF_IOC_FANOUT, &arg);

	return ret < 0 ? -errno : ret;
}

int pool_recv(int fd, int sock, size_t len, __u32 flags, __u64 *name,
	      __u32 *copied)
{
	struct fbuf_recv arg = {
		.size = sizeof(arg),
		.flags = flags,
		.fd = sock,
		.len = len,
	};
	int ret = ioctl(fd, FBUF_IOC_RECV, &arg);

	*name = arg.name;
	if (copied)
		*copied = arg.copied;
	return ret < 0 ? -errno : ret;
}

int parcel_read(int fd, __u64 name, size_t offset, void *to, size_t len)
{
	struct fbuf_read arg = {
		.size = sizeof(arg),
		.name = name,
		.to = (uintptr_t)to,
		.offset = offset,
		.len = len,
	};
	int ret = ioctl(fd, FBUF_IOC_READ, &arg);

	if (ret < 0)
		return -errno;
	return ret == (int)len ? 0 : -EIO;
}

int parcel_show(int fd, __u64 name, struct fbuf_part *parts, unsigned int count)
{
	struct fbuf_show arg = {
		.size = sizeof(arg),
		.name = name,
		.parts = (uintptr_t)parts,
		.count = count,
	};
	int ret = ioctl(fd, FBUF_IOC_SHOW, &arg);

	return ret < 0 ? -errno : ret;
}

ssize_t parcel_differs(int fd, __u64 name, unsigned int seed, size_t pos,
		       size_t len)
{
	ssize_t ret = 0;
	__u8 *p = malloc(len);

	if (!p || parcel_read(fd, name, 0, p, len))
		goto out;
	ret = pattern_differs(p, seed, pos, len);
out:
	free(p);
	return ret;
}

bool is_all(const __u8 *p, __u8 byte, size_t len)
{
	return p[0] == byte && !memcmp(p, p + 1, len - 1);
}

void pattern_fill(void *to, unsigned int seed, size_t pos, size_t len)
{
	__u8 *p = to;
	size_t i;

	for (i = 0; i < len; i++)
		p[i] = pattern_byte(seed, pos + i);
}

ssize_t pattern_differs(const void *buf, unsigned int seed, size_t pos,
			size_t len)
{
	const __u8 *p = buf;
	size_t i;

	for (i = 0; i < len; i++) {
		if (p[i] != pattern_byte(seed, pos + i))
			return i;
	}
	return -1;
}

static socklen_t loopback(int family, struct sockaddr_storage *addr)
{
	struct sockaddr_in6 *in6 = (void *)addr;
	struct sockaddr_in *in = (void *)addr;

	memset(addr, 0, sizeof(*addr));
	addr->ss_family = family;
	if (family == AF_INET6) {
		in6->sin6_addr = in6addr_loopback;
		return sizeof(*in6);
	}
	in->sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	return sizeof(*in);
}

int tcp_pair(int family, int fd[2])
{
	struct sockaddr_storage addr;
	socklen_t len = loopback(family, &addr);
	int one = 1;
	int lsock;

	fd[0] = -1;
	fd[1] = -1;
	lsock = socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (lsock < 0)
		return -errno;
	fd[0] = socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd[0] < 0 || bind(lsock, (void *)&addr, len) ||
	    listen(lsock, 1) || getsockname(lsock, (void *)&addr, &len) ||
	    connect(fd[0], (void *)&addr, len))
		goto fail;
	fd[1] = accept4(lsock, NULL, NULL, SOCK_CLOEXEC);
	if (fd[1] < 0)
		goto fail;
	setsockopt(fd[0], IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	close(lsock);
	return 0;
fail:
	one = -errno;
	if (fd[0] >= 0)
		close(fd[0]);
	close(lsock);
	return one;
}

int udp_pair(int family, int fd[2])
{
	struct sockaddr_storage addr;
	socklen_t len = loopback(family, &addr);
	int size = 1 << 20;
	int err;

	fd[1] = -1;
	fd[0] = socket(family, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (fd[0] < 0)
		return -errno;
	fd[1] = socket(family, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (fd[1] < 0 || bind(fd[1], (void *)&addr, len) ||
	    getsockname(fd[1], (void *)&addr, &len) ||
	    connect(fd[0], (void *)&addr, len)) {
		err = -errno;
		if (fd[1] >= 0)
			close(fd[1]);
		close(fd[0]);
		return err;
	}
	setsockopt(fd[0], SOL_SOCKET, SO_SNDBUFFORCE, &size, sizeof(size));
	setsockopt(fd[1], SOL_SOCKET, SO_RCVBUFFORCE, &size, sizeof(size));
	return 0;
}

int sock_pair(int family, int type, int fd[2])
{
	if (family == AF_UNIX)
		return socketpair(AF_UNIX, type, 0, fd) ? -errno : 0;
	return type == SOCK_DGRAM ? udp_pair(family, fd) : tcp_pair(family, fd);
}

bool unix_copies(void)
{
	return kernel_before(6, 5);
}

int page_pair(int fd[2])
{
	return unix_copies() ? udp_pair(AF_INET, fd) :
			       sock_pair(AF_UNIX, SOCK_STREAM, fd);
}

int tls_attach(int sock, bool sends)
{
	struct tls12_crypto_info_aes_gcm_128 keys = {
		.info = {
			.version = TLS_1_2_VERSION,
			.cipher_type = TLS_CIPHER_AES_GCM_128,
		},
		.iv = "12345678",
		.key = "0123456789abcdef",
		.salt = "salt",
	};

	if (setsockopt(sock, IPPROTO_TCP, TCP_ULP, "tls", sizeof("tls")) ||
	    setsockopt(sock, SOL_TLS, sends ? TLS_TX : TLS_RX, &keys,
		       sizeof(keys)))
		return -errno;
	return 0;
}

int sockmap_add(int sock)
{
	union bpf_attr map = {
		.map_type = BPF_MAP_TYPE_SOCKMAP,
		.key_size = 4,
		.value_size = 4,
		.max_entries = 1,
	};
	__u32 key = 0, value = sock;
	union bpf_attr elem = {
		.key = (uintptr_t)&key,
		.value = (uintptr_t)&value,
	};
	int fd = syscall(SYS_bpf, BPF_MAP_CREATE, &map, sizeof(map));

	if (fd < 0)
		return -errno;
	/* It is there for as long as its fd is. */
	elem.map_fd = fd;
	return syscall(SYS_bpf, BPF_MAP_UPDATE_ELEM, &elem, sizeof(elem)) ?
	       -errno : 0;
}

ssize_t sock_splice(int sock, void *to, size_t len)
{
	int fd[2], err;
	ssize_t ret;

	if (pipe(fd))
		return -1;
	ret = splice(sock, NULL, fd[1], NULL, len, 0);
	if (ret > 0)
		ret = read_full(fd[0], to, ret);
	err = errno;
	close(fd[0]);
	close(fd[1]);
	errno = err;
	return ret;
}

/* What is mapped comes before what is copied. */
ssize_t sock_map(int sock, void *to, size_t len)
{
	const size_t most = len / 2 & -4096;
	struct tcp_zerocopy_receive zc = {
		.length = most,
		.copybuf_address = (uintptr_t)to + most,
		.copybuf_len = len - most,
	};
	socklen_t size = sizeof(zc);
	void *map;
	int ret;

	map = most ? mmap(NULL, most, PROT_READ, MAP_SHARED, sock, 0) :
		     MAP_FAILED;
	if (map == MAP_FAILED)
		return recv(sock, to, len, 0);
	zc.address = (uintptr_t)map;
	ret = getsockopt(sock, IPPROTO_TCP, TCP_ZEROCOPY_RECEIVE, &zc, &size);
	if (ret || zc.copybuf_len < 0)
		zc.copybuf_len = 0;
	if (!ret)
		memcpy(to, map, zc.length);
	munmap(map, most);
	if (ret || !(zc.length + zc.copybuf_len))
		return recv(sock, to, len, 0);
	memmove((__u8 *)to + zc.length, (__u8 *)to + most, zc.copybuf_len);
	return zc.length + zc.copybuf_len;
}

int tls_pair(int fd[2])
{
	int err = tcp_pair(AF_INET, fd);

	if (err)
		return err;
	err = tls_attach(fd[0], true);
	if (!err)
		err = tls_attach(fd[1], false);
	if (err) {
		close(fd[0]);
		close(fd[1]);
	}
	return err;
}

int fd_pass(int sock, int fd)
{
	char control[CMSG_SPACE(sizeof(fd))] = "";
	struct iovec iov = { .iov_base = "", .iov_len = 1 };
	struct msghdr msg = {
		.msg_iov = &iov,
		.msg_iovlen = 1,
		.msg_control = control,
		.msg_controllen = sizeof(control),
	};
	struct cmsghdr *cmsg = CMSG_FIRSTHDR(&msg);

	cmsg->cmsg_level = SOL_SOCKET;
	cmsg->cmsg_type = SCM_RIGHTS;
	cmsg->cmsg_len = CMSG_LEN(sizeof(fd));
	memcpy(CMSG_DATA(cmsg), &fd, sizeof(fd));
	return sendmsg(sock, &msg, MSG_NOSIGNAL) == 1 ? 0 : -errno;
}

int fd_take(int sock)
{
	char c, control[CMSG_SPACE(sizeof(int))];
	struct iovec iov = { .iov_base = &c, .iov_len = 1 };
	struct msghdr msg = {
		.msg_iov = &iov,
		.msg_iovlen = 1,
		.msg_control = control,
		.msg_controllen = sizeof(control),
	};
	struct cmsghdr *cmsg;
	int fd;

	if (recvmsg(sock, &msg, MSG_CMSG_CLOEXEC) != 1)
		return -errno;
	cmsg = CMSG_FIRSTHDR(&msg);
	if (!cmsg || cmsg->cmsg_type != SCM_RIGHTS)
		return -ENOMSG;
	memcpy(&fd, CMSG_DATA(cmsg), sizeof(fd));
	return fd;
}

void sock_small(const int fd[2])
{
	/* Less than two packets of the loopback device make TCP crawl. */
	int size = 65536;

	setsockopt(fd[0], SOL_SOCKET, SO_SNDBUF, &size, sizeof(size));
	setsockopt(fd[1], SOL_SOCKET, SO_RCVBUF, &size, sizeof(size));
}

ssize_t sock_fill(int sock)
{
	static const char zeros[4096];
	ssize_t total = 0;
	long last = now_ms();
	ssize_t ret;

	/*
	 * The peer may move bytes to its own queue a little later and so make
	 * room again, and does when TCP's first probes of its closed window come,
	 * after 200 and 600 ms: it is full when it stays full for longer.
	 */
	while (now_ms() - last < 800) {
		ret = send(sock, zeros, sizeof(zeros),
			   MSG_DONTWAIT | MSG_NOSIGNAL);
		if (ret < 0 && errno != EAGAIN)
			return -errno;
		if (ret > 0) {
			total += ret;
			last = now_ms();
		} else {
			relax();
		}
	}
	return total;
}

bool sock_empty(int sock)
{
	char c;

	return recv(sock, &c, 1, MSG_DONTWAIT | MSG_PEEK) < 0 &&
	       errno == EAGAIN;
}

ssize_t read_full(int fd, void *buf, size_t len)
{
	size_t done = 0;
	ssize_t ret;

	while (done < len) {
		ret = read(fd, (char *)buf + done, len - done);
		if (ret < 0 && errno == EINTR)
			continue;
		if (ret < 0)
			return -errno;
		if (!ret)
			break;
		done += ret;
	}
	return done;
}

int pattern_write(int fd, unsigned int seed, size_t pos, size_t len)
{
	size_t done = 0;
	__u8 *data = malloc(len);
	ssize_t ret = data ? 0 : -ENOMEM;

	if (data)
		pattern_fill(data, seed, pos, len);
	while (!ret && done < len) {
		ssize_t n = write(fd, data + done, len - done);

		if (n > 0)
			done += n;
		else if (n < 0 && errno != EINTR)
			ret = -errno;
	}
	free(data);
	return ret;
}

static void *feeder_run(void *arg)
{
	struct feeder *w = arg;
	size_t at, n;

	for (at = 0; at < w->len && !w->err; at += n) {
		n = w->len - at < w->chunk ? w->len - at : w->chunk;
		w->err = pattern_write(w->fd, w->seed, w->pos + at, n);
	}
	__atomic_store_n(&w->done, true, __ATOMIC_RELAXED);
	return NULL;
}

int feeder_start(struct feeder *w, int fd, unsigned int seed, size_t pos,
		 size_t len, size_t chunk)
{
	*w = (struct feeder) {
		.fd = fd, .seed = seed, .pos = pos, .len = len, .chunk = chunk,
	};
	return -pthread_create(&w->thread, NULL, feeder_run, w);
}

bool feeder_done(const struct feeder *w)
{
	return __atomic_load_n(&w->done, __ATOMIC_RELAXED);
}

int feeder_join(struct feeder *w)
{
	pthread_join(w->thread, NULL);
	return w->err;
}

static void *reader_run(void *arg)
{
	struct reader *r = arg;

	if (r->cpu >= 0)
		pin_to_cpu(r->cpu);
	r->got = read_full(r->fd, r->data, r->want);
	return NULL;
}

int reader_start(struct reader *r, int fd, size_t want, int cpu)
{
	int err;

	r->fd = fd;
	r->cpu = cpu;
	r->want = want;
	r->got = -1;
	r->data = calloc(1, want);
	if (!r->data)
		return -ENOMEM;
	err = pthread_create(&r->thread, NULL, reader_run, r);
	if (err)
		free(r->data);
	return -err;
}

ssize_t reader_join(struct reader *r)
{
	pthread_join(r->thread, NULL);
	return r->got;
}

static void *getter_run(void *data)
{
	struct getter *g = data;
	struct fbuf_recv arg = {
		.size = sizeof(arg),
		.flags = g->flags,
		.fd = g->sock,
		.len = g->len,
		.drop = g->drop,
	};

	__atomic_store_n(&g->tid, syscall(SYS_gettid), __ATOMIC_RELEASE);
	g->ret = ioctl(g->pool, FBUF_IOC_RECV, &arg);
	if (g->ret < 0)
		g->ret = -errno;
	g->name = arg.name;
	__atomic_store_n(&g->done, true, __ATOMIC_RELEASE);
	return NULL;
}

int getter_start(struct getter *g)
{
	g->tid = 0;
	g->done = false;
	return -pthread_create(&g->thread, NULL, getter_run, g);
}

bool getter_done(struct getter *g)
{
	return __atomic_load_n(&g->done, __ATOMIC_ACQUIRE);
}

bool getter_waits(struct getter *g)
{
	long end;

	if (!wait_for(__atomic_load_n(&g->tid, __ATOMIC_ACQUIRE), DEADLINE_MS) ||
	    wait_asleep(getpid(), g->tid, DEADLINE_MS))
		return false;
	end = now_ms() + 30;
	while (time_left(end) && !getter_done(g))
		;
	return !getter_done(g) && !wait_asleep(getpid(), g->tid, DEADLINE_MS);
}

int getter_ends(struct getter *g)
{
	if (!wait_for(getter_done(g), DEADLINE_MS))
		return -ETIME;
	pthread_join(g->thread, NULL);
	return g->ret;
}

long now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

void relax(void)
{
	struct timespec ts = { .tv_nsec = 1000000 };

	nanosleep(&ts, NULL);
}

bool time_left(long end)
{
	relax();
	return now_ms() < end;
}

int wait_state(pid_t pid, pid_t tid, const char *states, int ms)
{
	long end = now_ms() + ms;
	char path[64], line[512];
	char *p;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%d/task/%d/stat", pid, tid);
	do {
		f = fopen(path, "r");
		if (!f)
			return -errno;
		p = fgets(line, sizeof(line), f);
		fclose(f);
		if (p)
			p = strrchr(line, ')');
		if (p && p[1] == ' ' && strchr(states, p[2]))
			return 0;
	} while (time_left(end));
	return -ETIMEDOUT;
}

int wait_asleep(pid_t pid, pid_t tid, int ms)
{
	return wait_state(pid, tid, "S", ms);
}

int file_put(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY);
	int ret = 0;

	if (fd < 0)
		return -errno;
	if (write(fd, text, strlen(text)) < 0)
		ret = -errno;
	close(fd);
	return ret;
}

#define PARAMETERS	"/sys/module/fbuf/parameters/"

int put_file(const char *dir, const char *file, const char *text)
{
	char path[256];

	snprintf(path, sizeof(path), "%s/%s", dir, file);
	return file_put(path, text);
}

long long get_file(const char *dir, const char *file, const char *key)
{
	char path[256], line[128];
	long long val = -1;
	FILE *f;

	snprintf(path, sizeof(path), "%s/%s", dir, file);
	f = fopen(path, "r");
	if (!f)
		return -1;
	while (fgets(line, sizeof(line), f)) {
		size_t len = key ? strlen(key) : 0;

		if (!key || (!strncmp(line, key, len) && line[len] == ' ')) {
			val = atoll(line + len);
			break;
		}
	}
	fclose(f);
	return val;
}

int parameter_put(const char *name, __u64 val)
{
	char path[64], text[24];

	snprintf(path, sizeof(path), PARAMETERS "%s", name);
	snprintf(text, sizeof(text), "%llu", val);
	return file_put(path, text);
}

__u64 parameter_get(const char *name)
{
	char path[64];
	__u64 val = ~0ULL;
	FILE *f;

	snprintf(path, sizeof(path), PARAMETERS "%s", name);
	f = fopen(path, "r");
	if (!f)
		return val;
	if (fscanf(f, "%llu", &val) != 1)
		val = ~0ULL;
	fclose(f);
	return val;
}

int child_status(pid_t pid)
{
	int status;

	while (waitpid(pid, &status, 0) < 0) {
		if (errno != EINTR)
			return -1000 - errno;
	}
	if (WIFSIGNALED(status))
		return -WTERMSIG(status);
	return WEXITSTATUS(status);
}

int child_status_within(pid_t pid, int ms)
{
	siginfo_t info = { 0 };

	if (!wait_for(!waitid(P_PID, pid, &info, WEXITED | WNOHANG | WNOWAIT) &&
		      info.si_pid == pid, ms)) {
		kill(pid, SIGKILL);
		child_status(pid);
		return -ETIMEDOUT;
	}
	return child_status(pid);
}

int become(uid_t uid)
{
	if (setgroups(0, NULL) || setresgid(uid, uid, uid) ||
	    setresuid(uid, uid, uid))
		return -errno;
	/* Else /proc/self would be root's. */
	return prctl(PR_SET_DUMPABLE, 1) ? -errno : 0;
}

int slower(void)
{
	const char *text = getenv("SLOWER");
	int nr = text ? atoi(text) : 1;

	return nr > 1 ? nr : 1;
}

bool kernel_before(int major, int minor)
{
	struct utsname uts;
	int a = 0, b = 0;

	if (uname(&uts) || sscanf(uts.release, "%d.%d", &a, &b) != 2)
		return false;
	return a < major || (a == major && b < minor);
}

unsigned long signal_pc(const void *context)
{
#ifdef __x86_64__
	const ucontext_t *at = context;

	return at->uc_mcontext.gregs[REG_RIP];
#elif defined(__aarch64__)
	const ucontext_t *at = context;

	return at->uc_mcontext.pc;
#else
	return 0;
#endif
}

int pin_to_cpu(int cpu)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	return sched_setaffinity(0, sizeof(set), &set) ? -errno : 0;
}

int nr_cpus(void)
{
	return sysconf(_SC_NPROCESSORS_ONLN);
}

void need_device(int argc, char **argv)
{
	int fd;

	/* Lists and help need no device. */
	if (argc > 1 && (!strcmp(argv[1], "-l") || !strcmp(argv[1], "-h")))
		return;
	fd = control_open();
	if (fd >= 0) {
		close(fd);
		return;
	}
	ksft_print_header();
	ksft_exit_skip("cannot open %s: %s (is the module loaded?)\n",
		       FBUF_DEVICE, strerror(-fd));
}
