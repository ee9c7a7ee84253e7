// SPDX-License-Identifier: GPL-2.0
/*
 * Runs programs in processes, many in each, and sees that nothing of them is left.
 *
 * Without options it is a selftest, which runs all programs of the file "corpus".
 * With -t it looks for new ones.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

#include "kselftest.h"
#include "nl.h"
#include "util.h"
#include "fuzz.h"

/* How often all that was kept is run, at most. */
#define REPLAYS		4
/* Calls after which a process runs no further program. */
#define BATCH		100000
/* A process in which nothing goes on for so long is killed. */
#define STALL_MS	2000
/* And is to be dead, and all of it gone, after so long. */
#define GONE_MS		20000

static struct options {
	int seconds;
	__u32 seed;
	const char *corpus;
	const char *out;
	const char *log;
} options = { .seed = 1, .corpus = "corpus", .out = "/out" };

static struct prog *loaded;
static unsigned int nr_loaded;
static unsigned int *next_loaded;	/* shared */
static long end_ms;	/* of fuzzing */

static void write_text(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);

	if (fd < 0)
		return;
	if (write(fd, text, strlen(text)) < 0)
		printf("# %s: %s\n", path, strerror(errno));
	close(fd);
}

/* Allocations that may sleep fail too; nobody reads where. */
static void faults_init(void)
{
	const char *dir = "/sys/kernel/debug";
	const char *const kinds[] = { "failslab", "fail_page_alloc",
				      "fail_usercopy" };
	unsigned int i;
	char path[96];

	for (i = 0; i < ARRAY_LEN(kinds); i++) {
		snprintf(path, sizeof(path), "%s/%s/verbose", dir, kinds[i]);
		write_text(path, "0");
		snprintf(path, sizeof(path), "%s/%s/ignore-gfp-wait", dir,
			 kinds[i]);
		write_text(path, "N");
	}
	snprintf(path, sizeof(path), "%s/fail_page_alloc/min-order", dir);
	write_text(path, "0");
}

/* A number in a file, after a word if there is one. */
static long read_number(const char *path, const char *word)
{
	char line[256];
	FILE *f = fopen(path, "r");
	long number = 0;
	char *at;

	while (f && fgets(line, sizeof(line), f)) {
		at = word ? strstr(line, word) : line;
		if (at) {
			number = strtol(at + (word ? strlen(word) : 0), NULL, 10);
			break;
		}
	}
	if (f)
		fclose(f);
	return number;
}

/* What changes when the kernel complains. */
static long kernel_state(void)
{
	return read_number("/proc/sys/kernel/tainted", NULL) |
	       read_number("/proc/lockdep_stats", "debug_locks:") << 32;
}

static __u32 batches;

/* Each child begins with a seed of its own. */
static void run_fuzz(void)
{
	__u32 rng = (options.seed * 40503U + batches) * 2654435761U | 1;

	corpus_fuzz(&rng, BATCH, end_ms);
}

static void run_loaded(void)
{
	while (*next_loaded < nr_loaded)
		corpus_consider(&loaded[(*next_loaded)++], true);
}

static void run_replay(void)
{
	while (*next_loaded < nr_loaded)
		exec_prog(&loaded[(*next_loaded)++]);
}

/* Most often a serial line. */
static void log_open(void)
{
	struct termios t;

	log_fd = open(options.log, O_WRONLY | O_NOCTTY | O_CLOEXEC);
	if (log_fd < 0 || tcgetattr(log_fd, &t))
		return;
	cfmakeraw(&t);
	tcsetattr(log_fd, TCSANOW, &t);
}

static void child_main(void (*fn)(void))
{
	int null = open("/dev/null", O_RDWR);
	__u64 since = cycles();

	/* Programs write to any fd that there is. */
	dup2(null, 0);
	dup2(null, 1);
	dup2(null, 2);
	control_fd = open(FBUF_DEVICE, O_RDWR | O_CLOEXEC);
	if (options.log)
		log_open();
	exec_init();
	spend(ON_START, 1, since);
	fn();
	_exit(0);
}

/*
 * A process that ends otherwise than by itself is a bug of the fuzzer. It has a handler
 * for SIGSEGV, and dies of it only where the frame for that could not be written: where
 * that is what was made to fail.
 */
static bool is_gone(pid_t pid)
{
	int status, sig;

	if (waitpid(pid, &status, WNOHANG) != pid)
		return false;
	sig = WIFSIGNALED(status) ? WTERMSIG(status) : 0;
	if (status && sig != SIGKILL && sig != SIGSEGV)
		ksft_print_msg("a process ended with status %#x (fault at %#lx, by %#lx)\n",
			       status, shared->fault_at, shared->fault_by);
	return true;
}

