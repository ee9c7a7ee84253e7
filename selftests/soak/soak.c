// SPDX-License-Identifier: GPL-2.0
/*
 * soak --seconds N --seed N [--lanes N] [--path NAME]... [--json FILE]: see soak.h.
 * It has a pool of its own for as long as it runs; in the end nothing may be left
 * of any pool.
 */
#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../common/nl.h"
#include "left.h"
#include "soak.h"

#define STUCK_MS	60000		/* how long a lane may stand still */
#define ASLEEP		100		/* how often it was seen asleep, then */
#define PATIENCE_MS	10000		/* and one that may hang, before it is killed */
#define GRACE_MS	4000		/* what lanes have to end, in the end */
#define FLIGHT_MS	10000		/* how long pages may be in flight by no socket */
#define ORPHAN_MS	200000		/* and by a socket without a process */
#define REPORT_MS	30000
#define NR_HELPERS	4

struct soak *soak;

static void json_write(void);
static void all_show(FILE *to);

static const char *json;
static long started;
static unsigned int nr_lanes = 8;
static pid_t main_pid;

/* What only the first process knows of each slot. */
static struct {
	__u64 verified;
	long moved;		/* when that last changed */
	unsigned int asleep;	/* how often it was, as it stands still */
} seen[NR_SLOTS];

const char * const mech_names[NR_MECHS] = {
	"pageref", "splice-engine", "ubuf", "copy", "send", "fanout", "batch",
	"uring", "uring-fanout", "uring-batch", "sendfile", "splice", "tee",
	"segment", "write", "file", "msg-zerocopy", "send-zc", "killed",
};

const char * const path_names[NR_PATHS] = {
	"loopback", "loopback6", "unix", "seqpacket", "tls", "sockmap", "udp", "veth",
	"mtu", "lossy", "esp-gcm", "esp-cbc", "veth-tls", "veth-udp", "mtu-udp",
	"lossy-udp", "esp-gcm-udp", "esp-cbc-udp", "doomed",
};

const char * const fill_names[NR_FILLS] = {
	"none", "memory", "fill-file", "fill-socket",
};

const char * const way_names[NR_WAYS] = {
	"recv", "fill", "splice", "tcp-zerocopy-receive", "parcel",
	"parcel-mapped", "parcel-kept", "parcel-sent-on",
};

const char * const change_names[NR_CHANGES] = {
	"mtu", "netem", "link", "offload", "drop-caches", "compact",
	"parcel-max", "window", "capture", "namespace", "cgroup",
};

const char * const death_names[NR_DEATHS] = { "sender", "receiver", "group" };

__u32 mech_engine(enum mech mech)
{
	switch (mech) {
	case M_PAGEREF:
		return FBUF_ENGINE_PAGEREF;
	case M_SPLICE_ENGINE:
		return FBUF_ENGINE_SPLICE;
	case M_UBUF:
		return FBUF_ENGINE_UBUF;
	case M_COPY:
		return FBUF_ENGINE_COPY;
	default:
		return 0;
	}
}

void fail(const char *format, ...)
{
	char text[1024];
	va_list args;

	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	if (!__atomic_exchange_n(&soak->failed, true, __ATOMIC_ACQ_REL)) {
		fprintf(stderr, "soak: FAILED: %s\n", text);
		if (getpid() == main_pid)
			all_show(stderr);
	}
	__atomic_store_n(&soak->stop, true, __ATOMIC_RELEASE);
	if (getpid() == main_pid && json)
		json_write();
	_exit(1);
}

static bool gone(const struct slot *slot)
{
	return !slot->group || (kill(-slot->group, 0) && errno == ESRCH);
}

static void lane_show(FILE *to, unsigned int i)
{
	const struct slot *slot = &soak->slot[i];

	fprintf(to, "  slot %u: lane %u over %s, group %d: ", i, slot->nr,
		path_names[slot->path], slot->group);
	fprintf(to, "%llu bytes verified, the last %ld ms ago; in %s%s%s%s%s\n",
		(unsigned long long)seen[i].verified, now_ms() - seen[i].moved,
		slot->doing ? slot->doing : "its beginning",
		slot->mortal ? ", mortal" : "",
		slot->killed ? ", killed" : "", slot->ended ? ", ended" : "",
		slot->in_cgroup ? ", in the cgroup" : "");
}

