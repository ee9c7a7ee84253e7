// SPDX-License-Identifier: GPL-2.0
#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "run_seen.h"
#include "util.h"

void *hidden(void *p)
{
	static __thread void *it;

	__atomic_store_n(&it, p, __ATOMIC_RELAXED);
	return __atomic_load_n(&it, __ATOMIC_RELAXED);
}

/* Few small allocations alone make no pool. */
void begin(void)
{
	free(hidden(malloc(1 << 20)));
}

__u8 *filled(size_t size, unsigned int seed)
{
	__u8 *p;

	begin();
	p = malloc(size);
	if (p)
		pattern_fill(p, seed, 0, size);
	return p;
}

void *resized(void *p, size_t size)
{
	void *new = realloc(p, size);

	if (!new)
		free(p);
	return new;
}

bool comes(int fd, unsigned int seed, size_t pos, size_t len)
{
	__u8 *got = mmap(NULL, len, PROT_READ | PROT_WRITE,
			 MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	bool ret;

	ret = got != MAP_FAILED && read_full(fd, got, len) == (ssize_t)len &&
	      pattern_differs(got, seed, pos, len) < 0;
	if (got != MAP_FAILED)
		munmap(got, len);
	return ret;
}

bool seen_any(void)
{
	const char *to = getenv("FBUF_RUN_STATS");

	return to && strchr(to, '/') && !getenv("RUN_COPIES");
}

/* Of the lines from "name[pid]: sent" on. */
static void parse(char *text, struct seen *seen)
{
	static const char crowded[] = "others keep too much in flight";
	char mine[32], *line;
	unsigned long long n;
	int at = 0;

	snprintf(mine, sizeof(mine), "[%d]: sent ", (int)getpid());
	text = strstr(text, mine);
	if (!text)
		return;
	if (sscanf(text + strlen(mine), "%llu bytes without a copy, by %llu",
		   &seen->bytes, &seen->calls) != 2)
		return;
	for (line = strchr(text, '\n'); line; line = strchr(line + 1, '\n')) {
		if (sscanf(line, "\nfbuf run:   copied %llu bytes: %n", &n,
			   &at) != 1)
			break;
		seen->copied += n;
		if (!strncmp(line + at, crowded, sizeof(crowded) - 1))
			seen->crowded += n;
	}
}

/* It is told by a signal, at the end of the file. */
struct seen seen_now(void)
{
	struct seen seen = { 0 };
	static char text[65536];
	struct stat st;
	ssize_t n;
	int fd;

	if (!seen_any())
		return seen;
	fd = open(getenv("FBUF_RUN_STATS"), O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return seen;
	if (!fstat(fd, &st) && !raise(SIGUSR2)) {
		n = pread(fd, text, sizeof(text) - 1, st.st_size);
		text[n > 0 ? n : 0] = 0;
		parse(text, &seen);
	}
	close(fd);
	return seen;
}

unsigned long long seen_since(const struct seen *was)
{
	return seen_any() ? seen_now().bytes - was->bytes : ULLONG_MAX;
}

int seen_fds(int *fds, int max)
{
	DIR *dir = opendir("/proc/self/fd");
	struct dirent *e;
	char to[256];
	ssize_t n;
	int nr = 0;

	while (dir && (e = readdir(dir)) && nr < max) {
		n = readlinkat(dirfd(dir), e->d_name, to, sizeof(to) - 1);
		if (n <= 0)
			continue;
		to[n] = 0;
		if (strstr(to, "fbuf"))
			fds[nr++] = atoi(e->d_name);
	}
	if (dir)
		closedir(dir);
	return nr;
}
