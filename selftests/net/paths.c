// SPDX-License-Identifier: GPL-2.0
/*
 * What changes, encrypts or decrypts packets on their way does not change the
 * pool's pages, to which these packets refer: the pool's memory is compared after
 * each. And that it was done at all: the peer, or a counter, shows it.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/bpf.h>
#include <linux/if_alg.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <linux/udp.h>
#include <net/if.h>
#include <netinet/in.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "kselftest_harness.h"
#include "util.h"

#define BUF_SIZE	32768U
#define NR_BUFS		2U
#define POOL_SIZE	(BUF_SIZE * NR_BUFS)
/* A datagram, and where it begins in its buffer: in no way aligned. */
#define LEN		9600U
#define AT		100U
/* What is stored into packets, as the bytes are on the wire. */
#define MARK		"MARK"
#define MARK_WORD	0x4b52414d	/* the same, in a register */
/* What a script ends with that found out that the kernel cannot do this. */
#define SKIPPED		4
/* Where programs of BPF are pinned. */
#define PINS		"/mnt"

#ifndef SOL_UDP
#define SOL_UDP		17
#endif

static const __u32 engines[] = {
	FBUF_ENGINE_PAGEREF, FBUF_ENGINE_UBUF, FBUF_ENGINE_SPLICE,
	FBUF_ENGINE_COPY,
};

/* A pool of one held buffer, and what is to be in it. */
struct memory {
	struct pool pool;
	__u64 name;
	__u8 was[POOL_SIZE];
	__u8 got[POOL_SIZE];
};

static void memory_keep(struct memory *m)
{
	memcpy(m->was, m->pool.map, POOL_SIZE);
}

static int memory_make(struct memory *m)
{
	int err = pool_make(&m->pool, BUF_SIZE, NR_BUFS);

	if (err)
		return err;
	if (pool_alloc(m->pool.fd, &m->name, 1) != 1)
		return -ENOMEM;
	pattern_fill(m->pool.map, 5, 0, POOL_SIZE);
	memory_keep(m);
	return 0;
}

/* How many of the pool's bytes are not what they were. */
static size_t memory_changed(const struct memory *m)
{
	size_t i, n = 0;

	for (i = 0; i < POOL_SIZE; i++)
		n += m->pool.map[i] != m->was[i];
	return n;
}

/* The bytes that send_at() sends. */
static __u8 *sent_at(struct memory *m)
{
	return m->was + buf_offset(&m->pool, m->name) + AT;
}

static ssize_t send_at(const struct memory *m, int sock, __u32 mask,
		       __u16 segment)
{
	struct fbuf_seg seg = buf_seg(&m->pool, m->name, AT, LEN);
	struct fbuf_send arg = {
		.size = sizeof(arg),
		.segs = (uintptr_t)&seg,
		.nr_segs = 1,
		.fd = sock,
		.engines = mask,
		.segment = segment,
	};
	int ret = ioctl(m->pool.fd, FBUF_IOC_SEND, &arg);

	return ret < 0 ? -errno : ret;
}

/* The same by sendmsg(). */
static ssize_t plain_segments(struct memory *m, int sock, __u16 segment)
{
	char control[CMSG_SPACE(sizeof(segment))] = "";
	struct iovec iov = { .iov_base = sent_at(m), .iov_len = LEN };
	struct msghdr msg = {
		.msg_iov = &iov,
		.msg_iovlen = 1,
		.msg_control = control,
		.msg_controllen = sizeof(control),
	};
	struct cmsghdr *cmsg = CMSG_FIRSTHDR(&msg);
	ssize_t ret;

	cmsg->cmsg_level = SOL_UDP;
	cmsg->cmsg_type = UDP_SEGMENT;
	cmsg->cmsg_len = CMSG_LEN(sizeof(segment));
	memcpy(CMSG_DATA(cmsg), &segment, sizeof(segment));
	ret = sendmsg(sock, &msg, 0);
	return ret < 0 ? -errno : ret;
}

