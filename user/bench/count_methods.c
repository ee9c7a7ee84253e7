// SPDX-License-Identifier: GPL-2.0
/* fbuf compare --count: the rows, and transfers that are counted. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <signal.h>
#include <math.h>
#include <net/if.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <linux/errqueue.h>
#include <linux/ethtool.h>
#include <linux/sockios.h>
#include <linux/tls.h>

#include "count.h"

#ifndef SOL_TLS
#define SOL_TLS		282
#endif
#ifndef TCP_ULP
#define TCP_ULP		31
#endif

#define SOCKBUF		(8 << 20)	/* takes a message without waiting */
#define PATIENCE	20		/* seconds that a call may take */
#define VETH_TX		"fbc0"
#define VETH_RX		"fbc1"
#define VETH_ADDR	"198.18.43.2"

const char * const count_destinations[NR_TO] = {
	"loopback", "veth", "ktls", "nic",
};

/* A file that is read past the page cache. */
static int direct_init(struct flow *f)
{
	char path[64];
	int fd;

	snprintf(path, sizeof(path), "/proc/self/fd/%d", f->file);
	fd = open(path, O_RDONLY | O_DIRECT | O_CLOEXEC);
	if (fd < 0)
		return flow_fail(f, -errno, "unsupported: O_DIRECT");
	f->priv = (void *)(intptr_t)fd;
	return 0;
}

static void direct_fini(struct flow *f)
{
	close((intptr_t)f->priv);
}

static ssize_t direct_write_send(struct flow *f, size_t off, size_t len)
{
	ssize_t n;

	if (!off) {
		n = pread((intptr_t)f->priv, f->mem, len, 0);
		if (n != (ssize_t)len)
			return n < 0 ? -errno : -EIO;
	}
	return flow_result(write(f->tx, f->mem + off, len));
}

/* A write and a read of a file that add to what is copied. */
static int check_file_init(struct flow *f)
{
	f->file = memfd_create("fbuf-count", MFD_CLOEXEC);
	if (f->file < 0)
		return flow_fail(f, -errno, "memfd");
	f->priv = (void *)(intptr_t)f->file;
	f->file = -1;		/* it is not the source */
	return 0;
}

static ssize_t check_file_send(struct flow *f, size_t off, size_t len)
{
	int fd = (intptr_t)f->priv;
	ssize_t n;

	n = pwrite(fd, f->mem + off, len, 0);
	if (n == (ssize_t)len)
		n = pread(fd, f->mem + off, len, 0);
	if (n != (ssize_t)len)
		return n < 0 ? -errno : -EIO;
	return flow_result(write(f->tx, f->mem + off, len));
}

static ssize_t check_memcpy_send(struct flow *f, size_t off, size_t len)
{
	off_t pos = off;

	memcpy(f->sink, f->mem, len < SINK_SIZE ? len : SINK_SIZE);
	return flow_result(sendfile(f->tx, f->file, &pos, len));
}

/* When the notice is there the memory may be used again, and no sooner. */
static int zerocopy_finish(struct flow *f)
{
	char control[CMSG_SPACE(sizeof(struct sock_extended_err)) + 64];
	struct msghdr msg = {
		.msg_control = control, .msg_controllen = sizeof(control),
	};
	struct pollfd pfd = { .fd = f->tx };

	if (poll(&pfd, 1, PATIENCE * 1000) < 1)
		return -ETIMEDOUT;
	return recvmsg(f->tx, &msg, MSG_ERRQUEUE) < 0 ? -errno : 0;
}

static int reap_finish(struct flow *f)
{
	f->method->reap(f);
	return 0;
}

/* Its pages are not in the page cache, and nobody has them mapped. */
static int drop_cache(struct flow *f)
{
	int err;

	if (fdatasync(f->file))
		return -errno;
	err = posix_fadvise(f->file, 0, 0, POSIX_FADV_DONTNEED);
	return -err;
}

/* A child that shares the message's pages. */
static pid_t sharer;

static void end_sharer(void)
{
	if (sharer <= 0)
		return;
	kill(sharer, SIGKILL);
	waitpid(sharer, NULL, 0);
	sharer = 0;
}

static int cow_prepare(struct flow *f)
{
	pid_t parent = getpid();

	(void)f;
	end_sharer();
	sharer = fork();
	if (!sharer) {
		tool_die_with(parent);
		for (;;)
			pause();
	}
	return sharer < 0 ? -errno : 0;
}

