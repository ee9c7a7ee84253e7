// SPDX-License-Identifier: GPL-2.0
/* fbuf pool: what the kernel says of a pool. */

#include <errno.h>
#include <getopt.h>
#include <limits.h>
#include <pwd.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <jansson.h>

#include "tool.h"

static const char help[] =
"Usage: fbuf pool [OPTIONS]\n"
"\n"
"Make a pool, show what the kernel says of it, and drop it.\n"
"\n"
"  -b, --buf-size SIZE   bytes in a buffer, a power of two (default 256K)\n"
"  -n, --buffers N       buffers (default 16)\n"
"      --fd N            show the pool that file descriptor N is instead\n"
"  -j, --json            as JSON\n"
"  -h, --help            print this\n"
"\n"
"SIZE takes a suffix K, M or G.\n";

struct options {
	uint64_t buf_size;
	uint64_t nr_bufs;
	int fd;
};

static void print_json(const struct fbuf_info *i)
{
	json_t *j = json_object();

	json_object_set_new(j, "id", json_integer(i->id));
	json_object_set_new(j, "pool_size", json_integer(i->pool_size));
	json_object_set_new(j, "buf_size", json_integer(i->buf_size));
	json_object_set_new(j, "nr_bufs", json_integer(i->nr_bufs));
	json_object_set_new(j, "nr_held", json_integer(i->nr_held));
	json_object_set_new(j, "nr_in_flight", json_integer(i->nr_in_flight));
	json_object_set_new(j, "nr_split", json_integer(i->nr_split));
	json_object_set_new(j, "node", json_integer(i->node));
	json_object_set_new(j, "uid", json_integer(i->uid));
	json_object_set_new(j, "sends", json_integer(i->sends));
	json_object_set_new(j, "bytes", json_integer(i->bytes));
	json_object_set_new(j, "copied", json_integer(i->copied));
	json_object_set_new(j, "allocs", json_integer(i->allocs));
	tool_print_json(stdout, j);
}

static void print_text(const struct fbuf_info *i)
{
	char pool[FMT_BYTES_MAX], buf[FMT_BYTES_MAX];
	char sent[FMT_BYTES_MAX], copied[FMT_BYTES_MAX];
	struct passwd *pw = getpwuid(i->uid);

	printf("pool %llu: %s, %u buffers of %s\n", i->id,
	       fmt_bytes(pool, i->pool_size), i->nr_bufs,
	       fmt_bytes(buf, i->buf_size));
	printf("  charged to   uid %u (%s)\n", i->uid,
	       pw ? pw->pw_name : "unnamed");
	if (i->node < 0)
		printf("  NUMA node    any\n");
	else
		printf("  NUMA node    %d\n", i->node);
	printf("  held         %u\n", i->nr_held);
	printf("  in flight    %u\n", i->nr_in_flight);
	printf("  split        %u\n", i->nr_split);
	printf("  handed out   %llu\n", i->allocs);
	printf("  sent         %llu gathers, %s, of which copied %s\n",
	       i->sends, fmt_bytes(sent, i->bytes),
	       fmt_bytes(copied, i->copied));
}

static int parse(int argc, char **argv, struct options *opt)
{
	enum { OPT_FD = 256 };
	static const struct option longs[] = {
		{ "buf-size", required_argument, NULL, 'b' },
		{ "buffers", required_argument, NULL, 'n' },
		{ "fd", required_argument, NULL, OPT_FD },
		{ "json", no_argument, NULL, 'j' },
		{ "help", no_argument, NULL, 'h' },
		{ 0 }
	};
	uint64_t fd;
	int c;

	while ((c = getopt_long(argc, argv, "b:n:jh", longs, NULL)) != -1) {
		switch (c) {
		case 'b':
			if (!tool_buf_size(optarg, &opt->buf_size))
				return TOOL_USAGE;
			break;
		case 'n':
			if (!tool_nr_bufs(optarg, &opt->nr_bufs))
				return TOOL_USAGE;
			break;
		case OPT_FD:
			if (!tool_size("A file descriptor", optarg, 0, INT_MAX,
				       &fd))
				return TOOL_USAGE;
			opt->fd = fd;
			break;
		case 'j':
			tool_json = true;
			break;
		case 'h':
			fputs(help, stdout);
			return -1;
		default:
			return TOOL_USAGE;
		}
	}
	if (argc > optind)
		return tool_usage("pool", "\"%s\" is one argument too many.",
				  argv[optind]);
	return TOOL_OK;
}

static bool inherited_info(int fd, struct fbuf_info *info)
{
	*info = (struct fbuf_info){ .size = sizeof(*info) };
	/* Not through the library, which would map the pool. */
	if (ioctl(fd, FBUF_IOC_INFO, info) == 0)
		return true;
	if (errno == ENOTTY)
		tool_err("File descriptor %d is not a pool.", fd);
	else if (errno == EBADF)
		tool_err("There is no file descriptor %d: the shell must pass one on, as in \"fbuf pool --fd 3 3<&POOL\".",
			 fd);
	else
		tool_err("Cannot ask pool fd %d: %s.", fd, strerror(errno));
	return false;
}

static bool fresh_info(const struct options *opt, struct fbuf_info *info)
{
	struct fbuf_pool *pool;
	int ret;

	if (tool_pool_create(&pool, opt->buf_size, opt->nr_bufs) < 0)
		return false;
	ret = fbuf_pool_info(pool, info);
	if (ret < 0)
		tool_err("Cannot ask the pool: %s.", strerror(-ret));
	fbuf_pool_close(pool);
	return ret >= 0;
}

int cmd_pool(int argc, char **argv)
{
	struct options opt = {
		.buf_size = TOOL_BUF_SIZE,
		.nr_bufs = TOOL_NR_BUFS,
		.fd = -1,
	};
	struct fbuf_info info;
	int ret = parse(argc, argv, &opt);

	if (ret)
		return ret < 0 ? TOOL_OK : ret;
	if (opt.fd >= 0 ? !inherited_info(opt.fd, &info) :
			  !fresh_info(&opt, &info))
		return TOOL_FAIL;

	if (tool_json)
		print_json(&info);
	else
		print_text(&info);
	return TOOL_OK;
}