/* What is there when it fails: only the first process knows all of it. */
static void all_show(FILE *to)
{
	unsigned int i;

	for (i = 0; i < nr_lanes; i++) {
		if (!gone(&soak->slot[i]))
			lane_show(to, i);
	}
	left_show(to);
}

static __u64 sum(const __u64 *of, size_t nr)
{
	__u64 all = 0;

	while (nr--)
		all += *of++;
	return all;
}

static __u64 all_bytes(void)
{
	return sum(&soak->bytes[0][0], NR_MECHS * NR_PATHS);
}

static void json_row(FILE *f, const char *name, const char * const *names,
		     const __u64 *values, size_t nr)
{
	size_t i;

	fprintf(f, "  \"%s\": {", name);
	for (i = 0; i < nr; i++)
		fprintf(f, "%s\"%s\": %llu", i ? ", " : "", names[i],
			(unsigned long long)values[i]);
	fprintf(f, "},\n");
}

static void json_write(void)
{
	__u64 by_mech[NR_MECHS] = { 0 }, by_path[NR_PATHS] = { 0 };
	FILE *f = fopen(json, "w");
	unsigned int m, p;

	if (!f) {
		perror(json);
		return;
	}
	for (m = 0; m < NR_MECHS; m++) {
		for (p = 0; p < NR_PATHS; p++) {
			by_mech[m] += soak->bytes[m][p];
			by_path[p] += soak->bytes[m][p];
		}
	}
	fprintf(f, "{\n  \"seed\": %llu,\n  \"seconds\": %.1f,\n",
		(unsigned long long)soak->seed, (now_ms() - started) / 1000.0);
	fprintf(f, "  \"bytes\": %llu,\n", (unsigned long long)all_bytes());
	json_row(f, "by_mechanism", mech_names, by_mech, NR_MECHS);
	json_row(f, "by_path", path_names, by_path, NR_PATHS);
	json_row(f, "by_fill", fill_names, soak->filled, NR_FILLS);
	json_row(f, "by_receiver", way_names, soak->received, NR_WAYS);
	json_row(f, "sent_on_by_path", path_names, soak->onward, NR_PATHS);
	json_row(f, "messages", mech_names, soak->messages, NR_MECHS);
	json_row(f, "lanes", path_names, soak->lanes, NR_PATHS);
	json_row(f, "changes", change_names, soak->changes, NR_CHANGES);
	json_row(f, "kills", death_names, soak->deaths, NR_DEATHS);
	fprintf(f, "  \"unloads_refused\": %llu,\n  \"overwritten\": %llu,\n",
		(unsigned long long)soak->unloads,
		(unsigned long long)soak->overwritten);
	fprintf(f, "  \"inspected\": %llu,\n  \"passed\": %llu,\n",
		(unsigned long long)soak->inspected,
		(unsigned long long)soak->passed);
	fprintf(f, "  \"captured\": %llu,\n  \"dumps\": %llu,\n",
		(unsigned long long)soak->captured,
		(unsigned long long)soak->dumps);
	fprintf(f, "  \"parcels_refused\": %llu,\n",
		(unsigned long long)soak->refused);
	fprintf(f, "  \"short_of_memory\": %llu,\n  \"unseen\": %llu,\n  \"cut\": %llu,\n",
		(unsigned long long)soak->short_of_memory,
		(unsigned long long)soak->unseen,
		(unsigned long long)soak->cut);
	fprintf(f, "  \"failed\": %s\n}\n",
		soak->failed ? "true" : "false");
	fclose(f);
}

static void lane_start(unsigned int i)
{
	struct slot *slot = &soak->slot[i];
	unsigned int nr = slot->nr + 1;
	pid_t pid;

	memset(slot, 0, sizeof(*slot));
	slot->nr = nr;
	memset(&seen[i], 0, sizeof(seen[i]));
	seen[i].moved = now_ms();
	fflush(NULL);
	pid = fork();
	if (pid < 0)
		fail("fork: %s", strerror(errno));
	if (!pid)
		lane_run(slot, i);
	setpgid(pid, pid);
	slot->group = pid;
}

