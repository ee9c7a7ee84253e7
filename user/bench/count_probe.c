// SPDX-License-Identifier: GPL-2.0
/*
 * fbuf compare --count: probes on what copies, and sums of what they saw.
 *
 * The kernel itself adds up, in histograms by task: neither a compiler for BPF is
 * needed, nor a buffer that could run over. The files of tracefs are written as
 * they are: libtracefs would save the two functions that join paths, and has none
 * that reads a histogram.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "count.h"

#define TRACING		"/sys/kernel/tracing"
#define INSTANCES	TRACING "/instances"
#define PREFIX		"fbuf_count_"	/* of instances and of groups */
#define COMMANDS_MAX	4096	/* bytes */
#define CLEAN_TRIES	100
#define SECTOR		512
#define SIZE		":size=512"	/* entries: else it takes long to clear them */

/*
 * In the field common_flags of an event. That of interrupts says nothing: the
 * breakpoint that a probe is counts as one.
 */
#define FLAG_SOFTIRQ	0x10

enum kind {
	COPY, HEADS, ENCRYPT, DECRYPT, DMA_IN, DMA_OUT, CALLS, FAULTS, FRAGS, DESCS,
};

/* Where the probe of a function is. */
enum place {
	AT_CALLS,	/* or at its start, if nothing calls it by its name */
	AT_START,
	TRACEPOINT,
};

struct probe {
	const char *name;	/* of the function, or SYSTEM/EVENT */
	enum place place;
	enum kind kind;
	const char *arg;	/* of a function: what is to be added up */
	const char *type, *member;	/* which is at an offset of arg */
	const char *iter;	/* what has the iterator: a pipe takes pages */
	const char *hist;	/* of a tracepoint: without "hist:" */
	/* Then found out: */
	unsigned int found, on;	/* places */
	const char *missing;
};

#define BY_TASK		"keys=common_pid,common_flags:vals=n"
#define A_DEVICE	"name != \"lo\" && !(name ~ \"veth*\") && !(name ~ \"fbc*\")"

static struct probe probes[] = {
	{ "_copy_from_iter", AT_CALLS, COPY, .arg = "%si:u64" },
	{ "_copy_from_iter_nocache", AT_CALLS, COPY, .arg = "%si:u64" },
	{ "_copy_from_iter_flushcache", AT_CALLS, COPY, .arg = "%si:u64" },
	{ "csum_and_copy_from_iter", AT_CALLS, COPY, .arg = "%si:u64" },
	{ "csum_and_copy_from_iter_full", AT_START, COPY, .arg = "%si:u64" },
	{ "_copy_to_iter", AT_CALLS, COPY, .arg = "%si:u64" },
	{ "_copy_mc_to_iter", AT_CALLS, COPY, .arg = "%si:u64" },
	{ "csum_and_copy_to_iter", AT_CALLS, COPY, .arg = "%si:u64" },
	{ "hash_and_copy_to_iter", AT_CALLS, COPY, .arg = "%si:u64" },
	{ "copy_page_to_iter", AT_CALLS, COPY, .arg = "%dx:u64",
	  .iter = "%cx" },
	{ "copy_page_to_iter_nofault", AT_CALLS, COPY, .arg = "%dx:u64" },
	{ "copy_page_from_iter", AT_CALLS, COPY, .arg = "%dx:u64" },
	{ "copy_page_from_iter_atomic", AT_CALLS, COPY, .arg = "%dx:u64" },
	{ "copy_folio_from_iter_atomic", AT_CALLS, COPY, .arg = "%dx:u64" },
	{ "copy_page", AT_CALLS, COPY, .arg = "\\4096:u64" },
	{ "copy_mc_to_kernel", AT_START, COPY, .arg = "%dx:u64" },
	{ "skb_copy_bits", AT_START, COPY, .arg = "%cx:u32" },
	{ "skb_copy_and_csum_bits", AT_START, COPY, .arg = "%cx:u32" },
	{ "skb_store_bits", AT_START, COPY, .arg = "%cx:u32" },
	{ "skb_copy_ubufs", AT_START, COPY, .arg = "(%di):u32",
	  .type = "sk_buff", .member = "data_len" },
	/* What it copies is headers, and the room before them. */
	{ "pskb_expand_head", AT_START, HEADS, .arg = "(%di):u32",
	  .type = "sk_buff", .member = "tail" },
	{ "crypto_aead_encrypt", AT_START, ENCRYPT, .arg = "(%di):u32",
	  .type = "aead_request", .member = "cryptlen" },
	{ "crypto_aead_decrypt", AT_START, DECRYPT, .arg = "(%di):u32",
	  .type = "aead_request", .member = "cryptlen" },
	/* What a virtio NIC is handed: the linear part, and each frag. */
	{ "virtqueue_add_outbuf", AT_START, DESCS, .arg = "%dx:u32" },
	{ "block/block_rq_complete", TRACEPOINT, DMA_IN,
	  .hist = "keys=common_pid:vals=nr_sector if rwbs ~ \"R*\"" },
	{ "net/net_dev_start_xmit", TRACEPOINT, DMA_OUT,
	  .hist = "keys=common_pid:vals=len if len > 128 && " A_DEVICE },
	/* But for those by which the threads of this program wait and look. */
	{ "raw_syscalls/sys_enter", TRACEPOINT, CALLS,
	  .hist = "keys=common_pid:vals=hitcount if id != %d && id != %d" },
	{ "exceptions/page_fault_user", TRACEPOINT, FAULTS,
	  .hist = "keys=common_pid:vals=hitcount" },
	{ "net/netif_rx_entry", TRACEPOINT, FRAGS,
	  .hist = "keys=common_pid:vals=nr_frags if data_len > 0" },
};

