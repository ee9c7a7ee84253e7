/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The kernel's harness of this name, as far as the tests of the library use it: so
 * that those which need no module need no kernel source either. Each case runs in
 * a process of its own. Arguments are patterns, as the shell's, of the cases to run,
 * or after a '-' of those not to run.
 */
#ifndef FBUF_KSELFTEST_HARNESS_H
#define FBUF_KSELFTEST_HARNESS_H

#include <fnmatch.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "kselftest.h"

#define HARNESS_TIMEOUT	120	/* seconds, for a case */

struct harness_variant {
	struct harness_variant *next;
	const char *name;
	const void *data;
};

struct harness_fixture {
	const char *name;
	struct harness_variant *variants;
};

struct __test_metadata {
	struct __test_metadata *next;
	struct harness_fixture *fixture;	/* or NULL */
	const char *name;
	void (*run)(struct __test_metadata *m, const void *variant);
	bool failed;
	const char *skipped;
};

static struct __test_metadata *harness_tests;

static inline void harness_add_test(struct __test_metadata *m)
{
	struct __test_metadata **at = &harness_tests;

	while (*at)
		at = &(*at)->next;
	*at = m;
}

static inline void harness_add_variant(struct harness_fixture *f,
				       struct harness_variant *v)
{
	struct harness_variant **at = &f->variants;

	while (*at)
		at = &(*at)->next;
	*at = v;
}

static inline bool harness_check(struct __test_metadata *m, bool ok,
				 const char *file, int line, const char *text,
				 long long a, long long b)
{
	if (ok)
		return true;
	printf("# %s:%d:%s:%s (%lld and %lld)\n", file, line, m->name, text,
	       a, b);
	m->failed = true;
	return false;
}

/* After what the test does when a check fails. */
static inline bool harness_bail(bool assert)
{
	if (assert) {
		fflush(stdout);
		_exit(KSFT_FAIL);
	}
	return false;
}

/* Once, what follows, if a check fails. */
#define HARNESS(a, b, op, assert)					\
	for (bool _bad = !({						\
		__typeof__(a) _a = (a);					\
		__typeof__(b) _b = (b);					\
		harness_check(_metadata, _a op _b, __FILE__, __LINE__,	\
			      #a " " #op " " #b, (long long)_a,		\
			      (long long)_b); });			\
	     _bad; _bad = harness_bail(assert))
#define HARNESS_TEXT(a, b, assert)					\
	for (bool _bad = !harness_check(_metadata, !strcmp(a, b), __FILE__, \
					__LINE__, #a " is " #b, 0, 0);	\
	     _bad; _bad = harness_bail(assert))

#define ASSERT_EQ(a, b)		HARNESS(a, b, ==, true)
#define ASSERT_NE(a, b)		HARNESS(a, b, !=, true)
#define ASSERT_LT(a, b)		HARNESS(a, b, <, true)
#define ASSERT_LE(a, b)		HARNESS(a, b, <=, true)
#define ASSERT_GT(a, b)		HARNESS(a, b, >, true)
#define ASSERT_GE(a, b)		HARNESS(a, b, >=, true)
#define ASSERT_TRUE(a)		HARNESS(a, 0, !=, true)
#define ASSERT_FALSE(a)		HARNESS(a, 0, ==, true)
#define ASSERT_STREQ(a, b)	HARNESS_TEXT(a, b, true)
#define EXPECT_EQ(a, b)		HARNESS(a, b, ==, false)
#define EXPECT_NE(a, b)		HARNESS(a, b, !=, false)
#define EXPECT_LT(a, b)		HARNESS(a, b, <, false)
#define EXPECT_LE(a, b)		HARNESS(a, b, <=, false)
#define EXPECT_GT(a, b)		HARNESS(a, b, >, false)
#define EXPECT_GE(a, b)		HARNESS(a, b, >=, false)
#define EXPECT_TRUE(a)		HARNESS(a, 0, !=, false)
#define EXPECT_FALSE(a)		HARNESS(a, 0, ==, false)
#define EXPECT_STREQ(a, b)	HARNESS_TEXT(a, b, false)

#define TH_LOG(fmt, ...)	printf("# " fmt "\n", ##__VA_ARGS__)
#define SKIP(statement, why)						\
	do {								\
		_metadata->skipped = why;				\
		statement;						\
	} while (0)

#define HARNESS_TEST(id, its_fixture, its_name, its_run)		\
	static struct __test_metadata harness_test_##id = {		\
		.fixture = its_fixture, .name = its_name, .run = its_run, \
	};								\
	__attribute__((constructor)) static void harness_init_##id(void) \
	{								\
		harness_add_test(&harness_test_##id);			\
	}

#define TEST(test)							\
	static void test(struct __test_metadata *_metadata);		\
	static void harness_run_##test(struct __test_metadata *m,	\
				       const void *variant)		\
	{								\
		(void)variant;						\
		test(m);						\
	}								\
	HARNESS_TEST(test, NULL, #test, harness_run_##test)		\
	static void test(struct __test_metadata *_metadata)

#define HARNESS_PARAMETERS(fixture)					\
	struct __test_metadata *_metadata,				\
	struct _test_data_##fixture *self,				\
	const struct _fixture_variant_##fixture *variant

#define FIXTURE(fixture)						\
	static struct harness_fixture harness_fixture_##fixture = {	\
		.name = #fixture,					\
	};								\
	struct _fixture_variant_##fixture;				\
	struct _test_data_##fixture