static struct slot *slot_of(pid_t group)
{
	unsigned int i;

	for (i = 0; i < nr_lanes; i++) {
		if (soak->slot[i].group == group)
			return &soak->slot[i];
	}
	return NULL;
}

/* A process ended: was that right? */
static void judge(const struct slot *slot, pid_t pid, int status)
{
	bool ours = pid == slot->group;
	unsigned int i;

	for (i = 0; i < NR_SOCKS; i++)
		ours |= pid == slot->receiver[i];
	if (WIFEXITED(status) && !WEXITSTATUS(status))
		return;
	if (slot->killed || slot->in_cgroup)
		return;
	/* The partner goes with its sender. */
	if (!ours && WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL)
		return;
	fail("a process of lane %u over %s ended with status 0x%x", slot->nr,
	     path_names[slot->path], status);
}

static void reap(void)
{
	siginfo_t info;
	int status;

	for (;;) {
		struct slot *slot;

		info.si_pid = 0;
		if (waitid(P_ALL, 0, &info, WEXITED | WNOHANG | WNOWAIT) ||
		    !info.si_pid)
			return;
		slot = slot_of(getpgid(info.si_pid));
		if (waitpid(info.si_pid, &status, 0) == info.si_pid && slot)
			judge(slot, info.si_pid, status);
	}
}

static void kill_one(void)
{
	unsigned int i = rnd() % nr_lanes, how = rnd() % NR_DEATHS;
	struct slot *slot = &soak->slot[i];

	if (!__atomic_load_n(&slot->ready, __ATOMIC_ACQUIRE) ||
	    !slot->mortal || slot->killed || gone(slot))
		return;
	__atomic_store_n(&slot->killed, true, __ATOMIC_RELEASE);
	if (how == D_SENDER)
		kill(slot->group, SIGKILL);
	else if (how == D_RECEIVER)
		kill(slot->receiver[0], SIGKILL);
	else
		kill(-slot->group, SIGKILL);
	count(&soak->deaths[how], 1);
}

/*
 * Nobody may tell the rest of it that a part of it is dead, or its link gone:
 * what would is a packet, which may get lost.
 */
static bool may_hang(const struct slot *slot)
{
	return slot->path == P_DOOMED || slot->in_cgroup ||
	       (slot->killed && (slot->lossy || path_loses(slot->path)));
}

static void kill_lane(unsigned int i)
{
	struct slot *slot = &soak->slot[i];

	__atomic_store_n(&slot->killed, true, __ATOMIC_RELEASE);
	kill(-slot->group, SIGKILL);
}

/* Returns how long a lane was standing still. */
static long stood(unsigned int i)
{
	struct slot *slot = &soak->slot[i];
	__u64 verified = 0;
	unsigned int t;

	for (t = 0; t < NR_SOCKS; t++)
		verified += __atomic_load_n(&slot->log[t].verified,
					    __ATOMIC_RELAXED);
	if (verified != seen[i].verified) {
		seen[i].verified = verified;
		seen[i].moved = now_ms();
	}
	return now_ms() - seen[i].moved;
}

static bool runs(pid_t pid)
{
	char path[32], state = 0;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%d/stat", pid);
	f = fopen(path, "re");
	if (!f)
		return false;
	/* No space or parenthesis is in our name. */
	if (fscanf(f, "%*d %*s %c", &state) != 1)
		state = 0;
	fclose(f);
	return state == 'R';
}

/* Who waits for a processor is slow, not stuck; who polls is both by turns. */
static bool lane_runs(const struct slot *slot)
{
	bool any = runs(slot->group);
	unsigned int t;

	for (t = 0; t < NR_SOCKS; t++)
		any |= slot->receiver[t] && runs(slot->receiver[t]);
	return any;
}