static void limit_wait(int sock)
{
	struct timeval limit = { .tv_sec = DEADLINE_MS / 1000 };

	setsockopt(sock, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
}

/* The bytes in which two differ. */
static size_t differ(const __u8 *a, const __u8 *b, size_t len)
{
	size_t i, n = 0;

	for (i = 0; i < len; i++)
		n += a[i] != b[i];
	return n;
}

/*
 * Namespaces near and far, with a link from one to the other: n0 192.0.2.1 and f0
 * 192.0.2.2, of an MTU that all of a datagram fits. In each a script makes what is
 * to be on the way.
 */
FIXTURE(path)
{
	struct memory m;
	int near;
	int far;
	int sock[2];
};

/*
 * @near, @far: scripts; exit 4 says that the kernel does not have it
 * @hidden: what goes over the link is encrypted
 * @bpf: makes and pins what the scripts attach; 0, or a negative errno
 * @to: the far address, if it is another one
 * @mark: at which byte of a datagram MARK is stored, or 0 if nowhere
 * @stolen: far, all goes to the device d0 instead
 * @segment_eio: UDP_SEGMENT fails with EIO, before this minor version of 6 or
 *	always
 */
FIXTURE_VARIANT(path)
{
	const char *near;
	const char *far;
	int (*bpf)(void);
	const char *to;
	size_t mark;
	bool hidden;
	bool stolen;
	int segment_eio;
};

#define ALWAYS	1000

FIXTURE_VARIANT_ADD(path, nothing)
{
	.near = "",
	.far = "",
};

/* A device that makes no checksums. */
FIXTURE_VARIANT_ADD(path, no_checksums)
{
	.near = "ethtool -K n0 tx off",
	.far = "",
	.segment_eio = 11,
};

#define ESP_STATES(alg)							\
	"s='mode transport " alg "'\n"					\
	"x='ip xfrm state add src'\n"					\
	"$x 192.0.2.1 dst 192.0.2.2 proto esp spi 1 $s || exit 4\n"	\
	"$x 192.0.2.2 dst 192.0.2.1 proto esp spi 2 $s || exit 4\n"	\
	"p='tmpl proto esp mode transport'\n"				\
	"x='ip xfrm policy add dir'\n"
#define ESP_NEAR(alg)							\
	ESP_STATES(alg)							\
	"$x out src 192.0.2.1 dst 192.0.2.2 $p\n"			\
	"$x in src 192.0.2.2 dst 192.0.2.1 $p\n"
#define ESP_FAR(alg)							\
	ESP_STATES(alg)							\
	"$x out src 192.0.2.2 dst 192.0.2.1 $p\n"			\
	"$x in src 192.0.2.1 dst 192.0.2.2 $p\n"
#define GCM								\
	"aead rfc4106(gcm(aes)) 0x0102030405060708090a0b0c0d0e0f1011121314 128"
#define CBC								\
	"auth hmac(sha256) 0x0102030405060708090a0b0c0d0e0f1011121314 "	\
	"enc cbc(aes) 0x0102030405060708090a0b0c0d0e0f10"

FIXTURE_VARIANT_ADD(path, esp_gcm)
{
	.near = ESP_NEAR(GCM),
	.far = ESP_FAR(GCM),
	.hidden = true,
	.segment_eio = ALWAYS,
};

FIXTURE_VARIANT_ADD(path, esp_cbc)
{
	.near = ESP_NEAR(CBC),
	.far = ESP_FAR(CBC),
	.hidden = true,
	.segment_eio = ALWAYS,
};

#define MACSEC(dev, mine, theirs)					\
	"d=" dev " m=" mine " t=" theirs "\n"				\
	"k=112233445566778899aabbccddeeff a=02:00:00:00:01:0\n"		\
	"ip link add link $d m0 address $a$m type macsec encrypt on"	\
	" || exit 4\n"							\
	"ip macsec add m0 tx sa 0 pn 1 on key 0$m 0$m$k\n"		\
	"ip macsec add m0 rx port 1 address $a$t\n"			\
	"ip macsec add m0 rx port 1 address $a$t "			\
	"sa 0 pn 1 on key 0$t 0$t$k\n"					\
	"ip addr add 198.51.100.$m/24 dev m0\n"				\
	"ip link set m0 up"

FIXTURE_VARIANT_ADD(path, macsec)
{
	.near = MACSEC("n0", "1", "2"),
	.far = MACSEC("f0", "2", "1"),
	.hidden = true,
	.to = "198.51.100.2",
	.segment_eio = 11,
};

/* Two pairs of keys. */
#define WG_A		"dwdtCnMYpX08FsFyUbJmRd9ML5LrwJkqwXf7pR25LCo="
#define WG_A_PUBLIC	"+KlTWi0v9gXo4UTVT071xiMTogVduyH93T/ZwpnrAV0="
#define WG_B		"XasIfmJKikt54X+Lg4AO5m87sSkmGLb9HC+LJ/+I4Os="
#define WG_B_PUBLIC	"3p7bfXt9wbTTW2HC7OQ1Nz+DQ8hbeGdNrfx+FG+IK08="
#define WIREGUARD(key, peer, mine, theirs)				\
	"ip link add w0 mtu 30000 type wireguard || exit 4\n"		\
	"echo " key " >/mnt/key\n"					\
	"wg set w0 private-key /mnt/key listen-port 5000 "		\
	"peer " peer " endpoint 192.0.2." theirs ":5000 "		\
	"allowed-ips 198.51.100.0/24\n"					\
	"ip addr add 198.51.100." mine "/24 dev w0\n"			\
	"ip link set w0 up"

FIXTURE_VARIANT_ADD(path, wireguard)
{
	.near = WIREGUARD(WG_A, WG_B_PUBLIC, "1", "2"),
	.far = WIREGUARD(WG_B, WG_A_PUBLIC, "2", "1"),
	.hidden = true,
	.to = "198.51.100.2",
};

/* A packet socket that looks at d0 keeps what comes there. */
#define NFT(rules)							\
	"nft add table netdev t || exit 4\n"				\
	"ip link add d0 mtu 65000 type dummy || exit 4\n"		\
	"ip link set d0 up\n"						\
	"nft 'add chain netdev t c "					\
	"{ type filter hook ingress device f0 priority 0; }'\n"		\
	"nft 'add rule netdev t c meta l4proto { tcp, udp } " rules "'"	\
	" || exit 4"
#define NFT_MARK	"@th,864,32 set 0x4d41524b"

FIXTURE_VARIANT_ADD(path, nft_set)
{
	.near = "",
	.far = NFT(NFT_MARK),
	.mark = 100,
};

FIXTURE_VARIANT_ADD(path, nft_dup)
{
	.near = "",
	.far = NFT("dup to d0 " NFT_MARK),
	.mark = 100,
};

FIXTURE_VARIANT_ADD(path, nft_fwd)
{
	.near = "",
	.far = NFT(NFT_MARK " fwd to d0"),
	.mark = 100,
	.stolen = true,
};

#define PEDIT(dev, where)						\
	"d=" dev "\n"							\
	"tc qdisc add dev $d clsact || exit 4\n"			\
	"tc filter add dev $d " where " protocol ip u32 "		\
	"match u8 0 0 action pedit munge offset 5028 u32 set 0x4d41524b"	\
	" || exit 4"

FIXTURE_VARIANT_ADD(path, pedit_egress)
{
	.near = PEDIT("n0", "egress"),
	.far = "",
	.mark = 5000,
};

FIXTURE_VARIANT_ADD(path, pedit_ingress)
{
	.near = "",
	.far = PEDIT("f0", "ingress"),
	.mark = 5000,
};

#define INSN(c, d, s, o, i)						\
	((struct bpf_insn){ .code = (c), .dst_reg = (d), .src_reg = (s),	\
			    .off = (o), .imm = (i) })
#define MOV(d, s)	INSN(BPF_ALU64 | BPF_MOV | BPF_X, d, s, 0, 0)
#define MOV_K(d, k)	INSN(BPF_ALU64 | BPF_MOV | BPF_K, d, 0, 0, k)
#define ADD_K(d, k)	INSN(BPF_ALU64 | BPF_ADD | BPF_K, d, 0, 0, k)
#define STORE_K(d, o, k)	INSN(BPF_ST | BPF_MEM | BPF_W, d, 0, o, k)
#define LOAD(d, s, o)	INSN(BPF_LDX | BPF_MEM | BPF_W, d, s, o, 0)
#define CALL(f)		INSN(BPF_JMP | BPF_CALL, 0, 0, 0, f)
#define JGT(d, s, o)	INSN(BPF_JMP | BPF_JGT | BPF_X, d, s, o, 0)
#define EXIT		INSN(BPF_JMP | BPF_EXIT, 0, 0, 0, 0)
/* Ethernet, IP, UDP, and then. */
#define PACKET_MARK	(14 + 20 + 8 + 5000)

static int bpf_pin(__u32 type, const struct bpf_insn *insns, size_t nr,
		   __u32 flags)
{
	union bpf_attr load = {
		.prog_type = type,
		.insns = (uintptr_t)insns,
		.insn_cnt = nr,
		.license = (uintptr_t)"GPL",
		.prog_flags = flags,
	};
	union bpf_attr pin = { .pathname = (uintptr_t)PINS "/prog" };
	int err = 0;

	if (umount2(PINS, MNT_DETACH) || mount("bpf", PINS, "bpf", 0, NULL))
		return -errno;
	pin.bpf_fd = syscall(SYS_bpf, BPF_PROG_LOAD, &load, sizeof(load));
	if ((int)pin.bpf_fd < 0)
		return -errno;
	if (syscall(SYS_bpf, BPF_OBJ_PIN, &pin, sizeof(pin)))
		err = -errno;
	close(pin.bpf_fd);
	return err;
}

static int pin_tc_store(void)
{
	const struct bpf_insn insns[] = {
		STORE_K(BPF_REG_10, -4, MARK_WORD),
		MOV_K(BPF_REG_2, PACKET_MARK),
		MOV(BPF_REG_3, BPF_REG_10),
		ADD_K(BPF_REG_3, -4),
		MOV_K(BPF_REG_4, 4),
		MOV_K(BPF_REG_5, 0),
		CALL(BPF_FUNC_skb_store_bytes),
		MOV_K(BPF_REG_0, 0),
		EXIT,
	};

	return bpf_pin(BPF_PROG_TYPE_SCHED_CLS, insns, ARRAY_SIZE(insns), 0);
}

/* By a plain store, once the packet is pulled so far that this is allowed. */
static int pin_tc_direct(void)
{
	const struct bpf_insn insns[] = {
		MOV(BPF_REG_6, BPF_REG_1),
		MOV_K(BPF_REG_2, PACKET_MARK + 4),
		CALL(BPF_FUNC_skb_pull_data),
		LOAD(BPF_REG_2, BPF_REG_6, offsetof(struct __sk_buff, data)),
		LOAD(BPF_REG_3, BPF_REG_6,
		     offsetof(struct __sk_buff, data_end)),
		MOV(BPF_REG_4, BPF_REG_2),
		ADD_K(BPF_REG_4, PACKET_MARK + 4),
		JGT(BPF_REG_4, BPF_REG_3, 1),
		STORE_K(BPF_REG_2, PACKET_MARK, MARK_WORD),
		MOV_K(BPF_REG_0, 0),
		EXIT,
	};

	return bpf_pin(BPF_PROG_TYPE_SCHED_CLS, insns, ARRAY_SIZE(insns), 0);
}

static int pin_xdp(void)
{
	const struct bpf_insn insns[] = {
		STORE_K(BPF_REG_10, -4, MARK_WORD),
		MOV_K(BPF_REG_2, PACKET_MARK),
		MOV(BPF_REG_3, BPF_REG_10),
		ADD_K(BPF_REG_3, -4),
		MOV_K(BPF_REG_4, 4),
		CALL(BPF_FUNC_xdp_store_bytes),
		MOV_K(BPF_REG_0, XDP_PASS),
		EXIT,
	};

	return bpf_pin(BPF_PROG_TYPE_XDP, insns, ARRAY_SIZE(insns),
		       BPF_F_XDP_HAS_FRAGS);
}

#define TC_BPF(dev, where)						\
	"d=" dev "\n"							\
	"tc qdisc add dev $d clsact || exit 4\n"			\
	"tc filter add dev $d " where " bpf da "			\
	"object-pinned " PINS "/prog || exit 4"

FIXTURE_VARIANT_ADD(path, tc_store_egress)
{
	.bpf = pin_tc_store,
	.near = TC_BPF("n0", "egress"),
	.far = "",
	.mark = 5000,
};

FIXTURE_VARIANT_ADD(path, tc_store_ingress)
{
	.bpf = pin_tc_store,
	.near = "",
	.far = TC_BPF("f0", "ingress"),
	.mark = 5000,
};

FIXTURE_VARIANT_ADD(path, tc_direct_ingress)
{
	.bpf = pin_tc_direct,
	.near = "",
	.far = TC_BPF("f0", "ingress"),
	.mark = 5000,
};

FIXTURE_VARIANT_ADD(path, xdp_generic)
{
	.bpf = pin_xdp,
	.near = "",
	.far = "ip link set f0 xdpgeneric pinned " PINS "/prog",
	.mark = 5000,
};

FIXTURE_VARIANT_ADD(path, xdp_native)
{
	.bpf = pin_xdp,
	.near = "",
	.far = "ip link set f0 xdpdrv pinned " PINS "/prog",
	.mark = 5000,
};

/* A namespace of its own, in which the process then is. */
static int netns_new(void)
{
	int fd;

	if (unshare(CLONE_NEWNET))
		return -errno;
	fd = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	return system("ip link set lo up") ? -EIO : fd;
}

/* Runs a script in a namespace; its exit status. */
static int run_in(int ns, const char *script)
{
	char *command;
	int status;

	if (!*script)
		return 0;
	if (setns(ns, CLONE_NEWNET) ||
	    asprintf(&command, "set -e\n%s", script) < 0)
		return -1;
	status = system(command);
	free(command);
	return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static int socket_in(int ns, int family, int type, int protocol)
{
	int fd;

	if (setns(ns, CLONE_NEWNET))
		return -errno;
	fd = socket(family, type | SOCK_CLOEXEC, protocol);
	if (fd < 0)
		return -errno;
	limit_wait(fd);
	return fd;
}

#define IS_UP(dev)	"ip link show " dev " | grep -q 'state UP'"

static int link_make(int near, int far)
{
	char *command;
	int err;

	if (setns(near, CLONE_NEWNET) ||
	    asprintf(&command, "set -e\n"
		     "ip link add n0 mtu 65000 type veth \\\n"
		     "peer name f0 mtu 65000 netns /proc/%d/fd/%d\n"
		     "ip addr add 192.0.2.1/24 dev n0\n"
		     "ip link set n0 up", getpid(), far) < 0)
		return -1;
	err = system(command);
	free(command);
	if (!err)
		err = run_in(far, "ip addr add 192.0.2.2/24 dev f0\n"
				  "ip link set f0 up");
	/* Before, what is sent is lost. */
	if (!err &&
	    (!wait_for(!run_in(near, IS_UP("n0")), DEADLINE_MS) ||
	     !wait_for(!run_in(far, IS_UP("f0")), DEADLINE_MS)))
		err = -1;
	return err;
}

/* Files of its own at PINS. */
static int mounts_own(void)
{
	return unshare(CLONE_NEWNS) ||
	       mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) ||
	       mount("tmpfs", PINS, "tmpfs", 0, NULL) ? -errno : 0;
}

FIXTURE_SETUP(path)
{
	int err;

	if (geteuid())
		SKIP(return, "needs root");
	ASSERT_EQ(0, mounts_own());
	self->far = netns_new();
	ASSERT_LE(0, self->far);
	self->near = netns_new();
	ASSERT_LE(0, self->near);
	ASSERT_EQ(0, link_make(self->near, self->far));
	if (variant->bpf) {
		err = variant->bpf();
		if (err == -ENODEV)
			SKIP(return, "no BPF here");
		ASSERT_EQ(0, err);
	}
	err = run_in(self->far, variant->far);
	if (!err)
		err = run_in(self->near, variant->near);
	if (err == SKIPPED)
		SKIP(return, "this kernel or machine does not have it");
	ASSERT_EQ(0, err);
	ASSERT_EQ(0, memory_make(&self->m));
}

FIXTURE_TEARDOWN(path)
{
	close(self->sock[0]);
	close(self->sock[1]);
	pool_unmake(&self->m.pool);
}

/* Connected, from near to far. */
static int pair_across(struct _test_data_path *self, const char *to, int type)
{
	struct sockaddr_in addr = { .sin_family = AF_INET };
	socklen_t len = sizeof(addr);
	int listener = socket_in(self->far, AF_INET, type, 0);

	self->sock[0] = socket_in(self->near, AF_INET, type, 0);
	if (listener < 0 || self->sock[0] < 0)
		return -EIO;
	inet_pton(AF_INET, to ?: "192.0.2.2", &addr.sin_addr);
	if (bind(listener, (void *)&addr, len) ||
	    (type == SOCK_STREAM && listen(listener, 1)) ||
	    getsockname(listener, (void *)&addr, &len) ||
	    connect(self->sock[0], (void *)&addr, len))
		return -errno;
	if (type == SOCK_DGRAM) {
		self->sock[1] = listener;
		return 0;
	}
	self->sock[1] = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
	close(listener);
	if (self->sock[1] < 0)
		return -errno;
	limit_wait(self->sock[1]);
	return 0;
}

/* A frame that is as long as a datagram, from the datagram's first byte on. */
static ssize_t frame_recv(int sock, __u8 *got)
{
	static __u8 frame[POOL_SIZE];
	const size_t heads = 14 + 20 + 8;
	ssize_t ret;

	do {
		ret = recv(sock, frame, sizeof(frame), 0);
	} while (ret >= 0 && ret < (ssize_t)LEN);
	if (ret < 0)
		return -errno;
	memcpy(got, frame + heads, ret - heads);
	return ret - heads;
}

static int packet_socket(int ns, const char *name)
{
	int sock = socket_in(ns, AF_PACKET, SOCK_RAW, htons(ETH_P_ALL));
	struct sockaddr_ll addr = {
		.sll_family = AF_PACKET,
		.sll_protocol = htons(ETH_P_ALL),
		.sll_ifindex = if_nametoindex(name),
	};
	int size = 1 << 20;

	if (sock < 0)
		return sock;
	setsockopt(sock, SOL_SOCKET, SO_RCVBUFFORCE, &size, sizeof(size));
	return bind(sock, (void *)&addr, sizeof(addr)) ? -errno : sock;
}

/* Whether a datagram's bytes are not to be seen on the link. */
static bool is_hidden(struct _test_data_path *self)
{
	struct memory *m = &self->m;
	int link = packet_socket(self->far, "f0");
	bool hidden = false;

	if (link < 0 ||
	    send_at(m, self->sock[0], FBUF_ENGINE_COPY, 0) != (ssize_t)LEN ||
	    recv(self->sock[1], m->got, LEN, MSG_WAITALL) != (ssize_t)LEN)
		return false;
	memset(m->got, 0, POOL_SIZE);
	if (frame_recv(link, m->got) > 0)
		hidden = !memmem(m->got, POOL_SIZE, sent_at(m) + 1000, 32);
	close(link);
	return hidden;
}

/* A datagram arrives as it was sent, but for what is stored on the way. */
TEST_F(path, udp)
{
	struct memory *m = &self->m;
	__u8 want[LEN];
	int stolen = -1;
	unsigned int i;

	ASSERT_EQ(0, pair_across(self, variant->to, SOCK_DGRAM));
	if (variant->hidden)
		EXPECT_TRUE(is_hidden(self));
	if (variant->stolen) {
		stolen = packet_socket(self->far, "d0");
		ASSERT_LE(0, stolen);
	}
	memcpy(want, sent_at(m), LEN);
	if (variant->mark)
		memcpy(want + variant->mark, MARK, 4);
	for (i = 0; i < ARRAY_SIZE(engines); i++) {
		if (engines[i] == FBUF_ENGINE_SPLICE)
			continue;
		memset(m->got, 0, LEN);
		ASSERT_EQ(LEN, send_at(m, self->sock[0], engines[i], 0));
		ASSERT_EQ(LEN, variant->stolen ? frame_recv(stolen, m->got) :
			  recv(self->sock[1], m->got, BUF_SIZE, 0));
		EXPECT_EQ(0, differ(m->got, want, LEN));
		EXPECT_EQ(0, memory_changed(m));
	}
	if (stolen >= 0)
		close(stolen);
}

/* What is stored goes anywhere in a stream, and arrives. */
TEST_F(path, tcp)
{
	struct memory *m = &self->m;
	unsigned int i;

	if (variant->stolen)
		SKIP(return, "no connection would come about");
	ASSERT_EQ(0, pair_across(self, variant->to, SOCK_STREAM));
	for (i = 0; i < ARRAY_SIZE(engines); i++) {
		if (engines[i] == FBUF_ENGINE_SPLICE && kernel_before(6, 5))
			continue;
		memset(m->got, 0, LEN);
		ASSERT_EQ(LEN, send_at(m, self->sock[0], engines[i], 0));
		ASSERT_EQ(LEN, recv(self->sock[1], m->got, LEN, MSG_WAITALL));
		EXPECT_EQ(!!variant->mark, !!memmem(m->got, LEN, MARK, 4));
		if (!variant->mark)
			EXPECT_EQ(0, differ(m->got, sent_at(m), LEN));
		EXPECT_EQ(0, memory_changed(m));
	}
}

/* Many datagrams of one send: taken, or refused as sendmsg() refuses them. */
TEST_F(path, segment)
{
	struct memory *m = &self->m;
	ssize_t want = LEN;
	unsigned int i;
	size_t done;

	if (variant->segment_eio &&
	    (variant->segment_eio == ALWAYS ||
	     kernel_before(6, variant->segment_eio)))
		want = -EIO;
	ASSERT_EQ(0, pair_across(self, variant->to, SOCK_DGRAM));
	EXPECT_EQ(want, plain_segments(m, self->sock[0], 2400));
	for (i = 0; i < ARRAY_SIZE(engines); i++) {
		if (engines[i] == FBUF_ENGINE_SPLICE)
			continue;
		EXPECT_EQ(want, send_at(m, self->sock[0], engines[i], 2400));
	}
	for (done = 0; want > 0 && !variant->stolen && done < 4 * LEN;
	     done += 2400)
		ASSERT_EQ(2400, recv(self->sock[1], m->got, BUF_SIZE, 0));
	EXPECT_EQ(0, memory_changed(m));
}

/* A socket that takes ESP in UDP, and a state that decrypts what comes there. */
FIXTURE(encap)
{
	struct memory m;
	int sock[2];
};

FIXTURE_SETUP(encap)
{
	struct sockaddr_in addr = {
		.sin_family = AF_INET,
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK),
		.sin_port = htons(4500),
	};
	int encap = UDP_ENCAP_ESPINUDP;

	if (geteuid())
		SKIP(return, "needs root");
	ASSERT_LE(0, netns_new());
	self->sock[0] = socket(AF_INET, SOCK_DGRAM, 0);
	self->sock[1] = socket(AF_INET, SOCK_DGRAM, 0);
	ASSERT_EQ(0, bind(self->sock[1], (void *)&addr, sizeof(addr)));
	ASSERT_EQ(0, connect(self->sock[0], (void *)&addr, sizeof(addr)));
	ASSERT_EQ(0, setsockopt(self->sock[1], SOL_UDP, UDP_ENCAP, &encap,
				sizeof(encap)));
	if (system("s='mode transport " GCM "'\n"
		   "a='src 127.0.0.1 dst 127.0.0.1'\n"
		   "ip xfrm state add $a proto esp spi 0x1000 \\\n"
		   "$s encap espinudp 4500 4500 0.0.0.0"))
		SKIP(return, "no ESP here");
	ASSERT_EQ(0, memory_make(&self->m));
}