static pid_t maker;		/* the thread that made the probes */
static int to_keeper = -1;	/* a pipe */
static pid_t keeper;

/* Write one line to a file of tracefs; 0 or a negative errno. */
static int put(const char *path, const char *fmt, ...) __printf(2, 3);
static int put(const char *path, const char *fmt, ...)
{
	char text[512];
	va_list ap;
	int fd, len, err = 0;

	va_start(ap, fmt);
	len = vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	fd = open(path, O_WRONLY | O_APPEND | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	if (write(fd, text, len) != len)
		err = -errno;
	close(fd);
	return err;
}

static const char *event_path(char *path, size_t len, const struct probe *p,
			      const char *file)
{
	if (p->place == TRACEPOINT)
		snprintf(path, len, INSTANCES "/" PREFIX "%d/events/%s/%s",
			 maker, p->name, file);
	else
		snprintf(path, len, INSTANCES "/" PREFIX "%d/events/"
			 PREFIX "%d/%s/%s", maker, maker, p->name, file);
	return path;
}

/*
 * The events of a group; whether there were none. The list leaves some out when
 * others are taken away while it is read.
 */
static bool remove_events(pid_t pid)
{
	char line[512], group[64], *name;
	FILE *f = fopen(TRACING "/kprobe_events", "re");
	bool none = true;

	snprintf(group, sizeof(group), ":" PREFIX "%d/", pid);
	while (f && fgets(line, sizeof(line), f)) {
		name = strstr(line, group);
		if (!name)
			continue;
		none = false;
		name += strlen(group);
		name[strcspn(name, "\n ")] = '\0';
		/* Those of several places are listed several times. */
		put(TRACING "/kprobe_events", "-%s%s\n", group, name);
	}
	if (f)
		fclose(f);
	return none;
}

/* What was of a process that is gone, or nearly. */
static void clean(pid_t pid)
{
	char path[64];
	int i;

	snprintf(path, sizeof(path), INSTANCES "/" PREFIX "%d", pid);
	for (i = 0; i < CLEAN_TRIES; i++) {
		if ((!rmdir(path) || errno == ENOENT) && remove_events(pid))
			return;
		tool_sleep(0.05);
	}
}

static void clean_dead(void)
{
	DIR *d = opendir(INSTANCES);
	struct dirent *e;
	pid_t pid;

	while (d && (e = readdir(d))) {
		if (strncmp(e->d_name, PREFIX, strlen(PREFIX)))
			continue;
		pid = atoi(e->d_name + strlen(PREFIX));
		if (pid > 0 && kill(pid, 0) && errno == ESRCH)
			clean(pid);
	}
	if (d)
		closedir(d);
}

/*
 * A child that outlives this process, whatever ends it, and then takes the probes
 * away, and runs the commands that it was told.
 */
static void keep(int from, pid_t pid)
{
	char commands[COMMANDS_MAX];
	size_t len = 0;
	sigset_t all;
	ssize_t n;

	setsid();
	sigfillset(&all);
	sigprocmask(SIG_BLOCK, &all, NULL);
	do {
		n = read(from, commands + len, sizeof(commands) - 1 - len);
		len += n > 0 ? n : 0;
	} while (n > 0);
	clean(pid);
	commands[len] = '\0';
	_exit(len ? system(commands) != 0 : 0);
}

static bool start_keeper(void)
{
	pid_t pid = getpid();
	int fds[2];

	/* Programs that it starts have it open: they end before that is done. */
	if (pipe(fds))
		return false;
	keeper = fork();
	if (!keeper) {
		close(fds[1]);
		keep(fds[0], pid);
	}
	close(fds[0]);
	to_keeper = fds[1];
	return keeper > 0;
}

void probes_at_end(const char *command)
{
	if (dprintf(to_keeper, "%s\n", command) < 0)
		tool_err("What is to be taken away at the end: %s.",
			 strerror(errno));
}

void probes_close(void)
{
	if (to_keeper < 0)
		return;
	close(to_keeper);
	to_keeper = -1;
	waitpid(keeper, NULL, 0);
}

static const char *probe_arg(const struct probe *p, char *buf, size_t len)
{
	int off;

	if (p->iter) {
		off = btf_offset("iov_iter", "iter_type");
		snprintf(buf, len, "%s t=+%d(%s):u8", p->arg, off, p->iter);
		return off < 0 ? NULL : buf;
	}
	if (!p->type)
		return p->arg;
	off = btf_offset(p->type, p->member);
	if (off < 0)
		return NULL;
	snprintf(buf, len, "+%d%s", off, p->arg);
	return buf;
}

static void place_probe(struct probe *p, const struct count_text *text)
{
	const struct count_sites *s = text_sites(text, p - probes);
	char buf[64];
	const char *arg = probe_arg(p, buf, sizeof(buf));
	size_t i;

	if (!arg) {
		p->missing = "the kernel does not describe its types (BTF)";
		return;
	}
	if (p->place == AT_CALLS && s->nr) {
		p->found = s->nr;
		/*
		 * By a symbol: those of one event that have none are all the
		 * same to the kernel.
		 */
		for (i = 0; i < s->nr; i++) {
			if (!put(TRACING "/kprobe_events",
				 "p:" PREFIX "%d/%s _stext+%llu n=%s\n", maker,
				 p->name, (unsigned long long)
				 (s->addrs[i] - text_start(text)), arg))
				p->on++;
		}
	} else {
		p->found = 1;
		p->on = !put(TRACING "/kprobe_events",
			     "p:" PREFIX "%d/%s %s n=%s\n", maker, p->name,
			     p->name, arg);
	}
	if (!p->on)
		p->missing = text_has(text, p - probes) ?
			"the kernel allows no probe there" :
			"the kernel has no such function, or it is inlined";
}

/* More is what there is to say to the kernel besides, as ":clear". */
static void start_hist(struct probe *p, const char *more)
{
	char path[256], hist[256] = BY_TASK, *cond;
	int err;

	if (p->place == TRACEPOINT)
		snprintf(hist, sizeof(hist), p->hist, SYS_futex, SYS_getrusage);
	else if (p->iter)	/* pipes are no iterators since Linux 6.5 */
		snprintf(hist, sizeof(hist), BY_TASK " if t != %d",
			 btf_value("iter_type", "ITER_PIPE") & 0xff);
	cond = strstr(hist, " if ");
	err = put(event_path(path, sizeof(path), p, "trigger"),
		  "hist:%.*s" SIZE "%s%s\n",
		  (int)(cond ? cond - hist : (long)strlen(hist)), hist, more,
		  cond ?: "");
	if (err && !p->missing)
		p->missing = err == -ENOENT ? "the kernel has no such event" :
					      "the kernel makes no histogram of it";
	else if (p->place == TRACEPOINT && !err)
		p->on = 1;
}

/* Probes name registers, and are set where instructions of x86 call what copies. */
static bool knows_machine(void)
{
#ifdef __x86_64__
	return true;
#else
	tool_err("Counting is for x86-64 alone: it reads the kernel's machine code. On other processors, fbuf compare takes the time.");
	return false;
#endif
}

static bool find_tracing(void)
{
	const char *lacks = NULL;

	if (!knows_machine())
		return false;
	if (geteuid()) {
		tool_err("Counting needs root: it sets probes in the kernel.");
		return false;
	}
	if (access(INSTANCES, W_OK))
		mount("tracefs", TRACING, "tracefs", 0, NULL);
	if (access(INSTANCES, W_OK))
		lacks = "tracefs in " TRACING;
	else if (access(TRACING "/kprobe_events", W_OK))
		lacks = "kprobe events (CONFIG_KPROBE_EVENTS)";
	else if (access(TRACING "/events/raw_syscalls/sys_enter/hist", F_OK))
		lacks = "histograms of events (CONFIG_HIST_TRIGGERS, CONFIG_FTRACE_SYSCALLS)";
	if (!lacks)
		return true;
	tool_err("Counting needs a kernel with %s, and this one has none.",
		 lacks);
	return false;
}

static bool make_instance(void)
{
	char path[64];

	snprintf(path, sizeof(path), INSTANCES "/" PREFIX "%d", maker);
	if (!mkdir(path, 0700))
		return true;
	tool_err("%s: %s.", path, strerror(errno));
	return false;
}

static void place_all(const struct count_text *text)
{
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(probes); i++) {
		if (probes[i].place != TRACEPOINT)
			place_probe(&probes[i], text);
		if (!probes[i].missing)
			start_hist(&probes[i], "");
	}
}

