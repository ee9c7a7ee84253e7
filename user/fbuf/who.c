// SPDX-License-Identifier: GPL-2.0
/* Which processes have a pool open, or a socket; by what /proc tells. */

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <linux/kcmp.h>

#include "who.h"

#define POOL_LINK	"anon_inode:[fbuf]"
#define PATH_ROOM	WHO_LINK_MAX
#define DIR_ROOM	40	/* "/proc/PID/task/TID" */
#define KTHREAD		0x00200000	/* the kernel's PF_KTHREAD */

/* What is looked for, and the process that is looked at. */
struct look {
	struct who who;
	uint64_t pool;
	char sock_link[PATH_ROOM];
	struct who_fd now;
};

static void no_memory(void)
{
	tool_err("No memory.");
	exit(TOOL_FAIL);
}

/* The link's text; false if there is none to be had. */
static bool link_text(const char *path, char text[PATH_ROOM])
{
	ssize_t len = readlink(path, text, PATH_ROOM - 1);

	if (len < 0)
		return false;
	memset(text + len, 0, PATH_ROOM - len);
	return true;
}

/* A process chooses its name, and may choose to confuse. */
static void read_command(struct who_fd *now)
{
	char path[PATH_ROOM], *c;
	FILE *f;

	snprintf(now->command, sizeof(now->command), "?");
	snprintf(path, sizeof(path), "/proc/%d/comm", now->pid);
	f = fopen(path, "re");
	if (!f)
		return;
	if (fgets(now->command, sizeof(now->command), f))
		now->command[strcspn(now->command, "\n")] = '\0';
	fclose(f);
	for (c = now->command; *c; c++) {
		if (!isascii((unsigned char)*c) || !isprint((unsigned char)*c))
			*c = '?';
	}
}

/* Threads of the kernel have no files, and are not to be looked into. */
static bool is_kernel(pid_t pid)
{
	char path[PATH_ROOM], line[512], *end = NULL;
	unsigned int flags = 0;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%d/stat", pid);
	f = fopen(path, "re");
	if (!f)
		return false;
	if (fgets(line, sizeof(line), f))
		end = strrchr(line, ')');
	fclose(f);
	return end && sscanf(end, ") %*c %*d %*d %*d %*d %*d %u", &flags) == 1 &&
	       flags & KTHREAD;
}

/* Of another thread that shares a table of files with one that was looked at. */
static bool is_known(const struct who *w, const struct who_fd *now)
{
	size_t i;

	for (i = w->nr_fds; i && w->fds[i - 1].pid == now->pid; i--) {
		const struct who_fd *f = &w->fds[i - 1];

		if (f->fd == now->fd && f->pool == now->pool &&
		    f->handle == now->handle)
			return true;
	}
	return false;
}

static void add_fd(struct look *l, int fd, uint64_t pool, uint32_t handle)
{
	struct who *w = &l->who;
	struct who_fd *fds;

	l->now.fd = fd;
	l->now.pool = pool;
	l->now.handle = handle;
	if (is_known(w, &l->now))
		return;
	if (!*l->now.command)
		read_command(&l->now);
	fds = realloc(w->fds, (w->nr_fds + 1) * sizeof(*fds));
	if (!fds)
		no_memory();
	fds[w->nr_fds++] = l->now;
	w->fds = fds;
}

/* False if the fd, which is a pool, does not tell which one. */
static bool look_at_pool(struct look *l, const char *of, int fd)
{
	unsigned long long pool = 0;
	unsigned int handle = 0;
	char path[PATH_ROOM], line[128];
	int seen = 0;
	FILE *f;

	snprintf(path, sizeof(path), "%s/fdinfo/%d", of, fd);
	f = fopen(path, "re");
	if (!f)
		return errno == ENOENT;
	while (fgets(line, sizeof(line), f)) {
		seen += sscanf(line, "fbuf-pool: %llu", &pool) == 1;
		seen += sscanf(line, "fbuf-handle: %u", &handle) == 1;
	}
	fclose(f);
	if (seen == 2 && (pool == l->pool || l->pool == WHO_ALL))
		add_fd(l, fd, pool, handle);
	return seen == 2;
}

/* False if it could not be looked at; not so if it was closed meanwhile. */
static bool look_at_fd(struct look *l, const char *of, const char *name)
{
	char path[PATH_ROOM], text[PATH_ROOM];
	int fd = atoi(name);

	snprintf(path, sizeof(path), "%s/fd/%d", of, fd);
	if (!link_text(path, text))
		return errno == ENOENT;
	if (l->pool && !strcmp(text, POOL_LINK))
		return look_at_pool(l, of, fd);
	if (!strcmp(text, l->sock_link))
		add_fd(l, fd, 0, 0);
	return true;
}

static void look_at_net(struct look *l)
{
	char path[PATH_ROOM], text[PATH_ROOM];
	struct who *w = &l->who;
	struct who_net *nets;
	size_t i;

	snprintf(path, sizeof(path), "/proc/%d/ns/net", l->now.pid);
	if (!link_text(path, text))
		return;
	for (i = 0; i < w->nr_nets; i++) {
		if (!strcmp(text, w->nets[i].link))
			return;
	}
	nets = realloc(w->nets, (w->nr_nets + 1) * sizeof(*nets));
	if (!nets)
		no_memory();
	memcpy(nets[w->nr_nets].link, text, PATH_ROOM);
	nets[w->nr_nets++].pid = l->now.pid;
	w->nets = nets;
}