FIXTURE_TEARDOWN(encap)
{
	close(self->sock[0]);
	close(self->sock[1]);
	pool_unmake(&self->m.pool);
}

/* The number of packets that were decrypted to garbage. */
static int esp_failed(void)
{
	FILE *f = popen("ip -s xfrm state | grep -o 'failed [0-9]*'", "r");
	int n = -1;

	if (!f)
		return -errno;
	if (fscanf(f, "failed %d", &n) != 1)
		n = -1;
	pclose(f);
	return n;
}

/*
 * These packets are no clones, and nothing but SKBFL_SHARED_FRAG keeps ESP from
 * decrypting them where they are: in the pool.
 */
TEST_F(encap, garbage)
{
	struct memory *m = &self->m;
	__u8 *at = buf_addr(&m->pool, m->name) + AT;
	__u32 head[2] = { htonl(0x1000) };
	unsigned int i, j;
	int failed = 0;

	for (i = 0; i < ARRAY_SIZE(engines); i++) {
		for (j = 0; j < 2; j++) {
			if (engines[i] == FBUF_ENGINE_SPLICE)
				continue;
			/* Two packets of a send, the second time. */
			head[1] = htonl(i * 10 + j + 1);
			memcpy(at, head, sizeof(head));
			memcpy(at + LEN / 2, head, sizeof(head));
			memory_keep(m);
			ASSERT_EQ(LEN, send_at(m, self->sock[0], engines[i],
					       j * LEN / 2));
			failed += 1 + j;
			EXPECT_TRUE(wait_for(esp_failed() == failed,
					     DEADLINE_MS));
			EXPECT_EQ(0, memory_changed(m));
		}
	}
}

