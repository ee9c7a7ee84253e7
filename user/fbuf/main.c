// SPDX-License-Identifier: GPL-2.0
/* fbuf(1): send files through pools, and look at pools. */

#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include <fbuf/backend.h>

#include "tool.h"

static int cmd_help(int argc, char **argv);

static const struct tool_command commands[] = {
	{ "send", cmd_send },
	{ "recv", cmd_recv },
	{ "relay", cmd_relay },
	{ "run", cmd_run },
	{ "compare", cmd_compare },
	{ "bench", cmd_bench },
	{ "cost", cmd_cost },
	{ "demo", cmd_demo },
	{ "pool", cmd_pool },
	{ "stat", cmd_stat },
	{ "top", cmd_top },
	{ "limit", cmd_limit },
	{ "doctor", cmd_doctor },
	{ "help", cmd_help },
	{ }
};

static const char help[] =
"Usage: fbuf [-j] COMMAND [ARGUMENTS]\n"
"\n"
"Buffers that user space and kernel share, sent without a CPU copy.\n"
"\n"
"  fbuf send FILE HOST PORT   send a file over TCP through a pool\n"
"  fbuf recv PORT [FILE]      receive one over TCP\n"
"  fbuf relay PORT TARGET     pass TCP connections on without a copy\n"
"  fbuf run PROGRAM           run a program whose large sends are not copied\n"
"  fbuf compare               measure the ways to send, side by side\n"
"  fbuf bench                 measure them at length, and against a floor\n"
"  fbuf cost                  measure what a buffer costs between processes\n"
"  fbuf demo [FILE]           send a file through three processes on one pool\n"
"  fbuf pool                  list, show, watch and make pools\n"
"  fbuf stat [ID]             what pools did\n"
"  fbuf top                   pools by what they send, live\n"
"  fbuf limit                 show or set limits of pools and users\n"
"  fbuf doctor [ADDRESS]      what is wrong here, and what to type\n"
"  fbuf help [COMMAND]        this, or the help of a command\n"
"\n"
"A command's first letters will do, if no other command begins so.\n"
"\n"
"  -j, --json      results as JSON\n"
"  -V, --version   print the version\n"
"  -h, --help      print this, or after COMMAND its own help\n";

static bool is(const char *arg, const char *brief, const char *full)
{
	return !strcmp(arg, brief) || !strcmp(arg, full);
}

/* fbuf help pool show: as "fbuf pool show --help". */
static int cmd_help(int argc, char **argv)
{
	char *args[4] = { }, *option = "--help";
	int i, n = 0;

	for (i = 1; i < argc && n < 2; i++) {
		if (*argv[i] != '-')
			args[n++] = argv[i];
	}
	if (!n) {
		fputs(help, stdout);
		return TOOL_OK;
	}
	args[n++] = option;
	return tool_dispatch("", commands, n, args);
}

/* The options before the command, and the command. */
static int run(int argc, char **argv)
{
	/* By hand: getopt() starts afresh for the command. */
	for (argc--, argv++; argc && **argv == '-'; argc--, argv++) {
		if (is(*argv, "-h", "--help")) {
			fputs(help, stdout);
			return TOOL_OK;
		}
		if (is(*argv, "-V", "--version")) {
			printf("fbuf %s\n", fbuf_version());
			return TOOL_OK;
		}
		if (!is(*argv, "-j", "--json")) {
			tool_err("There is no option \"%s\": try \"fbuf --help\".",
				 *argv);
			return TOOL_USAGE;
		}
		tool_json = true;
	}
	if (!argc) {
		fputs(help, stderr);
		return TOOL_USAGE;
	}
	return tool_dispatch("", commands, argc, argv);
}

int main(int argc, char **argv)
{
	int ret;

	/* A peer or a pipe that is gone is an error to report. */
	tool_sigpipe = signal(SIGPIPE, SIG_IGN);
	/* What it is for is to be seen only there. */
	fbuf_backend_set(FBUF_BACKEND_MODULE);

	ret = run(argc, argv);
	/* Whatever it was that printed something. */
	if (fflush(stdout) || ferror(stdout)) {
		tool_err("Cannot write the result: %s.", strerror(errno));
		ret = TOOL_FAIL;
	}
	return ret;
}
