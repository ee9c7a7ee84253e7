// SPDX-License-Identifier: GPL-2.0
/*
 * load FILE N: loads the module with its first allocation failing, then its
 * second, and so on, until none does; what fails must be ENOMEM (EFAULT of its
 * arguments) and leave nothing, and what does not must unload. Then loads and
 * unloads it N times.
 */
#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#define MODULE	"fbuf"

static int nth_fd;

static void nth_set(unsigned int n)
{
	if (dprintf(nth_fd, "%u", n) < 0 && n)
		err(1, "fail-nth");
}

/* To read it may be the copy that fails: then the fault was still to come. */
static bool nth_taken(void)
{
	char c;
	bool taken = pread(nth_fd, &c, 1, 0) == 1 && c == '0';

	if (!taken)
		nth_set(0);
	return taken;
}

static void take_out(void)
{
	int tries = 200;

	while (syscall(SYS_delete_module, MODULE, O_NONBLOCK)) {
		if (errno != EAGAIN && errno != EBUSY)
			err(1, "unload");
		if (!--tries)
			errx(1, "the module does not unload");
		usleep(10000);
	}
}

/* Returns an errno value. */
static int load(const char *path, unsigned int n, bool *taken)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC), ret;

	if (fd < 0)
		err(1, "%s", path);
	nth_set(n);
	ret = syscall(SYS_finit_module, fd, "", 0) ? errno : 0;
	*taken = nth_taken();
	close(fd);
	return ret;
}

/* Whether there is more to try. */
static bool load_with(const char *path, unsigned int n)
{
	bool taken, there;
	int ret = load(path, n, &taken);

	there = !access("/sys/module/" MODULE, F_OK);
	if (taken)
		printf("load %u=%s\n", n, ret ? strerrorname_np(ret) :
		       "survived");
	if (ret && ((ret != ENOMEM && ret != EFAULT) || !taken))
		printf("WRONG load n=%u: it failed with %s\n", n,
		       strerrorname_np(ret));
	if (!ret != there)
		printf("WRONG load n=%u: %s, and the module is %s\n", n,
		       ret ? "it failed" : "it did not fail",
		       there ? "there" : "not there");
	if (there)
		take_out();
	return taken;
}

int main(int argc, char **argv)
{
	unsigned int n, rounds;
	bool taken;

	if (argc != 3)
		errx(2, "usage: load FILE N");
	nth_fd = open("/proc/thread-self/fail-nth", O_RDWR | O_CLOEXEC);
	if (nth_fd < 0)
		err(1, "this kernel injects no faults");
	take_out();
	for (n = 1; load_with(argv[1], n); n++)
		;
	rounds = atoi(argv[2]);
	for (n = 0; n < rounds; n++) {
		if (load(argv[1], 0, &taken))
			err(1, "load, round %u", n);
		take_out();
	}
	printf("rounds %u\n", rounds);
	return load(argv[1], 0, &taken) ? 1 : 0;
}