/* Kernel TLS, on one end or both of a connection. */
FIXTURE(tls)
{
	struct memory m;
	int sock[2];
};

FIXTURE_SETUP(tls)
{
	int err = tls_pair(self->sock);

	if (err)
		SKIP(return, "no kernel TLS: %s", strerror(-err));
	ASSERT_EQ(0, memory_make(&self->m));
}

FIXTURE_TEARDOWN(tls)
{
	close(self->sock[0]);
	close(self->sock[1]);
	pool_unmake(&self->m.pool);
}

TEST_F(tls, encrypts)
{
	struct memory *m = &self->m;
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(engines); i++) {
		if (engines[i] != FBUF_ENGINE_SPLICE &&
		    engines[i] != FBUF_ENGINE_COPY)
			continue;
		ASSERT_EQ(LEN, send_at(m, self->sock[0], engines[i], 0));
		limit_wait(self->sock[1]);
		ASSERT_EQ(LEN, recv(self->sock[1], m->got, LEN, MSG_WAITALL));
		EXPECT_EQ(0, differ(m->got, sent_at(m), LEN));
		EXPECT_EQ(0, memory_changed(m));
	}
}

/* A record that was not encrypted: it is decrypted, and then found to be wrong. */
static int tls_garbage(struct memory *m, __u32 mask, int flags)
{
	int sock[2];
	int err = tcp_pair(AF_INET, sock);

	if (err)
		return err;
	limit_wait(sock[1]);
	err = tls_attach(sock[1], false);
	if (!err)
		err = send_at(m, sock[0], mask, 0);
	if (err == (int)LEN)
		err = recv(sock[1], m->got, LEN, flags) < 0 ? -errno : 0;
	close(sock[0]);
	close(sock[1]);
	return err;
}