static int batch_end(pid_t pid)
{
	char command[64];

	shared->kills++;
	kill(pid, SIGKILL);
	if (wait_for(is_gone(pid), GONE_MS * slower()))
		return 0;
	ksft_print_msg("process %d does not die:\n", pid);
	fflush(NULL);
	snprintf(command, sizeof(command), "cat /proc/%d/task/*/stack", pid);
	return system(command) ? -1 : -ETIMEDOUT;
}

/* Has a process run programs; 0 when it is gone. */
static int batch(void (*fn)(void))
{
	unsigned int steps = GET(shared->steps);
	long since = now_ms();
	pid_t pid;

	batches++;
	fflush(NULL);
	pid = fork();
	if (!pid)
		child_main(fn);
	if (pid < 0)
		return -errno;
	while (!is_gone(pid)) {
		usleep(20000);
		if (GET(shared->steps) != steps) {
			steps = GET(shared->steps);
			since = now_ms();
		} else if (now_ms() - since > STALL_MS * slower()) {
			return batch_end(pid);
		}
	}
	return 0;
}

/* What users are charged for, pools and bytes; or an error. */
static long charges(struct nl *nl)
{
	struct nl_row rows[64];
	long all = 0;
	int i, nr;

	nr = nl_dump(nl, FBUF_CMD_LIMIT_GET, rows, ARRAY_LEN(rows));
	for (i = 0; i < nr && i < (int)ARRAY_LEN(rows); i++)
		all += rows[i].val[FBUF_A_LIMIT_POOLS] +
		       rows[i].val[FBUF_A_LIMIT_CHARGED];
	return nr < 0 ? nr : all;
}

/*
 * A socket of AF_UNIX whose last reference is in a queue goes when another one is
 * closed, and with it what else is queued.
 */
static void garbage_collect(void)
{
	int fd[2];

	if (socketpair(AF_UNIX, SOCK_STREAM, 0, fd))
		return;
	close(fd[0]);
	close(fd[1]);
}

/* Once no process is left, no pool is, and nobody is charged. */
static int nothing_left(void)
{
	struct nl_row row = { 0 };
	long pools, charged, end;
	struct nl nl;

	if (nl_open(&nl)) {
		ksft_print_msg("no answer by netlink\n");
		return -1;
	}
	end = now_ms() + GONE_MS * slower();
	do {
		garbage_collect();
		pools = nl_dump(&nl, FBUF_CMD_POOL_GET, &row, 1);
		charged = charges(&nl);
	} while ((pools || charged) && time_left(end));
	if (pools || charged)
		ksft_print_msg("%ld pools left (%llu handles, %llu in flight), %ld charged\n",
			       pools, row.val[FBUF_A_POOL_HANDLES],
			       row.val[FBUF_A_POOL_IN_FLIGHT], charged);
	nl_close(&nl);
	return pools || charged ? -1 : 0;
}

static int batch_and_look(void (*fn)(void), long state)
{
	unsigned long kills = shared->kills;
	__u64 since;
	int err;

	err = batch(fn);
	if (err)
		return err;
	if (shared->kills != kills)
		netlink_reset();
	since = cycles();
	err = nothing_left();
	spend(ON_LOOK, 1, since);
	if (!err && kernel_state() != state) {
		ksft_print_msg("the kernel complained\n");
		err = -1;
	}
	return err;
}

static void say_how_far(long ms)
{
	printf("%ld s: %lu calls (%lu/s), %lu programs, %u points, corpus %u, %lu killed\n",
	       ms / 1000, shared->calls, shared->calls * 1000 / (ms + 1),
	       shared->progs, shared->covered.nr_points,
	       shared->nr_corpus, shared->kills);
	fflush(stdout);
}

static FILE *out_open(const char *name)
{
	char path[256];

	snprintf(path, sizeof(path), "%s/%s", options.out, name);
	return fopen(path, "w");
}

/* How often each was done, and the milliseconds that it took. */
static void spent_save(long ms, __u64 all)
{
	static const char *const others[] = {
		[ON_SECOND - KINDS_MAX] = "(second)",
		[ON_CLEAN - KINDS_MAX] = "(clean)",
		[ON_SHORTEN - KINDS_MAX] = "(shorten)",
		[ON_START - KINDS_MAX] = "(start)",
		[ON_LOOK - KINDS_MAX] = "(look)",
	};
	FILE *f = out_open("spent");
	unsigned int i;

	for (i = 0; f && i < NR_SPENT; i++) {
		const struct spent *s = &shared->spent[i];

		if (s->nr)
			fprintf(f, "%s %lu %.0f\n", i < KINDS_MAX ?
				call_desc(i)->name : others[i - KINDS_MAX],
				s->nr, (double)s->cycles * ms / (all + 1));
	}
	if (f)
		fclose(f);
}