/* The files of a process, or of a thread, in /proc: were they all to be seen? */
static bool look_at_files(struct look *l, const char *of)
{
	const struct dirent *entry;
	char path[PATH_ROOM];
	bool seen = true;
	DIR *dir;

	snprintf(path, sizeof(path), "%s/fd", of);
	dir = opendir(path);
	if (!dir)
		return errno == ENOENT || is_kernel(l->now.pid);
	while ((entry = readdir(dir))) {
		if (isdigit((unsigned char)*entry->d_name))
			seen &= look_at_fd(l, of, entry->d_name);
	}
	closedir(dir);
	return seen;
}

/* Threads may have files of their own, and are there when the first one has ended. */
static bool look_at_threads(struct look *l)
{
	const struct dirent *entry;
	char path[DIR_ROOM];
	bool seen = true;
	DIR *dir;
	pid_t tid;

	snprintf(path, sizeof(path), "/proc/%d/task", l->now.pid);
	dir = opendir(path);
	while (dir && (entry = readdir(dir))) {
		tid = atoi(entry->d_name);
		if (tid <= 0 || tid == l->now.pid ||
		    !syscall(SYS_kcmp, l->now.pid, tid, KCMP_FILES, 0, 0))
			continue;
		snprintf(path, sizeof(path), "/proc/%d/task/%d", l->now.pid,
			 tid);
		seen &= look_at_files(l, path);
	}
	if (dir)
		closedir(dir);
	return seen;
}

static void look_at_process(struct look *l, pid_t pid)
{
	char path[DIR_ROOM];

	l->now = (struct who_fd){ .pid = pid };
	look_at_net(l);
	snprintf(path, sizeof(path), "/proc/%d", pid);
	if (!look_at_files(l, path) || !look_at_threads(l))
		l->who.unseen++;
}

void who_look(struct who *w, uint64_t pool, uint64_t sock)
{
	struct look l = { .pool = pool };
	const struct dirent *entry;
	DIR *dir = opendir("/proc");

	*w = (struct who){ .blind = !dir };
	if (!dir)
		return;
	if (sock)
		snprintf(l.sock_link, sizeof(l.sock_link), "socket:[%llu]",
			 (unsigned long long)sock);
	while ((entry = readdir(dir))) {
		if (isdigit((unsigned char)*entry->d_name))
			look_at_process(&l, atoi(entry->d_name));
	}
	closedir(dir);
	*w = l.who;
}

void who_end(struct who *w)
{
	free(w->fds);
	free(w->nets);
}

/* The next descriptor that is one of it, from *at on, which goes behind it. */
static const struct who_fd *next(const struct who *w, uint64_t pool,
				 uint32_t handle, size_t *at)
{
	for (; *at < w->nr_fds; ++*at) {
		if (w->fds[*at].pool == pool &&
		    (w->fds[*at].handle == handle || handle == WHO_ANY))
			return &w->fds[(*at)++];
	}
	return NULL;
}

json_t *who_json(const struct who *w, uint64_t pool, uint32_t handle)
{
	json_t *list = json_array(), *j = NULL, *fds = NULL;
	const struct who_fd *f;
	size_t at = 0;
	pid_t pid = 0;

	while ((f = next(w, pool, handle, &at))) {
		if (f->pid != pid) {
			j = json_object();
			fds = json_array();
			json_object_set_new(j, "pid", json_integer(f->pid));
			json_object_set_new(j, "command",
					    json_string(f->command));
			json_object_set_new(j, "fds", fds);
			json_array_append_new(list, j);
			pid = f->pid;
		}
		json_array_append_new(fds, json_integer(f->fd));
	}
	return list;
}

unsigned int who_print(const struct who *w, uint64_t pool, uint32_t handle,
		       int indent)
{
	const struct who_fd *f;
	unsigned int nr = 0;
	size_t at = 0;
	pid_t pid = 0;

	while ((f = next(w, pool, handle, &at))) {
		if (f->pid == pid) {
			printf(", %d", f->fd);
			continue;
		}
		printf("%s%*spid %d (%s), fd %d", nr++ ? "\n" : "", indent, "",
		       f->pid, f->command, f->fd);
		pid = f->pid;
	}
	if (nr)
		putchar('\n');
	return nr;
}

const char *who_brief(char text[WHO_BRIEF_MAX], const struct who *w,
		      uint64_t pool)
{
	const struct who_fd *f;
	size_t at = 0, len = 0;
	unsigned int more = 0;
	pid_t pid = 0;

	while ((f = next(w, pool, WHO_ANY, &at))) {
		if (f->pid == pid)
			continue;
		pid = f->pid;
		/* The room that is left must do for how many there are more. */
		if (more || len > WHO_BRIEF_MAX - WHO_COMMAND_MAX - 32)
			more++;
		else
			len += snprintf(text + len, WHO_BRIEF_MAX - len,
					"%s%s %d", len ? ", " : "", f->command,
					pid);
	}
	if (more)
		snprintf(text + len, WHO_BRIEF_MAX - len, ", %u more", more);
	else if (!len)
		snprintf(text, WHO_BRIEF_MAX, "-");
	return text;
}