TEST_F(tls, decrypts_garbage)
{
	struct memory *m = &self->m;
	const __u8 head[] = { 23, 3, 3, (LEN - 5) >> 8, (LEN - 5) & 0xff };
	unsigned int i;

	memcpy(buf_addr(&m->pool, m->name) + AT, head, sizeof(head));
	memory_keep(m);
	for (i = 0; i < ARRAY_SIZE(engines); i++) {
		if (engines[i] == FBUF_ENGINE_SPLICE && kernel_before(6, 5))
			continue;
		EXPECT_EQ(-EBADMSG, tls_garbage(m, engines[i], 0));
		EXPECT_EQ(0, memory_changed(m));
		/* Not straight into the reader's memory. */
		EXPECT_EQ(-EBADMSG, tls_garbage(m, engines[i], MSG_PEEK));
		EXPECT_EQ(0, memory_changed(m));
	}
}

/* The kernel's ciphers, over pages that sendfile() hands them. */
FIXTURE(alg)
{
	struct memory m;
	int op;
};

FIXTURE_VARIANT(alg)
{
	const char *type;
	const char *name;
	const char *key;
	unsigned int key_len;
	int way;
	unsigned int iv;
	unsigned int assoc;
	unsigned int auth;
};

#define KEY	"0123456789abcdef"