bool probes_open(void)
{
	const char *names[ARRAY_SIZE(probes)];
	struct count_text *text;
	unsigned int i;

	maker = getpid();
	if (!find_tracing())
		return false;
	clean_dead();
	/* Not to be told of what is loaded while one looks for calls. */
	for (i = 0; i < ARRAY_SIZE(probes); i++)
		names[i] = probes[i].name;
	if (text_open(&text, names, ARRAY_SIZE(names)))
		return false;
	if (!start_keeper() || !make_instance()) {
		text_close(text);
		return false;
	}
	place_all(text);
	text_close(text);
	return true;
}

void probes_clear(void)
{
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(probes); i++) {
		if (!probes[i].missing)
			start_hist(&probes[i], ":clear");
	}
}

/* A thread that io_uring started is the sender's. */
static bool is_ours(pid_t pid)
{
	char path[64];

	snprintf(path, sizeof(path), "/proc/self/task/%d", pid);
	return !access(path, F_OK);
}

static void add_copy(struct counted *c, const struct probe *p, double *sum,
		     pid_t pid, unsigned int flags, double n, pid_t tx,
		     pid_t rx)
{
	enum count_who who;

	if (flags & FLAG_SOFTIRQ)
		who = COUNT_OTHER;
	else if (pid == rx)
		who = COUNT_RECEIVE;
	else if (pid == maker)
		return;
	else if (pid == tx || is_ours(pid))
		who = COUNT_SEND;
	else
		return;		/* as khugepaged, which copies at leisure */
	c->copied[who] += n;
	if (who == COUNT_RECEIVE)
		return;
	*sum += n;
	if (*sum > c->copier_bytes) {
		c->copier_bytes = *sum;
		c->copier = p->name;
	}
}

