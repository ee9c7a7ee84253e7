// SPDX-License-Identifier: GPL-2.0
/* fbuf run: a program that nobody changed, with libfbuf-run.so before it. */

#include <errno.h>
#include <getopt.h>
#include <limits.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "../run/limits.h"
#include "tool.h"

#define RUN_LIB		"libfbuf-run.so"
#define MIN_MAX		(1ULL << 30)
/* Pools that a program and those that it forks may have, of that size. */
#define MEMLOCK_POOLS	16

static const char help[] =
"Usage: fbuf run [OPTIONS] PROGRAM [ARGUMENT...]\n"
"\n"
"Run a program, unchanged, so that what it sends from large pieces of its memory\n"
"over TCP goes without a CPU copy.\n"
"\n"
"  -p, --pool SIZE        memory that a process may have for that, snapshots\n"
"                         included (256M)\n"
"  -m, --min SIZE         leave alone what is smaller (32K)\n"
"  -s, --stats[=FILE]     at the end, and on SIGUSR2, say what was sent, and what was\n"
"                         copied and why: on standard error, or added to a file\n"
"  -v, --verbose          say why nothing is sent without a copy, if so\n"
"  -h, --help             print this\n"
"\n"
"fbuf-run(1) says when it helps, and when not to use it.\n";

static const struct option longs[] = {
	{ "pool", required_argument, NULL, 'p' },
	{ "min", required_argument, NULL, 'm' },
	{ "stats", optional_argument, NULL, 's' },
	{ "verbose", no_argument, NULL, 'v' },
	TOOL_LONG_HELP,
	{ }
};

struct run_options {
	uint64_t pool;
	uint64_t min;
	const char *stats;	/* "1", a file, or NULL */
	bool verbose;
};

/* Beside the tool, as it is built; or where both are installed. */
static bool find_library(char path[PATH_MAX])
{
	static const char * const places[] = {
		RUN_LIB, "../lib/fbuf/" RUN_LIB,
	};
	char self[PATH_MAX - 64];
	ssize_t len = readlink("/proc/self/exe", self, sizeof(self) - 1);
	unsigned int i;

	if (len < 0)
		len = 0;
	self[len] = 0;
	if (strrchr(self, '/'))
		strrchr(self, '/')[1] = 0;
	for (i = 0; i < sizeof(places) / sizeof(*places); i++) {
		snprintf(path, PATH_MAX, "%s%s", self, places[i]);
		if (!access(path, R_OK))
			return true;
	}
	snprintf(path, PATH_MAX, "%s", RUN_LIBDIR "/fbuf/" RUN_LIB);
	return !access(path, R_OK);
}

static void set_number(const char *name, uint64_t n)
{
	char text[32];

	snprintf(text, sizeof(text), "%llu", (unsigned long long)n);
	setenv(name, text, 1);
}

/*
 * A program that gives up root keeps this limit, and needs it: its pool counts as
 * locked memory. Who may not raise it has what there is.
 */
static void raise_memlock(uint64_t pool)
{
	struct rlimit rl, want;

	if (getrlimit(RLIMIT_MEMLOCK, &rl))
		return;
	want = rl;
	if (want.rlim_cur < MEMLOCK_POOLS * pool)
		want.rlim_cur = MEMLOCK_POOLS * pool;
	if (want.rlim_max < want.rlim_cur)
		want.rlim_max = want.rlim_cur;
	if (setrlimit(RLIMIT_MEMLOCK, &want)) {
		rl.rlim_cur = rl.rlim_max;
		setrlimit(RLIMIT_MEMLOCK, &rl);
	}
}

/* Before what is preloaded already, so that ours is asked first. */
static int preload(void)
{
	const char *others = getenv("LD_PRELOAD");
	char path[PATH_MAX], *all;

	if (!find_library(path)) {
		tool_err("There is no %s beside this program, nor in %s/fbuf. Install fbuf anew.",
			 RUN_LIB, RUN_LIBDIR);
		return TOOL_FAIL;
	}
	if (strpbrk(path, ": ")) {
		tool_err("The loader takes no library from \"%s\": there is a space or a colon in its name. Put fbuf elsewhere.",
			 path);
		return TOOL_FAIL;
	}
	if (asprintf(&all, "%s%s%s", path, others && *others ? ":" : "",
		     others ?: "") < 0) {
		tool_err("There is no memory.");
		return TOOL_FAIL;
	}
	setenv("LD_PRELOAD", all, 1);
	free(all);
	return TOOL_OK;
}

/* Goes on after the options; -1 if all is said. */
static int parse(int argc, char **argv, struct run_options *opt)
{
	int c, ret;

	while ((c = tool_getopt(argc, argv, "+p:m:s::vh", longs)) >= 0) {
		switch (c) {
		case 'p':
			if (!tool_size("pool", optarg, RUN_POOL_LEAST, RUN_POOL_MOST,
				       &opt->pool))
				return TOOL_USAGE;
			break;
		case 'm':
			if (!tool_size("min", optarg, 1, MIN_MAX, &opt->min))
				return TOOL_USAGE;
			break;
		case 's':
			opt->stats = optarg ?: "1";
			break;
		case 'v':
			opt->verbose = true;
			break;
		default:
			ret = tool_option(c, help);
			if (ret)
				return ret;
		}
	}
	if (optind == argc)
		return tool_usage("run", "Which program?");
	return TOOL_OK;
}

int cmd_run(int argc, char **argv)
{
	struct run_options opt = { RUN_POOL_DEFAULT, RUN_MIN_DEFAULT, NULL, false };
	int ret = parse(argc, argv, &opt);

	if (ret)
		return ret < 0 ? TOOL_OK : ret;
	ret = preload();
	if (ret)
		return ret;
	set_number("FBUF_RUN_POOL", opt.pool);
	set_number("FBUF_RUN_MIN", opt.min);
	if (opt.stats)
		setenv("FBUF_RUN_STATS", opt.stats, 1);
	if (opt.verbose)
		setenv("FBUF_RUN_VERBOSE", "1", 1);
	raise_memlock(opt.pool);
	signal(SIGPIPE, tool_sigpipe);

	execvp(argv[optind], argv + optind);
	tool_err("Cannot run \"%s\": %s.", argv[optind], strerror(errno));
	return errno == ENOENT ? 127 : 126;
}