/* The points as offsets in the module's code, and the numbers. */
static void results_save(long ms)
{
	FILE *f = out_open("cover");
	char path[256];
	unsigned int i;

	for (i = 0; f && i < TEXT_MAX; i++) {
		if (shared->covered.text[i / 8] & 1U << i % 8)
			fprintf(f, "%x\n", i);
	}
	if (f)
		fclose(f);
	f = out_open("stats");
	if (f) {
		fprintf(f, "ms %ld\ncalls %lu\nprograms %lu\nkilled %lu\n",
			ms, shared->calls, shared->progs, shared->kills);
		fclose(f);
	}
	snprintf(path, sizeof(path), "%s/corpus", options.out);
	if (!f || corpus_save(path))
		ksft_print_msg("cannot write to %s\n", options.out);
}

/* Whether calls of all kinds succeeded: what cannot even begin leaves nothing. */
static bool all_good(bool tell)
{
	static const unsigned int all[] = {
		FBUF_IOC_POOL_CREATE, FBUF_IOC_ALLOC, FBUF_IOC_FREE,
		FBUF_IOC_SEND, FBUF_IOC_INFO, FBUF_IOC_SHARE, FBUF_IOC_HOLD,
		FBUF_IOC_PASS, FBUF_IOC_WAIT, FBUF_IOC_SECURE, FBUF_IOC_RING,
		FBUF_IOC_FANOUT, FBUF_IOC_FILL, FBUF_IOC_SEND_BATCH,
		FBUF_IOC_DROP, FBUF_IOC_RECV, FBUF_IOC_READ, FBUF_IOC_SHOW,
	};
	unsigned int i, missing = 0;

	for (i = 0; i < ARRAY_LEN(all); i++) {
		if (shared->good & IOCTL_BIT(all[i]))
			continue;
		if (tell)
			ksft_print_msg("ioctl %#x always failed\n",
				       _IOC_NR(all[i]));
		missing++;
	}
	return !missing;
}

static int fuzz(void)
{
	long begin = now_ms(), said = begin, state = kernel_state();
	__u64 since = cycles();
	int err = 0;

	if (!cover_usable())
		ksft_print_msg("no KCOV: programs are changed at random\n");
	end_ms = begin + options.seconds * 1000L;
	while (!err && *next_loaded < nr_loaded)
		err = batch_and_look(run_loaded, state);
	while (!err && now_ms() < end_ms) {
		err = batch_and_look(run_fuzz, state);
		if (now_ms() - said > 10000) {
			said = now_ms();
			say_how_far(said - begin);
		}
	}
	say_how_far(now_ms() - begin);
	all_good(true);
	results_save(now_ms() - begin);
	spent_save(now_ms() - begin, cycles() - since);
	return err ? 1 : 0;
}

static int replay(unsigned int bad)
{
	long state = kernel_state();
	unsigned int i;
	int err = 0;

	ksft_print_header();
	ksft_set_plan(3);
	ksft_test_result(nr_loaded && !bad, "%u programs, %u bad lines\n",
			 nr_loaded, bad);
	/* Some find what they look for if another thread was there in time. */
	for (i = 0; i < REPLAYS && !err && (!i || !all_good(false)); i++) {
		*next_loaded = 0;
		while (!err && *next_loaded < nr_loaded)
			err = batch_and_look(run_replay, state);
	}
	ksft_print_msg("%lu calls, %lu processes killed\n", shared->calls,
		       shared->kills);
	ksft_test_result(!err && shared->calls, "nothing of them is left\n");
	ksft_test_result(all_good(true), "ioctls of all kinds did what they are for\n");
	ksft_finished();
}

static void *share(size_t len)
{
	void *p = mmap(NULL, len, PROT_READ | PROT_WRITE,
		       MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (p == MAP_FAILED)
		ksft_exit_fail_msg("no memory\n");
	return p;
}

static void parse(int argc, char **argv)
{
	int c;

	while ((c = getopt(argc, argv, "t:s:c:o:l:")) != -1) {
		switch (c) {
		case 't':
			options.seconds = atoi(optarg);
			break;
		case 's':
			options.seed = strtoul(optarg, NULL, 0);
			break;
		case 'c':
			options.corpus = optarg;
			break;
		case 'o':
			options.out = optarg;
			break;
		case 'l':
			options.log = optarg;
			break;
		default:
			ksft_exit_fail_msg("fuzz [-t s] [-s seed] [-c corpus] [-o out] [-l log]\n");
		}
	}
}

int main(int argc, char **argv)
{
	unsigned int bad;

	parse(argc, argv);
	need_device(0, NULL);
	shared = share(sizeof(*shared));
	loaded = share(CORPUS_MAX * sizeof(*loaded));
	next_loaded = share(sizeof(*next_loaded));
	nr_loaded = corpus_load(options.corpus, loaded, CORPUS_MAX, &bad);
	faults_init();
	return options.seconds ? fuzz() : replay(bad);
}
