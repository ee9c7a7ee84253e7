// SPDX-License-Identifier: GPL-2.0
/*
 * The commands that ask the kernel of pools: the first byte says which one, the
 * others are what ioctl() and netlink say.
 */

#include "fake.h"

#define ARGS_MAX	4

static char *commands[][ARGS_MAX] = {
	{ "pool" },
	{ "-j", "pool" },
	{ "pool", "show", "1" },
	{ "pool", "show", "1", "-j" },
	{ "pool", "show", "--fd", "3" },
	{ "pool", "show", "--fd=3", "-j" },
	{ "pool", "watch", "-n9" },
	{ "pool", "watch", "-j", "1" },
	{ "pool", "make" },
	{ "stat" },
	{ "stat", "1" },
	{ "stat", "-j", "-a" },
	{ "stat", "-i1", "-n3" },
	{ "stat", "-a", "-i.5", "-jn3" },
	{ "top", "-n2" },
	{ "top", "-n2", "-j" },
	{ "limit" },
	{ "limit", "-j" },
	{ "limit", "set", "--pool", "1G" },
	{ "limit", "set", "--uid=5", "--user=default" },
};

int fuzz_one(const uint8_t *data, size_t size)
{
	const size_t nr = sizeof(commands) / sizeof(*commands);
	char **argv;
	int argc;

	if (!size)
		return 0;
	argv = commands[*data % nr];
	for (argc = 0; argc < ARGS_MAX && argv[argc]; argc++)
		;
	fake_start(data + 1, size - 1);
	fake_command(argc, argv);
	return 0;
}