/* A lane must move on, or if a part of it is dead, come to its end. */
static void look_at(unsigned int i)
{
	struct slot *slot = &soak->slot[i];
	long still = stood(i);

	if (still < PATIENCE_MS * soak->slower) {
		seen[i].asleep = 0;
		return;
	}
	if (may_hang(slot))
		kill_lane(i);
	seen[i].asleep = lane_runs(slot) ? 0 : seen[i].asleep + 1;
	if (still > STUCK_MS * soak->slower &&
	    (seen[i].asleep > ASLEEP || still > 5 * STUCK_MS * soak->slower))
		fail("slot %u: lane %u over %s stands still", i, slot->nr,
		     path_names[slot->path]);
}

static void progress(void)
{
	long s = (now_ms() - started) / 1000;
	__u64 mib = all_bytes() >> 20;

	printf("soak: %ld s, %llu MiB verified (%llu MiB/s), %llu messages, ",
	       s, (unsigned long long)mib,
	       (unsigned long long)(mib / (s ? s : 1)),
	       (unsigned long long)sum(soak->messages, NR_MECHS));
	printf("%llu lanes, %llu killed, %llu changes, %llu unloads refused\n",
	       (unsigned long long)sum(soak->lanes, NR_PATHS),
	       (unsigned long long)sum(soak->deaths, NR_DEATHS),
	       (unsigned long long)sum(soak->changes, NR_CHANGES),
	       (unsigned long long)soak->unloads);
	fflush(stdout);
}

/* One turn; true if any lane lives. */
static bool turn(bool restart)
{
	bool any = false;
	unsigned int i;

	reap();
	for (i = 0; i < nr_lanes; i++) {
		if (gone(&soak->slot[i])) {
			soak->slot[i].group = 0;
			if (!restart)
				continue;
			lane_start(i);
		}
		any = true;
		look_at(i);
	}
	return any;
}

static void work(long seconds)
{
	long report = started + REPORT_MS, next_kill = started;

	while (now_ms() < started + seconds * 1000 && !stopped()) {
		turn(true);
		if (now_ms() > next_kill) {
			kill_one();
			next_kill = now_ms() + between(100, 1500);
		}
		if (now_ms() > report) {
			report += REPORT_MS;
			progress();
		}
		nap_us(20000);
	}
}

static pid_t helper(void (*run)(void), unsigned int nr)
{
	pid_t pid;

	fflush(NULL);
	pid = fork();
	if (!pid) {
		rnd_seed(soak->seed, 1000, nr);
		run();
		_exit(0);
	}
	return pid;
}

static void kill_all(const pid_t *helpers)
{
	unsigned int i;

	for (i = 0; i < nr_lanes; i++) {
		if (soak->slot[i].group)
			kill(-soak->slot[i].group, SIGKILL);
	}
	for (i = 0; i < NR_HELPERS; i++)
		kill(helpers[i], SIGKILL);
}

static bool helpers_gone(const pid_t *helpers)
{
	unsigned int i;

	for (i = 0; i < NR_HELPERS; i++) {
		if (!kill(helpers[i], 0))
			return false;
	}
	return true;
}

/* True when no process is left; looks at all those that are. */
static bool all_gone(const pid_t *helpers)
{
	bool lanes = turn(false);

	return !lanes && helpers_gone(helpers);
}

/* Kills the lanes that go on; those that do not may be a bug: look_at() says. */
static bool cut_off(const pid_t *helpers)
{
	unsigned int i;

	for (i = 0; i < nr_lanes; i++) {
		struct slot *slot = &soak->slot[i];

		if (!gone(slot) && !slot->cut &&
		    (seen[i].asleep <= ASLEEP || may_hang(slot))) {
			kill_lane(i);
			slot->cut = true;
			count(&soak->cut, 1);
		}
	}
	return all_gone(helpers);
}

/* The helper that wants the module gone must be, before our pool is. */
static void all_end(const pid_t *helpers)
{
	__atomic_store_n(&soak->stop, true, __ATOMIC_RELEASE);
	if (wait_for(all_gone(helpers), GRACE_MS * soak->slower))
		return;
	if (!wait_for(cut_off(helpers), (STUCK_MS + PATIENCE_MS) * soak->slower))
		fail("not all processes end");
}

