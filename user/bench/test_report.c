// SPDX-License-Identifier: GPL-2.0
/* fbuf compare with methods that do it wrong: whether it finds out. TAP out. */

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "../lib/test.h"
#include "compare.h"

#define SIZE	3000
#define SOURCE	(16U << 10)
#define SECONDS	0.01

static ssize_t good_send(struct flow *f, size_t off, size_t len)
{
	return flow_result(write(f->tx, f->mem + off, len));
}

/* What flow_open() wrote, for ever. */
static ssize_t stale_send(struct flow *f, size_t off, size_t len)
{
	size_t at = f->at;

	if (!f->priv) {
		f->priv = malloc(f->source);
		if (!f->priv)
			return -ENOMEM;
		for (f->at = 0; f->at < f->source; f->at += f->stride)
			flow_fill(f, f->at / f->stride);
		f->at = at;
		memcpy(f->priv, f->mem, f->source);
	}
	return flow_result(write(f->tx, (char *)f->priv + off, len));
}

/* What was at this place when the message before was sent. */
static ssize_t late_send(struct flow *f, size_t off, size_t len)
{
	ssize_t n;

	if (!f->priv)
		f->priv = calloc(1, f->source);
	if (!f->priv)
		return -ENOMEM;
	n = flow_result(write(f->tx, (char *)f->priv + off, len));
	memcpy((char *)f->priv + off, f->mem + off, len);
	return n;
}

/* One bit, and not of the first message. */
static ssize_t changed_send(struct flow *f, size_t off, size_t len)
{
	if (f->reported++)
		f->mem[off + len - 1] ^= 1;
	return good_send(f, off, len);
}

/* Right for long enough to pass, once, where one looks at the first only. */
static ssize_t tired_send(struct flow *f, size_t off, size_t len)
{
	if (f->reported++ < 3)
		return good_send(f, off, len);
	return stale_send(f, off, len);
}

/* Data that is right, and after that no end of it. */
static ssize_t stuck_send(struct flow *f, size_t off, size_t len)
{
	return f->reported++ < 2 ? good_send(f, off, len) : -EAGAIN;
}

static void free_priv(struct flow *f)
{
	free(f->priv);
}

static const struct method good = { .name = "good", .send = good_send };
static const struct method bad[] = {
	{ .name = "stale", .send = stale_send, .fini = free_priv },
	{ .name = "late", .send = late_send, .fini = free_priv },
	{ .name = "changed", .send = changed_send },
	{ .name = "tired", .send = tired_send, .fini = free_priv },
};

static struct row measure(const struct method *m, bool stream, size_t source)
{
	struct row r = {
		.method = m, .stream = stream, .size = SIZE, .send = NAN,
		.total = NAN, .min = NAN, .max = NAN, .copied = NAN,
		.gbytes_per_s = NAN, .cpu_s_per_gib = NAN, .calls = NAN,
	};

	source_size = source;
	if (stream)
		measure_stream(&r, 1, 1, SECONDS);
	else
		measure_lockstep(&r, 1);
	return r;
}

/* Whether a report with this row is one that failed. */
static bool report_fails(const struct row *r)
{
	json_t *where = report_where("any");
	json_t *report = json_pack("{s:[o]}", "rows", report_row(r, where));
	bool ret = report_failed(report);

	json_decref(report);
	json_decref(where);
	return ret;
}

static void test_good(bool stream)
{
	size_t source;

	for (source = 0; source <= SOURCE; source += SOURCE) {
		struct row r = measure(&good, stream, source);

		CHECK(r.verified);
		CHECK(r.total > 0);
		CHECK(!r.note[0]);
		CHECK(!report_fails(&r));
	}
}

/* Where messages share one place, and where each has its own. */
static void test_bad(bool stream)
{
	size_t source;
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(bad); i++) {
		for (source = 0; source <= SOURCE; source += SOURCE) {
			struct row r = measure(&bad[i], stream, source);

			if (r.verified)
				printf("# %s, source of %zu\n", bad[i].name,
				       source);
			CHECK(!r.verified);
			CHECK(isnan(r.total));
			CHECK(!strcmp(r.note, "the data arrived changed"));
			CHECK(report_fails(&r));
		}
	}
}

