// SPDX-License-Identifier: GPL-2.0
/* fbuf doctor: what the network does with pages that are only referred to. */

#include <arpa/inet.h>
#include <errno.h>
#include <net/if.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <linux/ethtool.h>
#include <linux/if_link.h>
#include <linux/rtnetlink.h>
#include <linux/sockios.h>
#include <netlink/msg.h>
#include <netlink/netlink.h>

#include "doctor.h"

/* Of newer headers than some that this is built with. */
#define GRO_MAX_SIZE		58
#define TSO_MAX_SIZE		59
#define GSO_IPV4_MAX_SIZE	63
#define LINK_ATTR_MAX		63

#define USUAL_MAX		65536	/* bytes of a packet, without BIG TCP */

/* What a device says of itself; 0 is not known. */
struct link {
	char name[IF_NAMESIZE];
	uint32_t gso_max;	/* bytes of a packet */
	uint32_t gso_ipv4_max;	/* the same, of IPv4; before Linux 6.3 none */
	uint32_t tso_max;	/* the most that it could take */
};

/* A request, and what its answer has, to be freed; NULL if there is none. */
static struct nl_msg *answer;

static int keep_answer(struct nl_msg *msg, void *arg)
{
	(void)arg;
	if (!answer) {
		nlmsg_get(msg);
		answer = msg;
	}
	return NL_OK;
}

static struct nl_msg *ask(struct nl_msg *msg)
{
	struct nl_sock *sock = nl_socket_alloc();

	answer = NULL;
	if (!sock || !msg || nl_connect(sock, NETLINK_ROUTE))
		goto out;
	nl_socket_modify_cb(sock, NL_CB_VALID, NL_CB_CUSTOM, keep_answer, NULL);
	if (nl_send_auto(sock, msg) >= 0)
		nl_recvmsgs_default(sock);
out:
	if (sock)
		nl_socket_free(sock);
	if (msg)
		nlmsg_free(msg);
	return answer;
}

/* The device by which packets go to an address: its index, or 0. */
static unsigned int route_to(const struct sockaddr *to)
{
	const struct sockaddr_in6 *in6 = (const void *)to;
	const struct sockaddr_in *in = (const void *)to;
	bool six = to->sa_family == AF_INET6;
	struct rtmsg rt = {
		.rtm_family = to->sa_family,
		.rtm_dst_len = six ? 128 : 32,
	};
	struct nl_msg *msg = nlmsg_alloc_simple(RTM_GETROUTE, 0);
	unsigned int index = 0;
	struct nlattr *attr;

	if (!msg)
		return 0;
	nlmsg_append(msg, &rt, sizeof(rt), NLMSG_ALIGNTO);
	nla_put(msg, RTA_DST, six ? 16 : 4,
		six ? (const void *)&in6->sin6_addr :
		      (const void *)&in->sin_addr);
	msg = ask(msg);
	if (!msg)
		return 0;
	attr = nlmsg_find_attr(nlmsg_hdr(msg), sizeof(rt), RTA_OIF);
	if (attr)
		index = nla_get_u32(attr);
	nlmsg_free(msg);
	return index;
}

static uint32_t attr_u32(struct nlattr **attrs, int type)
{
	return attrs[type] ? nla_get_u32(attrs[type]) : 0;
}

static bool read_link(unsigned int index, struct link *link)
{
	struct ifinfomsg info = { .ifi_index = index };
	struct nlattr *attrs[LINK_ATTR_MAX + 1] = { };
	struct nl_msg *msg;

	if (!index || !if_indextoname(index, link->name))
		return false;
	msg = nlmsg_alloc_simple(RTM_GETLINK, 0);
	if (!msg)
		return true;
	nlmsg_append(msg, &info, sizeof(info), NLMSG_ALIGNTO);
	msg = ask(msg);
	if (!msg)
		return true;
	nlmsg_parse(nlmsg_hdr(msg), sizeof(info), attrs, LINK_ATTR_MAX, NULL);
	link->gso_max = attr_u32(attrs, IFLA_GSO_MAX_SIZE);
	link->gso_ipv4_max = attr_u32(attrs, GSO_IPV4_MAX_SIZE);
	link->tso_max = attr_u32(attrs, TSO_MAX_SIZE);
	nlmsg_free(msg);
	return true;
}

/* The device of the default route, of IPv4 or else of IPv6. */
static unsigned int default_route(void)
{
	char line[DOCTOR_LINE], name[64], to[40], len[16];
	unsigned int index = 0;
	FILE *f = fopen("/proc/net/route", "re");

	while (f && !index && fgets(line, sizeof(line), f)) {
		if (sscanf(line, "%63s %39s %*s %*s %*s %*s %*s %15s", name, to,
			   len) == 3 && !strcmp(to, "00000000") &&
		    !strcmp(len, "00000000"))
			index = if_nametoindex(name);
	}
	if (f)
		fclose(f);
	f = index ? NULL : fopen("/proc/net/ipv6_route", "re");
	while (f && !index && fgets(line, sizeof(line), f)) {
		if (sscanf(line, "%39s %15s %*s %*s %*s %*s %*s %*s %*s %63s", to,
			   len, name) == 3 && !strcmp(len, "00") &&
		    strcmp(name, "lo"))
			index = if_nametoindex(name);
	}
	if (f)
		fclose(f);
	return index;
}