static int cow_finish(struct flow *f)
{
	size_t at, page = sysconf(_SC_PAGESIZE);

	for (at = 0; at < f->size; at += page)
		__atomic_fetch_xor(&f->mem[at], 0xff, __ATOMIC_RELAXED);
	return 0;
}

static const struct method own_direct_write = {
	.name = "direct-write", .file = true, .init = direct_init,
	.send = direct_write_send, .fini = direct_fini,
};

static const struct method check_file = {
	.name = "check-file", .init = check_file_init,
	.send = check_file_send, .fini = direct_fini,
};

static const struct method check_memcpy = {
	.name = "check-memcpy", .file = true, .send = check_memcpy_send,
};

#define ALL	(1U << TO_LOOPBACK | 1U << TO_VETH | 1U << TO_KTLS | 1U << TO_NIC)
#define NAMED(n)	.mechanism = (n), .to = ALL

/*
 * What is taught is for one transfer from disk to network: of the two that DMA
 * makes then, one is left where the source is memory. Of splice it is often one
 * call that is taught.
 */
static const struct count_def defs[] = {
	{ NAMED("write"), .taught = { 1, 2, 1, 2 } },
	{ NAMED("read-write"), .taught = { 2, 2, 2, 4 } },
	{ NAMED("mmap-write"), .taught = { 1, 2, 2, 4 } },
	{ NAMED("mmap-write-once"), .taught = { 1, 2, 2, 4 } },
	{ NAMED("sendfile"), .taught = { 0, 2, 1, 2 } },
	{ NAMED("sendfile-huge"), .taught = { 0, 2, 1, 2 } },
	{ .mechanism = "sendfile-no-sg", .method = "sendfile", .no_sg = true,
	  .to = 1U << TO_VETH, .taught = { 1, 2, 1, 2 } },
	{ NAMED("splice"), .taught = { 0, 2, 1, 2 } },
	{ NAMED("vmsplice"), .taught = { 0, 2, 2, 4 } },
	{ NAMED("msg-zerocopy"), .finish = zerocopy_finish,
	  .taught = { 0, 2, 1, 2 } },
	{ NAMED("uring-send"), .taught = { 1, 2, 1, 2 } },
	{ NAMED("send-zc"), .finish = reap_finish, .taught = { 0, 2, 1, 2 } },
	{ NAMED("fbuf"), .taught = { 0, 2, 1, 2 } },
	{ NAMED("fbuf-secured"), .taught = { 0, 2, 1, 2 } },
	{ NAMED("fbuf-snapshot"), .taught = { 0, 2, 1, 2 } },
	{ .mechanism = "cow", .method = "vmsplice", .to = ALL,
	  .prepare = cow_prepare, .finish = cow_finish,
	  .taught = { 1, 2, NAN, NAN } },
	{ NAMED("read-write"), .disk = true, .taught = { 2, 2, 2, 4 } },
	{ NAMED("mmap-write"), .disk = true, .taught = { 1, 2, 2, 4 } },
	{ .mechanism = "sendfile-disk", .method = "sendfile", .to = ALL,
	  .disk = true, .taught = { 0, 2, 1, 2 } },
	{ NAMED("splice"), .disk = true, .taught = { 0, 2, 1, 2 } },
	{ NAMED("direct-write"), .own = &own_direct_write, .disk = true,
	  .taught = { 1, 2, 2, 4 } },
	{ NAMED("direct-fbuf"), .disk = true, .taught = { 0, 2, 2, 4 } },
};

const struct count_def *count_def_get(unsigned int i)
{
	return i < ARRAY_SIZE(defs) ? &defs[i] : NULL;
}

const struct method *def_method(const struct count_def *def)
{
	return def->own ?: method_find(def->method ?: def->mechanism);
}

static int tls_start(int fd, int direction)
{
	struct tls12_crypto_info_aes_gcm_128 key = {
		.info.version = TLS_1_3_VERSION,
		.info.cipher_type = TLS_CIPHER_AES_GCM_128,
		.key = "a key for all", .salt = "salt", .iv = "a nonce",
	};

	if (setsockopt(fd, IPPROTO_TCP, TCP_ULP, "tls", sizeof("tls")) ||
	    setsockopt(fd, SOL_TLS, direction, &key, sizeof(key)))
		return -errno;
	return 0;
}