FIXTURE_VARIANT_ADD(alg, cbc_encrypt)
{
	.type = "skcipher",
	.name = "cbc(aes)",
	.key = KEY,
	.key_len = 16,
	.way = ALG_OP_ENCRYPT,
	.iv = 16,
};

FIXTURE_VARIANT_ADD(alg, cbc_decrypt)
{
	.type = "skcipher",
	.name = "cbc(aes)",
	.key = KEY,
	.key_len = 16,
	.way = ALG_OP_DECRYPT,
	.iv = 16,
};

FIXTURE_VARIANT_ADD(alg, gcm_encrypt)
{
	.type = "aead",
	.name = "gcm(aes)",
	.key = KEY,
	.key_len = 16,
	.way = ALG_OP_ENCRYPT,
	.iv = 12,
	.assoc = 16,
	.auth = 16,
};

FIXTURE_VARIANT_ADD(alg, gcm_decrypt)
{
	.type = "aead",
	.name = "gcm(aes)",
	.key = KEY,
	.key_len = 16,
	.way = ALG_OP_DECRYPT,
	.iv = 12,
	.assoc = 16,
	.auth = 16,
};

/* It moves a word of the associated data about, where that lies. */
FIXTURE_VARIANT_ADD(alg, authencesn_decrypt)
{
	.type = "aead",
	.name = "authencesn(hmac(sha256),cbc(aes))",
	/* A struct rtattr of 8 bytes, the second key's length, two keys. */
	.key = "\x08\0\x01\0\0\0\0\x10" KEY KEY KEY,
	.key_len = 56,
	.way = ALG_OP_DECRYPT,
	.iv = 16,
	.assoc = 16,
	.auth = 16,
};

