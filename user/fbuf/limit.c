// SPDX-License-Identifier: GPL-2.0
/* fbuf limit: how large pools, and all pools of a user, may be. */

#include <getopt.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "nl.h"

static const char help[] =
"Usage: fbuf limit [OPTIONS]\n"
"       fbuf limit set [--pool SIZE] [--user SIZE] [--cgroup-alone yes|no]\n"
"       fbuf limit set --uid USER --user SIZE\n"
"\n"
"Show the limits, and what is charged to each user; or set them, as root. They\n"
"are for everybody, root too, and hold until the module is unloaded. What is\n"
"charged already stays.\n"
"\n"
"  -j, --json   as JSON\n"
"  -h, --help   print this, or after \"set\" what it takes\n";

static const char set_help[] =
"Usage: fbuf limit set [--pool SIZE] [--user SIZE] [--cgroup-alone yes|no]\n"
"       fbuf limit set --uid USER --user SIZE\n"
"\n"
"      --pool SIZE   how large a pool may be\n"
"      --user SIZE   how large all pools of one user may be\n"
"      --uid USER    of this user only, by name or number, whatever it is for\n"
"                    others; \"--user default\" takes that away\n"
"      --cgroup-alone yes|no\n"
"                    is a memory cgroup with a limit that root has set enough\n"
"                    for pools made there, so that they do not count as locked\n"
"                    memory (RLIMIT_MEMLOCK)? No, by default\n"
"  -j, --json        has no effect: nothing is printed\n"
"  -h, --help        print this\n"
"\n"
"SIZE takes a suffix K, M or G; \"none\" or 0 is no limit.\n";

static const char *fmt_limit(char buf[FMT_BYTES_MAX], uint64_t limit)
{
	return limit ? fmt_bytes(buf, limit) : "none";
}

static void print_json(const struct ctl_limit *all,
		       const struct ctl_limit *users, size_t nr)
{
	json_t *j = ctl_json(&ctl_limits, all), *list = json_array();
	size_t i;

	json_object_del(j, "own");
	for (i = 0; i < nr; i++)
		json_array_append_new(list, ctl_json(&ctl_limits, &users[i]));
	json_object_set_new(j, "users", list);
	tool_print_json(stdout, j);
}

static void print_text(const struct ctl_limit *all,
		       const struct ctl_limit *users, size_t nr)
{
	static const char * const heads[] = {
		"USER", "CHARGED", "POOLS", "LIMIT", "OWN", NULL
	};
	char bytes[FMT_BYTES_MAX], user[FMT_USER_MAX];
	struct tool_table t = { .left = 1U << 0 | 1U << 4 };
	size_t i;

	printf("one pool   %s\n", fmt_limit(bytes, all->pool_max));
	printf("one user   %s\n", fmt_limit(bytes, all->user_max));
	if (all->seen & CTL_SEEN(FBUF_A_LIMIT_CGROUP_ALONE))
		printf("memory cgroups of root are %s\n", all->cgroup_alone ?
		       "enough, without RLIMIT_MEMLOCK" :
		       "not enough: RLIMIT_MEMLOCK counts as well");
	if (!nr)
		return;
	putchar('\n');
	table_heads(&t, heads);
	for (i = 0; i < nr; i++) {
		const struct ctl_limit *u = &users[i];

		table_cell(&t, "%s", fmt_user(user, u->uid));
		table_cell(&t, "%s", fmt_bytes(bytes, u->charged));
		table_cell(&t, "%u", u->pools);
		table_cell(&t, "%s", fmt_limit(bytes, u->user_max));
		table_cell(&t, "%s", u->own ? "yes" : "no");
	}
	table_print(&t, SIZE_MAX);
}

static int show(struct ctl *c)
{
	struct ctl_limit all = { }, *users;
	ssize_t nr;

	nr = ctl_get(c, &ctl_limits, &all);
	if (nr)
		return ctl_fail(c, "read the limits", nr);
	nr = ctl_list(c, &ctl_limits, (void **)&users);
	if (nr < 0)
		return ctl_fail(c, "read the limits", nr);
	if (tool_json)
		print_json(&all, users, nr);
	else
		print_text(&all, users, nr);
	free(users);
	return TOOL_OK;
}

static bool parse_limit(const char *what, const char *text, uint64_t *val)
{
	*val = 0;
	return !strcmp(text, "none") ||
	       tool_size(what, text, 0, UINT64_MAX, val);
}

static bool parse_user(const char *text, uint32_t *uid)
{
	const struct passwd *pw = getpwnam(text);
	uint64_t val;

	if (pw) {
		*uid = pw->pw_uid;
		return true;
	}
	if (text[strspn(text, "0123456789")] || !*text) {
		tool_err("There is no user \"%s\".", text);
		return false;
	}
	if (!tool_size("A user's number", text, 0, UINT32_MAX - 1, &val))
		return false;
	*uid = val;
	return true;
}