/* One line of a histogram: "{ common_pid: 7, ... } hitcount: 3 n: 4096". */
static void add_line(struct counted *c, const struct probe *p, double *sum,
		     const char *line, pid_t tx, pid_t rx)
{
	unsigned long long hits, n;
	const char *end = strchr(line, '}'), *at;
	unsigned int flags = 0;
	int pid;

	if (!end || sscanf(line, "{ common_pid: %d", &pid) != 1 ||
	    sscanf(end, "} hitcount: %llu", &hits) != 1)
		return;
	at = strstr(line, "common_flags:");
	if (at)
		flags = strtoul(at + strlen("common_flags:"), NULL, 0);
	at = strrchr(line, ':');
	n = strtoull(at + 1, NULL, 0);
	switch (p->kind) {
	case COPY:
		add_copy(c, p, sum, pid, flags, n, tx, rx);
		break;
	case HEADS:
		c->heads += n;
		break;
	case ENCRYPT:
		c->encrypted += n;
		break;
	case DECRYPT:
		c->decrypted += n;
		break;
	case DMA_IN:
		c->dma_in += (double)n * SECTOR;
		break;
	case DMA_OUT:
		c->dma_out += n;
		break;
	case CALLS:
		c->calls += pid == tx ? hits : 0;
		break;
	case FAULTS:
		c->user_faults += pid == tx ? hits : 0;
		break;
	case FRAGS:
		c->frags += n;
		break;
	case DESCS:
		c->frags += n - hits;
		break;
	}
}

bool probes_read(pid_t tx, pid_t rx, struct counted *c)
{
	char path[256], line[256];
	unsigned long dropped, lost = 0;
	unsigned int i;
	double sum;
	FILE *f;

	*c = (struct counted){ .copier = NULL };
	for (i = 0; i < ARRAY_SIZE(probes); i++) {
		if (probes[i].missing)
			continue;
		f = fopen(event_path(path, sizeof(path), &probes[i], "hist"),
			  "re");
		if (!f) {
			tool_err("%s: %s.", path, strerror(errno));
			return false;
		}
		sum = 0;
		while (fgets(line, sizeof(line), f)) {
			add_line(c, &probes[i], &sum, line, tx, rx);
			if (sscanf(line, " Dropped: %lu", &dropped) == 1)
				lost += dropped;
		}
		fclose(f);
	}
	if (lost)
		tool_err("Too many tasks at work: %lu events are lost.", lost);
	return !lost;
}

json_t *probes_json(void)
{
	json_t *list = json_object();
	const struct probe *p;
	char text[128];

	for (p = probes; p < probes + ARRAY_SIZE(probes); p++) {
		if (p->missing)
			snprintf(text, sizeof(text), "not counted: %s",
				 p->missing);
		else if (p->place == AT_CALLS && p->found > 1)
			snprintf(text, sizeof(text),
				 "where it is called: %u of %u places", p->on,
				 p->found);
		else
			snprintf(text, sizeof(text), "%s",
				 p->place == TRACEPOINT ? "tracepoint" :
				 p->place == AT_CALLS && p->found ?
				 "where it is called" : "at its start");
		json_object_set_new(list, p->name, json_string(text));
	}
	return list;
}