#define FIXTURE_VARIANT(fixture) struct _fixture_variant_##fixture

#define FIXTURE_VARIANT_ADD(fixture, its_name)				\
	static const struct _fixture_variant_##fixture			\
		harness_data_##fixture##_##its_name;			\
	static struct harness_variant					\
		harness_variant_##fixture##_##its_name = {		\
		.name = #its_name,					\
		.data = &harness_data_##fixture##_##its_name,		\
	};								\
	__attribute__((constructor)) static void			\
	harness_init_##fixture##_##its_name(void)			\
	{								\
		harness_add_variant(&harness_fixture_##fixture,		\
				    &harness_variant_##fixture##_##its_name); \
	}								\
	static const struct _fixture_variant_##fixture			\
		harness_data_##fixture##_##its_name =

#define FIXTURE_SETUP(fixture)						\
	static void fixture##_setup(HARNESS_PARAMETERS(fixture))
#define FIXTURE_TEARDOWN(fixture)					\
	static void fixture##_teardown(HARNESS_PARAMETERS(fixture))

#define TEST_F(fixture, test)						\
	static void fixture##_##test(HARNESS_PARAMETERS(fixture));	\
	static void harness_run_##fixture##_##test(			\
		struct __test_metadata *m, const void *variant)		\
	{								\
		struct _test_data_##fixture self;			\
									\
		memset(&self, 0, sizeof(self));				\
		fixture##_setup(m, &self, variant);			\
		if (m->failed || m->skipped)				\
			return;						\
		fixture##_##test(m, &self, variant);			\
		fixture##_teardown(m, &self, variant);			\
	}								\
	HARNESS_TEST(fixture##_##test, &harness_fixture_##fixture, #test, \
		     harness_run_##fixture##_##test)			\
	static void fixture##_##test(HARNESS_PARAMETERS(fixture))

static inline void harness_child(struct __test_metadata *m, const void *variant)
{
	alarm(HARNESS_TIMEOUT);
	m->run(m, variant);
	if (m->skipped)
		printf("# SKIP %s\n", m->skipped);
	fflush(stdout);
	/* As the end of a program: what looks for leaks is to have its say. */
	exit(m->failed ? KSFT_FAIL : m->skipped ? KSFT_SKIP : KSFT_PASS);
}

/* True if it failed. */
static inline bool harness_one(struct __test_metadata *m, const char *name,
			       const void *variant, unsigned int nr)
{
	int status = 0;
	bool skipped;
	pid_t pid;

	fflush(stdout);
	pid = fork();
	if (!pid)
		harness_child(m, variant);
	if (pid < 0 || waitpid(pid, &status, 0) < 0)
		status = 1 << 8;
	if (WIFSIGNALED(status))
		printf("# signal %d\n", WTERMSIG(status));
	skipped = WIFEXITED(status) && WEXITSTATUS(status) == KSFT_SKIP;
	printf("%sok %u %s%s\n", status && !skipped ? "not " : "", nr, name,
	       skipped ? " # SKIP" : "");
	return status && !skipped;
}

static inline bool harness_wanted(int argc, char **argv, const char *name)
{
	bool wanted = argc < 2 || argv[1][0] == '-';
	int i;

	for (i = 1; i < argc; i++) {
		if (argv[i][0] == '-' && !fnmatch(argv[i] + 1, name, 0))
			return false;
		if (!fnmatch(argv[i], name, 0))
			wanted = true;
	}
	return wanted;
}

static inline int test_harness_run(int argc, char **argv)
{
	static struct harness_variant none = { .name = "" };
	struct __test_metadata *m;
	unsigned int nr = 0;
	bool failed = false;

	setlinebuf(stdout);
	ksft_print_header();
	for (m = harness_tests; m; m = m->next) {
		struct harness_variant *v = m->fixture && m->fixture->variants ?
					    m->fixture->variants : &none;

		for (; v; v = v->next) {
			char name[200];

			snprintf(name, sizeof(name), "%s%s%s%s%s",
				 m->fixture ? m->fixture->name : "",
				 m->fixture ? "." : "", v->name,
				 *v->name ? "." : "", m->name);
			if (harness_wanted(argc, argv, name))
				failed |= harness_one(m, name, v->data, ++nr);
		}
	}
	printf("1..%u\n", nr);
	return failed ? KSFT_FAIL : KSFT_PASS;
}

#define TEST_HARNESS_MAIN						\
	int main(int argc, char **argv)					\
	{								\
		return test_harness_run(argc, argv);			\
	}

#endif /* FBUF_KSELFTEST_HARNESS_H */