static bool parse_yes_no(const char *text, uint32_t *val)
{
	*val = !strcmp(text, "yes");
	if (*val || !strcmp(text, "no"))
		return true;
	tool_err("--cgroup-alone takes \"yes\" or \"no\", not \"%s\".", text);
	return false;
}

static int check_set(const struct ctl_limit *l)
{
	bool user = l->seen & CTL_SEEN(FBUF_A_LIMIT_USER_MAX);

	if (l->seen & CTL_SEEN(FBUF_A_LIMIT_UID)) {
		if (!user && !l->own)
			return tool_usage("limit set", "--uid goes with --user.");
	} else if (l->own) {
		return tool_usage("limit set", "\"--user default\" goes with --uid.");
	} else if (!l->seen) {
		return tool_usage("limit set", "It takes --pool, --user or --cgroup-alone.");
	}
	return TOOL_OK;
}

static int parse_set(int argc, char **argv, struct ctl_limit *l)
{
	enum { OPT_POOL = 256, OPT_USER, OPT_UID, OPT_CGROUP_ALONE };
	static const struct option longs[] = {
		{ "pool", required_argument, NULL, OPT_POOL },
		{ "user", required_argument, NULL, OPT_USER },
		{ "uid", required_argument, NULL, OPT_UID },
		{ "cgroup-alone", required_argument, NULL, OPT_CGROUP_ALONE },
		TOOL_LONG_JSON,
		TOOL_LONG_HELP,
		{ 0 }
	};
	int c, ret;

	while ((c = tool_getopt(argc, argv, "jh", longs)) != -1) {
		switch (c) {
		case OPT_POOL:
			if (!parse_limit("The limit of a pool", optarg,
					 &l->pool_max))
				return TOOL_USAGE;
			l->seen |= CTL_SEEN(FBUF_A_LIMIT_POOL_MAX);
			break;
		case OPT_USER:
			l->own = !strcmp(optarg, "default");
			if (!l->own && !parse_limit("The limit of a user",
						    optarg, &l->user_max))
				return TOOL_USAGE;
			l->seen &= ~(CTL_SEEN(FBUF_A_LIMIT_OWN) |
				     CTL_SEEN(FBUF_A_LIMIT_USER_MAX));
			l->seen |= l->own ? CTL_SEEN(FBUF_A_LIMIT_OWN) :
					    CTL_SEEN(FBUF_A_LIMIT_USER_MAX);
			break;
		case OPT_UID:
			if (!parse_user(optarg, &l->uid))
				return TOOL_USAGE;
			l->seen |= CTL_SEEN(FBUF_A_LIMIT_UID);
			break;
		case OPT_CGROUP_ALONE:
			if (!parse_yes_no(optarg, &l->cgroup_alone))
				return TOOL_USAGE;
			l->seen |= CTL_SEEN(FBUF_A_LIMIT_CGROUP_ALONE);
			break;
		default:
			ret = tool_option(c, set_help);
			if (ret)
				return ret;
		}
	}
	ret = tool_no_args("limit set", argc, argv);
	return ret ? ret : check_set(l);
}

static int cmd_limit_set(int argc, char **argv)
{
	struct ctl_limit limit = { };
	struct ctl *c;
	int ret = parse_set(argc, argv, &limit);

	if (ret)
		return ret < 0 ? TOOL_OK : ret;
	c = ctl_open(false);
	if (!c)
		return TOOL_FAIL;
	ret = ctl_limit_set(c, &limit);
	if (ret)
		ret = ctl_fail(c, "set limits", ret);
	ctl_close(c);
	return ret;
}

static int cmd_limit_show(int argc, char **argv)
{
	struct ctl *c;
	int ret = tool_options(argc, argv, help);

	if (!ret)
		ret = tool_no_args("limit", argc, argv);
	if (ret)
		return ret < 0 ? TOOL_OK : ret;
	c = ctl_open(false);
	if (!c)
		return TOOL_FAIL;
	ret = show(c);
	ctl_close(c);
	return ret;
}

int cmd_limit(int argc, char **argv)
{
	static const struct tool_command commands[] = {
		{ "show", cmd_limit_show },
		{ "set", cmd_limit_set },
		{ }
	};

	if (argc > 1 && !strcmp(argv[1], "help")) {
		fputs(help, stdout);
		return TOOL_OK;
	}
	if (argc == 1 || *argv[1] == '-')
		return cmd_limit_show(argc, argv);
	return tool_dispatch("limit", commands, argc - 1, argv + 1);
}