/* Both ends of a flow, once it is connected. */
static int set_up(struct flow *f, enum count_destination to)
{
	struct timeval patience = { .tv_sec = PATIENCE };
	int size = SOCKBUF, err;

	setsockopt(f->tx, SOL_SOCKET, SO_SNDBUFFORCE, &size, sizeof(size));
	setsockopt(f->rx, SOL_SOCKET, SO_RCVBUFFORCE, &size, sizeof(size));
	setsockopt(f->tx, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience));
	setsockopt(f->rx, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
	if (to != TO_KTLS)
		return 0;
	err = tls_start(f->tx, TLS_TX);
	if (!err)
		err = tls_start(f->rx, TLS_RX);
	return err ? flow_fail(f, err, "unsupported: kTLS") : 0;
}

static int set_sg(const char *netns, const char *nic, bool on)
{
	struct ethtool_value value = { .cmd = ETHTOOL_SSG, .data = on };
	struct ifreq req = { .ifr_data = (void *)&value };
	char path[256];
	int status, fd;
	pid_t pid;

	snprintf(req.ifr_name, sizeof(req.ifr_name), "%s", nic);
	snprintf(path, sizeof(path), "/run/netns/%s", netns);
	pid = fork();
	if (!pid) {
		fd = open(path, O_RDONLY | O_CLOEXEC);
		if (fd < 0 || setns(fd, CLONE_NEWNET))
			_exit(1);
		fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
		_exit(fd < 0 || ioctl(fd, SIOCETHTOOL, &req));
	}
	if (pid < 0 || waitpid(pid, &status, 0) != pid || status)
		return -EIO;
	return 0;
}

/* Two network namespaces of this process, and a veth from one to the other. */
static int make_veth(char tx[32], char rx[32])
{
	static const char * const steps[] = {
		"ip netns add %1$s",
		"ip netns add %2$s",
		"ip link add " VETH_TX " netns %1$s type veth peer name " VETH_RX
		" netns %2$s",
		"ip -n %1$s addr add 198.18.43.1/30 dev " VETH_TX,
		"ip -n %2$s addr add " VETH_ADDR "/30 dev " VETH_RX,
		"ip -n %1$s link set " VETH_TX " up",
		"ip -n %2$s link set " VETH_RX " up",
	};
	static bool made;
	char command[256];
	unsigned int i;

	snprintf(tx, 32, "fbc-%d-tx", getpid());
	snprintf(rx, 32, "fbc-%d-rx", getpid());
	if (made)
		return 0;
	snprintf(command, sizeof(command),
		 "ip netns del %s 2>/dev/null; ip netns del %s 2>/dev/null",
		 tx, rx);
	probes_at_end(command);
	for (i = 0; i < ARRAY_SIZE(steps); i++) {
		snprintf(command, sizeof(command), steps[i], tx, rx);
		if (system(command))
			return -EIO;
	}
	made = true;
	return 0;
}

/* A sender and a receiver, each a thread; a third one has them go and counts. */
struct transfer {
	const struct count_def *def;
	enum count_destination to;
	size_t size;
	struct flow f;
	bool open;
	uint8_t *got;
	sem_t go_send, go_receive, done;
	bool end;
	pid_t tx, rx;
	int err_tx, err_rx;
	struct rusage before, after;
};

static int send_all(struct flow *f)
{
	size_t sent = 0;
	ssize_t n;

	while (sent < f->size) {
		n = f->method->send(f, sent, f->size - sent);
		if (n == -EINTR)
			continue;
		if (n <= 0)
			return n ? n : -EIO;
		sent += n;
	}
	return 0;
}

static int receive_all(struct transfer *t)
{
	size_t got = 0;
	ssize_t n;

	while (got < t->size) {
		n = recv(t->f.rx, t->got + got, t->size - got, 0);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n ? -errno : -EPIPE;
		got += n;
	}
	return 0;
}

static void wait_sem(sem_t *sem)
{
	while (sem_wait(sem))
		;
}

/* It opens the flow: a ring of io_uring may be for one thread only. */
static void *sender(void *arg)
{
	struct transfer *t = arg;

	t->tx = gettid();
	t->err_tx = flow_open(&t->f, def_method(t->def), t->size, true);
	t->open = !t->err_tx;
	if (t->open)
		t->err_tx = set_up(&t->f, t->to);
	sem_post(&t->done);
	for (;;) {
		wait_sem(&t->go_send);
		if (t->end)
			break;
		getrusage(RUSAGE_THREAD, &t->before);
		t->err_tx = send_all(&t->f);
		if (!t->err_tx && t->def->finish)
			t->err_tx = t->def->finish(&t->f);
		getrusage(RUSAGE_THREAD, &t->after);
		if (t->err_tx)
			shutdown(t->f.tx, SHUT_RDWR);
		sem_post(&t->done);
	}
	if (t->open)
		flow_close(&t->f);
	return NULL;
}