/* It sent right what was verified: it has no figure all the same. */
static void test_unmeasured(bool stream)
{
	const struct method stuck = { .name = "stuck", .send = stuck_send };
	struct row r = measure(&stuck, stream, 0);

	CHECK(r.verified);
	CHECK(isnan(r.total));
	CHECK(r.note[0]);
	CHECK(report_fails(&r));
}

/* What this system does not have is a row less, as any other. */
static void test_unsupported(bool stream)
{
	const struct method none = { .name = "none", .disk = true, .file = true };
	struct row r = measure(&none, stream, 0);

	CHECK(!strncmp(r.note, "unsupported", 11));
	CHECK(report_fails(&r));
}

static const struct {
	const char *method, *receiver;
	double send, total;
	bool verified;
	const char *best, *send_best;	/* that are to be found */
} fakes[] = {
	{ "write", "trunc", 60, 100, true, "vmsplice", "write" },
	{ "vmsplice", "trunc", 70, 90, true, "vmsplice", "write" },
	{ "sendfile", "trunc", 10, 20, false, "vmsplice", "write" },
	{ "write-rewrite", "trunc", 30, 40, true, "write-rewrite",
	  "write-rewrite" },
	{ "fbuf", "trunc", 15, 45, true, "vmsplice", "write" },
	{ "fbuf-secured", "trunc", 5, 10, true, "vmsplice", "write" },
	{ "fbuf-rewrite", "trunc", 20, 30, true, "write-rewrite",
	  "write-rewrite" },
	{ "write+read", "read", 8, 9, true, "write+read", "write+read" },
};

static bool is_text(const json_t *row, const char *key, const char *text)
{
	const char *is = json_string_value(json_object_get(row, key));

	return is && !strcmp(is, text);
}

static double number(const json_t *row, const char *key)
{
	return json_number_value(json_object_get(row, key));
}

/* Stock, verified, of the same kind and the same receiver: the least of these. */
static void test_best(bool stream)
{
	json_t *rows = json_array(), *report = json_pack("{s:o}", "rows", rows);
	json_t *row;
	unsigned int i;

	(void)stream;
	for (i = 0; i < ARRAY_SIZE(fakes); i++) {
		row = json_pack("{s:s, s:s, s:s, s:i, s:f, s:f, s:b}",
				"mode", "lockstep", "method", fakes[i].method,
				"receiver", fakes[i].receiver, "size", 1000,
				"send", fakes[i].send, "total", fakes[i].total,
				"verified", fakes[i].verified);
		json_array_append_new(rows, row);
	}
	report_ratios(report);
	for (i = 0; i < ARRAY_SIZE(fakes); i++) {
		row = json_array_get(rows, i);
		if (fakes[i].verified) {
			CHECK(is_text(row, "best", fakes[i].best));
			CHECK(is_text(row, "send_best", fakes[i].send_best));
		}
	}
	row = json_array_get(rows, 4);
	CHECK(number(row, "ratio_to_best") == 0.5);
	CHECK(number(row, "send_ratio_to_best") == 0.25);
	json_decref(report);
}

/* On a real processor, that is, and where one is emulated at leisure. */
static void test_clock(bool stream)
{
	(void)stream;
	CHECK(clock_choose("instructions") && !clock_start());
	CHECK(!clock_choose("hours"));
	CHECK(clock_choose("nanoseconds") && clock_start());
}

static const struct {
	const char *name;
	void (*run)(bool stream);
	bool stream;
} tests[] = {
	{ "good data passes in lockstep", test_good, false },
	{ "good data passes in stream", test_good, true },
	{ "wrong data is found in lockstep", test_bad, false },
	{ "wrong data is found in stream", test_bad, true },
	{ "a row without a figure fails in lockstep", test_unmeasured, false },
	{ "a row without a figure fails in stream", test_unmeasured, true },
	{ "a row that is unsupported fails", test_unsupported, false },
	{ "the best is of the stock ways", test_best, false },
	{ "nanoseconds are no instructions", test_clock, false },
};

int main(void)
{
	unsigned int i, nr = ARRAY_SIZE(tests);
	bool any = false;

	printf("TAP version 13\n1..%u\n", nr);
	for (i = 0; i < nr; i++) {
		failed = false;
		tests[i].run(tests[i].stream);
		printf("%sok %u compare: %s\n", failed ? "not " : "", i + 1,
		       tests[i].name);
		any |= failed;
	}
	return any;
}
