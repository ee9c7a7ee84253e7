// SPDX-License-Identifier: GPL-2.0
/*
 * What changes around the lanes: links, memory, who listens, who wants the module
 * gone. Each is a process that goes on until it is stopped.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/ethtool.h>
#include <linux/if_packet.h>
#include <linux/sockios.h>
#include <arpa/inet.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <poll.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "../common/nl.h"
#include "soak.h"

#define NR_SIDES	2

static const char * const sides[NR_SIDES] = { "left", "right" };
static const char * const links[] = { "veth", "mtu", "lossy", "gcm", "cbc" };

/* A socket to configure a namespace's links by. */
static int side_open(const char *side)
{
	int home = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
	char path[64];
	int ns, fd;

	snprintf(path, sizeof(path), "/run/netns/%s", side);
	ns = open(path, O_RDONLY | O_CLOEXEC);
	if (home < 0 || ns < 0 || setns(ns, CLONE_NEWNET))
		fail("no namespace %s", side);
	fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	setns(home, CLONE_NEWNET);
	close(home);
	close(ns);
	return fd;
}

static void set_mtu(int fd, const char *link, int mtu)
{
	struct ifreq req = { .ifr_mtu = mtu };

	snprintf(req.ifr_name, sizeof(req.ifr_name), "%s", link);
	if (!ioctl(fd, SIOCSIFMTU, &req))
		count(&soak->changes[C_MTU], 1);
}

static void set_up(int fd, const char *link, bool up)
{
	struct ifreq req = { 0 };

	snprintf(req.ifr_name, sizeof(req.ifr_name), "%s", link);
	if (ioctl(fd, SIOCGIFFLAGS, &req))
		return;
	req.ifr_flags &= ~IFF_UP;
	req.ifr_flags |= up ? IFF_UP : 0;
	if (!ioctl(fd, SIOCSIFFLAGS, &req))
		count(&soak->changes[C_LINK], 1);
}

static void set_offload(int fd, const char *link, __u32 what, bool on)
{
	struct ethtool_value value = { .cmd = what, .data = on };
	struct ifreq req = { .ifr_data = (void *)&value };

	snprintf(req.ifr_name, sizeof(req.ifr_name), "%s", link);
	if (!ioctl(fd, SIOCETHTOOL, &req))
		count(&soak->changes[C_OFFLOAD], 1);
}

static void change_mtu(const int *fd)
{
	static const int mtus[] = { 576, 600, 1280, 1500, 4000, 9000, 65535 };
	int mtu = one_in(2) ? mtus[rnd() % 7] : (int)between(576, 65535);

	set_mtu(fd[0], "mtu", mtu);
	/* Not the same on both sides every time. */
	if (!one_in(4))
		set_mtu(fd[1], "mtu", mtu);
}

static void change_offload(const int *fd)
{
	static const __u32 what[] = {
		ETHTOOL_STSO, ETHTOOL_SGSO, ETHTOOL_SSG, ETHTOOL_STXCSUM,
		ETHTOOL_SRXCSUM, ETHTOOL_SGRO,
	};

	set_offload(fd[rnd() % NR_SIDES], links[rnd() % 5], what[rnd() % 6],
		    one_in(2));
}

static void run(const char *command)
{
	if (system(command))
		fail("this does not work: %s", command);
}

static void change_netem(void)
{
	static const char * const kinds[] = {
		"delay 1ms", "delay 3ms 2ms reorder 25%% 50%%", "loss %u%%",
		"duplicate %u%%", "corrupt %u%%", "rate 200mbit",
		"delay 2ms 1ms loss 2%% duplicate 2%% corrupt 1%% reorder 10%%",
	};
	char command[256];
	int len;

	len = snprintf(command, sizeof(command),
		       "ip netns exec %s tc qdisc replace dev lossy root netem limit 2000 ",
		       sides[rnd() % NR_SIDES]);
	snprintf(command + len, sizeof(command) - len, kinds[rnd() % 7],
		 between(1, 5));
	run(command);
	count(&soak->changes[C_NETEM], 1);
}

static void change_link(const int *fd)
{
	const char *link = links[rnd() % 5];
	int side = rnd() % NR_SIDES;

	set_up(fd[side], link, false);
	nap_us(between(1000, 300000));
	set_up(fd[side], link, true);
}

static void put(const char *path, const char *text, enum change change)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);

	if (fd >= 0 && write(fd, text, strlen(text)) > 0)
		__atomic_add_fetch(&soak->changes[change], 1, __ATOMIC_RELAXED);
	close(fd);
}

/* For a moment there may be few bytes in parcels: windows close, and open again. */
static void change_parcels(void)
{
	__u64 before = parameter_get("parcel_max");

	if (parameter_put("parcel_max", between(1, 256) << 10))
		fail("no parcel_max to set");
	count(&soak->changes[C_PARCELS], 1);
	nap_us(between(1000, 300000));
	if (parameter_put("parcel_max", before))
		fail("no parcel_max to set");
}