static void *receiver(void *arg)
{
	struct transfer *t = arg;

	t->rx = gettid();
	sem_post(&t->done);
	for (;;) {
		wait_sem(&t->go_receive);
		if (t->end)
			break;
		t->err_rx = receive_all(t);
		sem_post(&t->done);
	}
	return NULL;
}

static int transfer_one(struct transfer *t, uint64_t number, bool *same)
{
	struct flow *f = &t->f;
	int err = 0;

	/* Packets may have the old pages, which then stay where they are. */
	if (t->def->disk && ftruncate(f->file, 0))
		return -errno;
	err = flow_fill(f, FLOW_SEED + number);
	if (!err && t->def->disk)
		err = drop_cache(f);
	if (!err && t->def->prepare)
		err = t->def->prepare(f);
	if (err)
		return err;
	memset(t->got, 0, t->size);
	if (number >= COUNT_WARM_UP)
		probes_clear();
	sem_post(&t->go_receive);
	sem_post(&t->go_send);
	wait_sem(&t->done);
	wait_sem(&t->done);
	err = t->err_tx ?: t->err_rx;
	*same = !err && flow_check(f, FLOW_SEED + number, t->got);
	return err;
}

static double faults(const struct rusage *u)
{
	return u->ru_minflt + u->ru_majflt;
}

static void add_counted(struct counted *sum, const struct counted *c, double part)
{
	unsigned int i;

	for (i = 0; i < COUNT_WHO; i++)
		sum->copied[i] += c->copied[i] * part;
	sum->heads += c->heads * part;
	sum->encrypted += c->encrypted * part;
	sum->decrypted += c->decrypted * part;
	sum->dma_in += c->dma_in * part;
	sum->dma_out += c->dma_out * part;
	sum->calls += c->calls * part;
	sum->user_faults += c->user_faults * part;
	sum->frags += c->frags * part;
	if (c->copier_bytes > sum->copier_bytes) {
		sum->copier_bytes = c->copier_bytes;
		sum->copier = c->copier;
	}
}

/* The mean of some, after some that open windows and caches. */
static int transfer_all(struct transfer *t, unsigned int nr, struct count_row *r)
{
	struct counted c;
	bool same = false;
	unsigned int i;
	int err;

	r->verified = true;
	for (i = 0; i < COUNT_WARM_UP + nr; i++) {
		err = transfer_one(t, i, &same);
		if (err)
			return err;
		r->verified &= same;
		if (i < COUNT_WARM_UP)
			continue;
		if (!probes_read(t->tx, t->rx, &c))
			return -EIO;
		add_counted(&r->seen, &c, 1.0 / nr);
		r->waits += (double)(t->after.ru_nvcsw - t->before.ru_nvcsw) / nr;
		r->preempted += (double)(t->after.ru_nivcsw -
					 t->before.ru_nivcsw) / nr;
		r->faults += (faults(&t->after) - faults(&t->before)) / nr;
	}
	r->crossings = 2 * (r->seen.calls + r->seen.user_faults);
	r->measured = true;
	return 0;
}

static void row_failed(struct count_row *r, const struct transfer *t, int err)
{
	r->verified = false;
	if (t->f.why[0] && !t->open)
		memcpy(r->note, t->f.why, sizeof(r->note));
	else
		snprintf(r->note, sizeof(r->note), "%s%s",
			 t->f.why[0] ? t->f.why : "sending: ",
			 t->f.why[0] ? "" : strerror(-err));
	r->refused = t->open && err == -EOPNOTSUPP;
}

static void run_threads(struct transfer *t, unsigned int nr, struct count_row *r)
{
	pthread_t tx, rx;
	int err;

	if (pthread_create(&rx, NULL, receiver, t)) {
		row_failed(r, t, -ENOMEM);
		return;
	}
	wait_sem(&t->done);
	if (!pthread_create(&tx, NULL, sender, t)) {
		wait_sem(&t->done);
		err = t->err_tx ?: transfer_all(t, nr, r);
		if (err)
			row_failed(r, t, err);
		t->end = true;
		sem_post(&t->go_send);
		pthread_join(tx, NULL);
	} else {
		row_failed(r, t, -ENOMEM);
	}
	t->end = true;
	sem_post(&t->go_receive);
	pthread_join(rx, NULL);
}