static bool find_device(struct doctor *d, const char *address, struct link *link)
{
	struct addrinfo hints = { .ai_socktype = SOCK_STREAM }, *ai;
	unsigned int index;

	if (!address) {
		if (read_link(default_route(), link))
			return true;
		doctor_find(d, DOCTOR_NOTE, "network",
			    "There is no default route, and so no network device to look at. Name a peer:");
		doctor_type(d, "fbuf doctor ADDRESS");
		return false;
	}
	/* It was looked up before. */
	if (getaddrinfo(address, NULL, &hints, &ai))
		return false;
	index = route_to(ai->ai_addr);
	freeaddrinfo(ai);
	if (read_link(index, link))
		return true;
	doctor_find(d, DOCTOR_WRONG, "network", "There is no way to %s. See the routes:",
		    address);
	doctor_type(d, "ip route; ip -6 route");
	return false;
}

/* Whether a feature is on; -1 if the device does not tell. */
static int feature(const char *device, uint32_t what)
{
	struct ethtool_value value = { .cmd = what };
	struct ifreq req = { .ifr_data = (void *)&value };
	int ret, fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	if (fd < 0)
		fd = socket(AF_INET6, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return -1;
	snprintf(req.ifr_name, sizeof(req.ifr_name), "%s", device);
	ret = ioctl(fd, SIOCETHTOOL, &req);
	close(fd);
	return ret ? -1 : !!value.data;
}

/* Each without which pages are copied, or packets made one by one. */
static void find_offloads(struct doctor *d, const char *device)
{
	int sg = feature(device, ETHTOOL_GSG);
	int sum = feature(device, ETHTOOL_GTXCSUM);
	int tso = feature(device, ETHTOOL_GTSO);

	if (!sg || !sum) {
		doctor_find(d, DOCTOR_WRONG, "offloads",
			    "%s has %s off: what is sent by it is copied, every byte. Have it on, if the device can:",
			    device, sg ? "checksums (tx)" : "scatter-gather (sg)");
		doctor_type(d, "sudo ethtool -K %s tx on sg on tso on", device);
	} else if (!tso) {
		doctor_find(d, DOCTOR_NOTE, "offloads",
			    "%s has TSO off: nothing is copied, but the CPU makes every packet. Have it on, if the device can:",
			    device);
		doctor_type(d, "sudo ethtool -K %s tso on", device);
	} else if (sg < 0) {
		doctor_find(d, DOCTOR_NOTE, "offloads",
			    "%s does not tell whether it takes pages as they are. See what it is:",
			    device);
		doctor_type(d, "ip -d link show dev %s", device);
	} else {
		doctor_find(d, DOCTOR_OK, "offloads",
			    "%s takes pages as they are (sg, tx, tso).", device);
	}
}

static void find_big_tcp(struct doctor *d, const struct link *link)
{
	bool six = link->gso_max <= USUAL_MAX;
	bool four = link->gso_ipv4_max && link->gso_ipv4_max <= USUAL_MAX;
	const char *which = six && four ? "" : six ? " of IPv6" : " of IPv4";

	if (!link->gso_max || link->tso_max <= USUAL_MAX)
		return;
	if (!six && !four) {
		doctor_find(d, DOCTOR_OK, "big-tcp",
			    "%s takes packets of more than 64 KiB (BIG TCP).",
			    link->name);
		return;
	}
	doctor_find(d, DOCTOR_NOTE, "big-tcp",
		    "%s takes packets%s of 64 KiB, and could take %u bytes (BIG TCP), with fewer packets for large sends:",
		    link->name, which, link->tso_max);
	if (six)
		doctor_type(d, "sudo ip link set dev %s gso_max_size %u gro_max_size %u",
			    link->name, link->tso_max, link->tso_max);
	if (four)
		doctor_type(d, "sudo ip link set dev %s gso_ipv4_max_size %u \\\n"
			    "               gro_ipv4_max_size %u   # iproute2 6.3, or newer",
			    link->name, link->tso_max, link->tso_max);
}

/*
 * What was read on another CPU than it was sent on is kept on a list of the latter,
 * and its buffers are in flight meanwhile; see kmod/nudge.c.
 */
static void find_deferred(struct doctor *d)
{
	char line[DOCTOR_LINE];

	if (!doctor_read(line, "/proc/sys/net/core/skb_defer_max"))
		return;
	if (!strcmp(line, "0")) {
		doctor_find(d, DOCTOR_OK, "skb_defer_max",
			    "net.core.skb_defer_max is 0: buffers come back as soon as they are read.");
		return;
	}
	if (sysconf(_SC_NPROCESSORS_ONLN) == 1) {
		doctor_find(d, DOCTOR_OK, "skb_defer_max",
			    "With one CPU net.core.skb_defer_max does not matter.");
		return;
	}
	doctor_find(d, DOCTOR_NOTE, "skb_defer_max",
		    "net.core.skb_defer_max is %s: buffers that a peer here read on another CPU come back later, and programs that poll for them cost an interrupt of every CPU, a thousand a second. Where peers are on this machine:",
		    line);
	doctor_type(d, "sudo sysctl net.core.skb_defer_max=0");
}

int doctor_net(struct doctor *d, const char *address)
{
	struct addrinfo hints = { .ai_socktype = SOCK_STREAM }, *ai;
	struct link link = { };
	int ret;

	ret = address ? getaddrinfo(address, NULL, &hints, &ai) : 0;
	if (ret)
		return tool_usage("doctor", "\"%s\" is no address: %s.", address,
				  gai_strerror(ret));
	if (address)
		freeaddrinfo(ai);
	find_deferred(d);
	if (!find_device(d, address, &link))
		return TOOL_OK;
	find_offloads(d, link.name);
	find_big_tcp(d, &link);
	return TOOL_OK;
}