static void clear_up(const int *fd)
{
	unsigned int i, side;

	for (side = 0; side < NR_SIDES; side++) {
		set_mtu(fd[side], "mtu", 1500);
		for (i = 0; i < sizeof(links) / sizeof(*links); i++)
			set_up(fd[side], links[i], true);
	}
	run("ip netns exec left tc qdisc del dev lossy root 2>/dev/null || :");
	run("ip netns exec right tc qdisc del dev lossy root 2>/dev/null || :");
}

void weather_run(void)
{
	int fd[NR_SIDES] = { side_open("left"), side_open("right") };

	while (!stopped()) {
		switch (rnd() % 9) {
		case 0:
		case 1:
			change_mtu(fd);
			break;
		case 2:
			change_netem();
			break;
		case 3:
			change_link(fd);
			break;
		case 4:
		case 5:
			change_offload(fd);
			break;
		case 6:
			put("/proc/sys/vm/drop_caches", one_in(2) ? "2" : "3",
			    C_CACHES);
			break;
		case 7:
			change_parcels();
			break;
		default:
			put("/proc/sys/vm/compact_memory", "1", C_COMPACT);
			break;
		}
		nap_us(between(10000, 400000));
	}
	clear_up(fd);
}

/* An AF_PACKET socket with a ring, for a while. */
static void capture(void)
{
	struct tpacket_req req = {
		.tp_block_size = 65536,
		.tp_block_nr = 16,
		.tp_frame_size = 4096,
		.tp_frame_nr = 256,
	};
	size_t size = (size_t)req.tp_block_size * req.tp_block_nr, i = 0;
	int fd = socket(AF_PACKET, SOCK_RAW, htons(ETH_P_ALL));
	long until = now_ms() + between(300, 3000);
	struct pollfd p = { .fd = fd, .events = POLLIN };
	__u8 *map;

	if (fd < 0 || setsockopt(fd, SOL_PACKET, PACKET_RX_RING, &req,
				 sizeof(req)))
		fail("no packet ring: %s", strerror(errno));
	map = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (map == MAP_FAILED)
		fail("no packet ring to map: %s", strerror(errno));
	while (now_ms() < until && !stopped()) {
		struct tpacket_hdr *h = (void *)(map + i * req.tp_frame_size);

		if (!(h->tp_status & TP_STATUS_USER)) {
			poll(&p, 1, 100);
			continue;
		}
		count(&soak->captured, 1);
		h->tp_status = TP_STATUS_KERNEL;
		i = (i + 1) % req.tp_frame_nr;
	}
	munmap(map, size);
	close(fd);
	count(&soak->changes[C_CAPTURE], 1);
}

void capture_run(void)
{
	static const char * const where[] = {
		"/run/netns/left", "/run/netns/right", "/proc/1/ns/net",
	};

	while (!stopped()) {
		int ns = open(where[rnd() % 3], O_RDONLY | O_CLOEXEC);

		if (ns < 0 || setns(ns, CLONE_NEWNET))
			fail("no namespace to capture in");
		close(ns);
		capture();
		nap_us(between(1000, 2000000));
	}
}

/* The module is in use as long as we run: it must not go. */
void unload_run(void)
{
	while (!stopped()) {
		if (!syscall(SYS_delete_module, "fbuf", O_NONBLOCK))
			fail("the module was unloaded while in use");
		if (errno != EWOULDBLOCK && errno != EBUSY)
			fail("unloading says %s", strerror(errno));
		count(&soak->unloads, 1);
		nap_us(between(1000, 50000));
	}
}

/* Who looks at pools that come and go. */
void watch_run(void)
{
	static const __u8 commands[] = {
		FBUF_CMD_POOL_GET, FBUF_CMD_HANDLE_GET, FBUF_CMD_STATS_GET,
		FBUF_CMD_LIMIT_GET,
	};
	struct nl nl, events;
	struct nl_row row;
	int nr;

	if (nl_open(&nl) || nl_open(&events) || nl_join(&events))
		fail("no netlink of fbuf");
	while (!stopped()) {
		struct nl_arg arg = { FBUF_A_POOL_ID, 8, 0 };

		nr = nl_dump(&nl, commands[rnd() % 4], NULL, 0);
		if (nr < 0)
			fail("a dump by netlink: %s", strerror(-nr));
		count(&soak->dumps, 1);
		while (!nl_next(&events, &row, 0)) {
			arg.val = row.val[FBUF_A_POOL_ID];
			nl_do(&nl, FBUF_CMD_POOL_GET, &arg, 1, &row);
		}
		nap_us(between(1000, 100000));
	}
}