/* Where the connection is to lead; the note says why it cannot. */
static bool choose_way(const struct count_def *def, enum count_destination to,
		       const struct count_options *o, char tx[32], char rx[32],
		       struct count_row *r)
{
	transport = (struct transport){ .addr = "127.0.0.1" };
	if (to == TO_VETH) {
		if (make_veth(tx, rx)) {
			snprintf(r->note, sizeof(r->note),
				 "unsupported: ip(8) makes no veth");
			return false;
		}
		transport = (struct transport){ VETH_ADDR, tx, rx };
	} else if (to == TO_NIC) {
		transport = (struct transport){ o->nic_addr, o->nic_tx,
						o->nic_rx };
	}
	if (def->no_sg && set_sg(tx, VETH_TX, false)) {
		snprintf(r->note, sizeof(r->note),
			 "unsupported: scatter-gather cannot be switched off");
		return false;
	}
	return true;
}

void count_row(const struct count_def *def, enum count_destination to,
	       const struct count_options *o, struct count_row *r)
{
	struct transfer t = { .def = def, .to = to, .size = o->size };
	char tx[32], rx[32];

	*r = (struct count_row){
		.mechanism = def->mechanism,
		.source = def->disk ? "disk" : "memory",
		.destination = count_destinations[to],
		.size = o->size, .taught = def->taught,
	};
	if (!def->disk)
		r->taught.dma_copies--;
	if (!def_method(def)) {
		snprintf(r->note, sizeof(r->note), "unsupported: no such method");
		return;
	}
	if (!choose_way(def, to, o, tx, rx, r))
		return;
	file_dir = def->disk ? o->disk : NULL;
	t.got = malloc(o->size);
	sem_init(&t.go_send, 0, 0);
	sem_init(&t.go_receive, 0, 0);
	sem_init(&t.done, 0, 0);
	if (t.got)
		run_threads(&t, o->transfers, r);
	end_sharer();
	free(t.got);
	if (def->no_sg)
		set_sg(tx, VETH_TX, true);
	if (r->measured)
		judge_row(r);
}

static json_t *check_json(const struct count_check *c)
{
	return json_pack("{s:s, s:f, s:f, s:f}", "of", c->name, "send", c->send,
			 "receive", c->receive, "other", c->other);
}

/* Packets that are sent twice are copied twice; so it may be tried again. */
#define CHECK_TRIES	3

static bool check_one(const struct count_def *def, const double want[COUNT_WHO],
		      struct count_check *c)
{
	const struct count_options o = { .size = 1 << 20, .transfers = 1 };
	unsigned int i;
	struct count_row r;

	for (i = 0; i < CHECK_TRIES; i++) {
		count_row(def, TO_LOOPBACK, &o, &r);
		if (!r.measured) {
			tool_err("The self-check could not be done: %s: %s.",
				 def->mechanism, r.note);
			return false;
		}
		*c = (struct count_check){
			.name = def->mechanism,
			.send = r.seen.copied[COUNT_SEND] / o.size,
			.receive = r.seen.copied[COUNT_RECEIVE] / o.size,
			.other = r.seen.copied[COUNT_OTHER] / o.size,
			.want_send = want[COUNT_SEND],
			.want_receive = want[COUNT_RECEIVE],
			.want_other = want[COUNT_OTHER],
			.slack = 0.01, .copier = r.seen.copier,
		};
		if (check_is_right(c))
			break;
	}
	return true;
}

bool count_self_check(json_t *list)
{
	const struct count_def checks[] = {
		{ .mechanism = "write and read of a file, write to a socket",
		  .own = &check_file },
		{ .mechanism = "write to a socket", .method = "write" },
		{ .mechanism = "memcpy in user space, sendfile",
		  .own = &check_memcpy },
		{ .mechanism = "MSG_ZEROCOPY to a local socket",
		  .method = "msg-zerocopy", .finish = zerocopy_finish },
	};
	const double want[][COUNT_WHO] = {
		{ 3, 1, 0 }, { 1, 1, 0 }, { 0, 1, 0 }, { 0, 1, 1 },
	};
	struct count_check got[ARRAY_SIZE(checks)];
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(checks); i++) {
		if (!check_one(&checks[i], want[i], &got[i]))
			return false;
		json_array_append_new(list, check_json(&got[i]));
	}
	return judge_checks(got, ARRAY_SIZE(checks));
}