static bool none_left(struct nl *nl)
{
	return !nl_dump(nl, FBUF_CMD_POOL_GET, NULL, 0);
}

static bool no_charge(struct nl *nl)
{
	struct nl_row row;

	return !nl_user(nl, 0, &row) && !row.val[FBUF_A_LIMIT_CHARGED] &&
	       !row.val[FBUF_A_LIMIT_POOLS];
}

/* With all processes gone there is no reference to a page, and no charge. */
static void all_free(void)
{
	struct nl nl;

	if (nl_open(&nl))
		fail("no netlink of fbuf");
	/*
	 * TCP goes on without them, for longer the longer its peer is silent; the
	 * one that receives may have pages too, of packets that came too early.
	 */
	if (!wait_for(none_left(&nl), FLIGHT_MS * soak->slower)) {
		printf("soak: of %u sockets without a process some have pages\n",
		       left_orphans());
		if (!wait_for(none_left(&nl) || !left_orphans(), ORPHAN_MS))
			fail("sockets do not end");
	}
	if (!wait_for(none_left(&nl), FLIGHT_MS * soak->slower))
		fail("pools are left with nobody to use them");
	if (!wait_for(no_charge(&nl), FLIGHT_MS * soak->slower))
		fail("something is charged for no pool");
	nl_close(&nl);
}

static void first(long seconds)
{
	void (* const run[NR_HELPERS])(void) = {
		weather_run, capture_run, unload_run, watch_run,
	};
	int pool = pool_create(getpagesize(), 1);
	pid_t helpers[NR_HELPERS];
	unsigned int i;

	started = now_ms();
	if (pool < 0)
		fail("no pool: %s", strerror(-pool));
	prctl(PR_SET_CHILD_SUBREAPER, 1);
	paths_open();
	rnd_seed(soak->seed, 1001, 0);
	for (i = 0; i < NR_HELPERS; i++)
		helpers[i] = helper(run[i], i);
	work(seconds);
	if (soak->failed) {
		all_show(stderr);
		kill_all(helpers);
	} else {
		all_end(helpers);
		close(pool);
		all_free();
	}
	progress();
	if (json)
		json_write();
	if (soak->failed)
		exit(1);
}

static __u32 path_bit(const char *name)
{
	unsigned int i;

	for (i = 0; i < NR_PATHS; i++) {
		if (!strcmp(name, path_names[i]))
			return 1U << i;
	}
	fprintf(stderr, "soak: no path %s\n", name);
	exit(2);
}

int main(int argc, char **argv)
{
	static const struct option options[] = {
		{ "seconds", required_argument, NULL, 's' },
		{ "seed", required_argument, NULL, 'r' },
		{ "lanes", required_argument, NULL, 'l' },
		{ "path", required_argument, NULL, 'p' },
		{ "json", required_argument, NULL, 'j' },
		{ }
	};
	long seconds = 60;
	__u32 paths = 0;
	__u64 seed = 1;
	int c;

	while ((c = getopt_long(argc, argv, "", options, NULL)) != -1) {
		if (c == 's')
			seconds = atol(optarg);
		else if (c == 'r')
			seed = strtoull(optarg, NULL, 0);
		else if (c == 'l')
			nr_lanes = atoi(optarg);
		else if (c == 'p')
			paths |= path_bit(optarg);
		else if (c == 'j')
			json = optarg;
		else
			return 2;
	}
	if (!nr_lanes || nr_lanes > NR_SLOTS || seconds < 1) {
		fprintf(stderr, "soak: 1 to %u lanes, 1 second or more\n",
			NR_SLOTS);
		return 2;
	}
	soak = mmap(NULL, sizeof(*soak), PROT_READ | PROT_WRITE,
		    MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (soak == MAP_FAILED) {
		perror("soak");
		return 2;
	}
	soak->seed = seed;
	soak->slower = slower();
	soak->paths = paths ? paths : ~0U;
	main_pid = getpid();
	/* Of a link that is gone, the second call that fails would kill. */
	signal(SIGPIPE, SIG_IGN);
	first(seconds);
	return 0;
}
