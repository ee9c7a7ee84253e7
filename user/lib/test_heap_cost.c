// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * What the heap costs where nothing is special: instructions, counted one by one,
 * of the library as programs have it. ioctl() is our own. TAP out.
 */

#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include <unistd.h>

#include <fbuf/heap.h>

#include "test.h"

#define BUF		65536U
#define NR_BUFS		1024U
#define ROUNDS		16U
/* An allocation and its free. */
#define MOST		150U

/* Of both processes. */
static struct {
	bool counts;			/* what runs now counts */
	unsigned int ioctls;		/* while it did */
} *both;

static int fake_batch(const struct fbuf_batch *b, bool alloc)
{
	static unsigned int nr;
	uint64_t *names = (void *)(uintptr_t)b->names;
	unsigned int i;

	for (i = 0; alloc && i < b->count; i++)
		names[i] = FBUF_NAME(nr++, 1);
	return b->count;
}

int ioctl(int fd, unsigned long request, ...)
{
	struct fbuf_info *info;
	va_list ap;
	void *arg;

	(void)fd;
	va_start(ap, request);
	arg = va_arg(ap, void *);
	va_end(ap);
	both->ioctls += both->counts;
	if (request != FBUF_IOC_INFO)
		return fake_batch(arg, request == FBUF_IOC_ALLOC);
	info = arg;
	info->pool_size = (uint64_t)BUF * NR_BUFS;
	info->buf_size = BUF;
	info->nr_bufs = NR_BUFS;
	info->rights = FBUF_RIGHT_READ | FBUF_RIGHT_WRITE;
	info->features = FBUF_FEATURE_NAMED_SEGS;
	return 0;
}

static struct fbuf_heap *make_heap(void)
{
	int fd = memfd_create("pool", 0);
	struct fbuf_pool *pool;
	struct fbuf_heap *heap;

	if (fd < 0 || ftruncate(fd, (off_t)BUF * NR_BUFS) ||
	    fbuf_pool_open(&pool, fd) || fbuf_heap_create(&heap, pool, 0))
		_exit(1);
	return heap;
}

static void alloc_and_free(struct fbuf_heap *heap, size_t size)
{
	fbuf_heap_free(heap, fbuf_heap_alloc(heap, size));
}

/* What is to be measured; not inlined, so that nothing moves out of it. */
static __attribute__((__noinline__)) void rounds(struct fbuf_heap *heap,
						 size_t size)
{
	unsigned int i;

	for (i = 0; i < ROUNDS; i++)
		alloc_and_free(heap, size);
}

static __attribute__((__noreturn__)) void child(size_t size)
{
	struct fbuf_heap *heap = make_heap();

	/* Others too, so that it is not the only size in use. */
	alloc_and_free(heap, 100);
	alloc_and_free(heap, 100000);
	rounds(heap, size);
	if (ptrace(PTRACE_TRACEME, 0, 0, 0) || raise(SIGSTOP))
		_exit(1);
	__atomic_store_n(&both->counts, true, __ATOMIC_SEQ_CST);
	rounds(heap, size);
	__atomic_store_n(&both->counts, false, __ATOMIC_SEQ_CST);
	_exit(0);
}

/* Its instructions while it says so; 0 if it did not come to its end. */
static unsigned long steps(pid_t pid)
{
	unsigned long nr = 0;
	int status;

	for (;;) {
		if (waitpid(pid, &status, 0) != pid)
			return 0;
		if (!WIFSTOPPED(status))
			return WIFEXITED(status) && !WEXITSTATUS(status) ? nr : 0;
		nr += __atomic_load_n(&both->counts, __ATOMIC_SEQ_CST);
		if (ptrace(PTRACE_SINGLESTEP, pid, 0, 0))
			return 0;
	}
}

static void try_size(size_t size)
{
	unsigned long nr;
	pid_t pid;

	both->ioctls = 0;
	both->counts = false;
	fflush(stdout);
	pid = fork();
	if (!pid)
		child(size);
	nr = steps(pid);
	printf("# %zu bytes: %.1f instructions\n", size, (double)nr / ROUNDS);
	/* Less is not possible: then they were not counted. */
	CHECK(nr > 20 * ROUNDS && nr <= MOST * ROUNDS);
	CHECK(!both->ioctls);
}

static void test_cost(void)
{
	static const size_t sizes[] = {
		16, 1000, 4096, 16384, 32768, 40000, 65536, 262144
	};
	unsigned int i;

	for (i = 0; i < sizeof(sizes) / sizeof(*sizes); i++)
		try_size(sizes[i]);
}

static const struct test tests[] = {
	{ "heap: alloc and free are 150 instructions", test_cost },
};

int main(void)
{
	both = mmap(NULL, sizeof(*both), PROT_READ | PROT_WRITE,
		    MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (both == MAP_FAILED) {
		printf("Bail out! No memory.\n");
		return 1;
	}
	return run_tests(tests, sizeof(tests) / sizeof(*tests));
}