static int alg_open(const struct _fixture_variant_alg *v)
{
	struct sockaddr_alg addr = { .salg_family = AF_ALG };
	int sock = socket(AF_ALG, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	int op;

	if (sock < 0)
		return -errno;
	snprintf((char *)addr.salg_type, sizeof(addr.salg_type), "%s",
		 v->type);
	snprintf((char *)addr.salg_name, sizeof(addr.salg_name), "%s",
		 v->name);
	if (bind(sock, (void *)&addr, sizeof(addr)) ||
	    setsockopt(sock, SOL_ALG, ALG_SET_KEY, v->key, v->key_len) ||
	    (v->auth && setsockopt(sock, SOL_ALG, ALG_SET_AEAD_AUTHSIZE, NULL,
				   v->auth)))
		op = -errno;
	else
		op = accept4(sock, NULL, NULL, SOCK_CLOEXEC);
	close(sock);
	return op;
}

static struct cmsghdr *alg_say(struct msghdr *msg, struct cmsghdr *cmsg,
			       int type, const void *data, size_t len)
{
	/* There is room for all, so that it is never NULL. */
	if (!cmsg)
		abort();
	cmsg->cmsg_level = SOL_ALG;
	cmsg->cmsg_type = type;
	cmsg->cmsg_len = CMSG_LEN(len);
	memcpy(CMSG_DATA(cmsg), data, len);
	return CMSG_NXTHDR(msg, cmsg);
}

/* What to do with the data that comes next. */
static int alg_start(int op, const struct _fixture_variant_alg *v)
{
	char control[CMSG_SPACE(4) * 2 + CMSG_SPACE(4 + 16)] = "";
	struct msghdr msg = {
		.msg_control = control,
		.msg_controllen = CMSG_SPACE(4) + CMSG_SPACE(4 + v->iv) +
				  (v->assoc ? CMSG_SPACE(4) : 0),
	};
	struct cmsghdr *cmsg = CMSG_FIRSTHDR(&msg);
	__u32 iv[1 + 4] = { v->iv };

	cmsg = alg_say(&msg, cmsg, ALG_SET_OP, &v->way, 4);
	cmsg = alg_say(&msg, cmsg, ALG_SET_IV, iv, 4 + v->iv);
	if (v->assoc)
		alg_say(&msg, cmsg, ALG_SET_AEAD_ASSOCLEN, &v->assoc, 4);
	return sendmsg(op, &msg, MSG_MORE) < 0 ? -errno : 0;
}

FIXTURE_SETUP(alg)
{
	self->op = alg_open(variant);
	if (self->op < 0)
		SKIP(return, "no %s: %s", variant->name, strerror(-self->op));
	ASSERT_EQ(0, memory_make(&self->m));
}

FIXTURE_TEARDOWN(alg)
{
	close(self->op);
	pool_unmake(&self->m.pool);
}

TEST_F(alg, pages)
{
	struct memory *m = &self->m;
	off_t at = buf_offset(&m->pool, m->name) + AT;
	bool garbage = variant->auth && variant->way == ALG_OP_DECRYPT;
	ssize_t ret;

	ASSERT_EQ(0, alg_start(self->op, variant));
	ASSERT_EQ(LEN, sendfile(self->op, m->pool.fd, &at, LEN));
	/* No more than comes: it would wait for more. */
	ret = recv(self->op, m->got, LEN + (garbage ? 0 : variant->auth), 0);
	if (garbage) {
		EXPECT_EQ(-1, ret);
		EXPECT_EQ(EBADMSG, errno);
	} else {
		EXPECT_EQ(LEN + variant->auth, ret);
		EXPECT_LT(LEN * 9 / 10, differ(m->got, sent_at(m), LEN));
	}
	EXPECT_EQ(0, memory_changed(m));
}

int main(int argc, char **argv)
{
	need_device(argc, argv);
	return test_harness_run(argc, argv);
}
