// SPDX-License-Identifier: GPL-2.0
/* Messages, options, numbers and hashes for the sub-commands. */

#include <ctype.h>
#include <errno.h>
#include <getopt.h>
#include <pwd.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <openssl/evp.h>

#include "tool.h"

bool tool_json;
void (*tool_sigpipe)(int sig) = SIG_DFL;

/* "pool list": the command that runs. */
static char command_name[32];

static void __printf(1, 0) message(const char *fmt, va_list ap)
{
	fputs("fbuf: ", stderr);
	vfprintf(stderr, fmt, ap);
	fputc('\n', stderr);
}

void tool_err(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	message(fmt, ap);
	va_end(ap);
}

int tool_usage(const char *command, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	message(fmt, ap);
	va_end(ap);
	fprintf(stderr, "Try \"fbuf %s --help\".\n", command);
	return TOOL_USAGE;
}

/* A longer word that starts with this one, as in ip(8). */
static bool is_brief(const char *word, const struct tool_command *c)
{
	return *word && !strncmp(c->name, word, strlen(word));
}

static int no_command(const char *prefix, const char *word,
		      const struct tool_command *commands)
{
	const char *sep = *prefix ? " " : "";
	char list[128] = "";
	size_t len = 0;

	for (; commands->name; commands++) {
		if (is_brief(word, commands) && len < sizeof(list))
			len += snprintf(list + len, sizeof(list) - len, "%s%s",
					len ? ", " : "", commands->name);
	}
	if (len)
		tool_err("\"%s%s%s\" can be several commands: %s.", prefix, sep,
			 word, list);
	else
		tool_err("There is no command \"%s%s%s\": try \"fbuf %s%s--help\".",
			 prefix, sep, word, prefix, sep);
	return TOOL_USAGE;
}

/* The command that is meant; NULL for none, or for several. */
static const struct tool_command *
find_command(const struct tool_command *commands, const char *word)
{
	const struct tool_command *found = NULL, *c;

	for (c = commands; c->name; c++) {
		if (!strcmp(word, c->name))
			return c;
	}
	for (c = commands; c->name; c++) {
		if (!is_brief(word, c))
			continue;
		/* Two names of one command are not in each other's way. */
		if (found && found->run != c->run)
			return NULL;
		if (!found)
			found = c;
	}
	return found;
}

int tool_dispatch(const char *prefix, const struct tool_command *commands,
		  int argc, char **argv)
{
	const struct tool_command *c = find_command(commands, argv[0]);

	if (!c)
		return no_command(prefix, argv[0], commands);
	snprintf(command_name, sizeof(command_name), "%s%s%s", prefix,
		 *prefix ? " " : "", c->name);
	return c->run(argc, argv);
}

/* The options that the word can be: how many there are, and one of them. */
static unsigned int long_options(const char *word, const struct option *longs,
				 const struct option **one)
{
	size_t len = strcspn(word, "=");
	unsigned int nr = 0;

	for (; longs->name; longs++) {
		if (strncmp(longs->name, word, len))
			continue;
		*one = longs;
		if (!longs->name[len])
			return 1;
		nr++;
	}
	return nr;
}

/*
 * What getopt_long() did not like: ':' is an argument that is not there. Before
 * optind is the word, or if it is not yet through with one, that before it.
 */
static void bad_option(int c, const char *word, const struct option *longs)
{
	const struct option *one = NULL;
	unsigned int nr = 0;

	if (!strncmp(word, "--", 2))
		nr = long_options(word + 2, longs, &one);
	if (optopt && (!nr || one->val != optopt))
		tool_usage(command_name, c == ':' ?
			   "The option \"-%c\" takes an argument." :
			   "There is no option \"-%c\".", optopt);
	else if (!nr)
		tool_usage(command_name, "There is no option \"%s\".", word);
	else if (!optopt)
		tool_usage(command_name, "\"%s\" can be several options.",
			   word);
	else
		tool_usage(command_name,
			   "The option \"--%s\" takes %s argument.", one->name,
			   c == ':' ? "an" : "no");
}

int tool_getopt(int argc, char **argv, const char *shorts,
		const struct option *longs)
{
	char with_colon[64];
	int c;

	/*
	 * The colon: tell what lacks its argument from what is unknown. A plus
	 * goes before it: the first word that is no option ends them.
	 */
	snprintf(with_colon, sizeof(with_colon), "%s:%s",
		 *shorts == '+' ? "+" : "", shorts + (*shorts == '+'));
	opterr = 0;
	c = getopt_long(argc, argv, with_colon, longs, NULL);
	if (c != '?' && c != ':')
		return c;
	bad_option(c, argv[optind - 1], longs);
	return '?';
}

int tool_option(int c, const char *help)
{
	if (c == 'j') {
		tool_json = true;
		return TOOL_OK;
	}
	if (c == 'h') {
		fputs(help, stdout);
		return -1;
	}
	return TOOL_USAGE;
}

int tool_options(int argc, char **argv, const char *help)
{
	static const struct option longs[] = {
		TOOL_LONG_JSON,
		TOOL_LONG_HELP,
		{ 0 }
	};
	int c, ret;

	while ((c = tool_getopt(argc, argv, "jh", longs)) != -1) {
		ret = tool_option(c, help);
		if (ret)
			return ret;
	}
	return TOOL_OK;
}

int tool_no_args(const char *command, int argc, char **argv)
{
	if (argc <= optind)
		return TOOL_OK;
	return tool_usage(command, "\"%s\" is one argument too many.",
			  argv[optind]);
}

/* The factor of a suffix, 0 if it is none. */
static uint64_t suffix(const char *s)
{
	static const char units[] = "KMG";
	const char *unit;

	if (!*s)
		return 1;
	unit = strchr(units, toupper((unsigned char)*s));
	if (!unit || (s[1] && strcasecmp(s + 1, "iB")))
		return 0;
	return 1ULL << (10 * (unit - units + 1));
}

bool tool_size(const char *what, const char *text, uint64_t min, uint64_t max,
	       uint64_t *val)
{
	uint64_t n, factor;
	char *end;

	errno = 0;
	n = strtoull(text, &end, 0);
	factor = suffix(end);
	/* strtoull() would take a sign and leading space. */
	if (!isdigit((unsigned char)*text) || errno || !factor ||
	    n > max / factor || n * factor < min) {
		tool_err("%s must be a number from %llu to %llu, not \"%s\".",
			 what, (unsigned long long)min, (unsigned long long)max,
			 text);
		return false;
	}
	*val = n * factor;
	return true;
}

bool tool_buf_size(const char *text, uint64_t *val)
{
	if (!tool_size("The size of a buffer", text, sysconf(_SC_PAGESIZE),
		       FBUF_BUF_SIZE_MAX, val))
		return false;
	if (!(*val & (*val - 1)))
		return true;
	tool_err("The size of a buffer must be a power of two, not %s.", text);
	return false;
}

bool tool_nr_bufs(const char *text, uint64_t *val)
{
	return tool_size("The number of buffers", text, 1, UINT32_MAX, val);
}

bool tool_port(const char *text)
{
	uint64_t port;

	/* getaddrinfo() takes 65537 for 1. */
	return text[strspn(text, "0123456789")] ||
	       tool_size("A port", text, 0, 65535, &port);
}

bool tool_pool_id(const char *text, uint64_t *id)
{
	char *end;

	errno = 0;
	*id = strtoull(text, &end, 10);
	if (isdigit((unsigned char)*text) && !*end && !errno)
		return true;
	tool_err("\"%s\" is not the number of a pool: \"fbuf pool list\" shows them.",
		 text);
	return false;
}

bool tool_seconds(const char *text, double *val)
{
	char *end;

	*val = strtod(text, &end);
	if (end != text && !*end && *val >= 0.01 && *val <= 86400)
		return true;
	tool_err("The seconds must be from 0.01 to 86400, not \"%s\".", text);
	return false;
}

static const unsigned int engines[] = {
	FBUF_ENGINE_PAGEREF, FBUF_ENGINE_SPLICE, FBUF_ENGINE_UBUF,
	FBUF_ENGINE_COPY,
};

#define NR_ENGINES	(sizeof(engines) / sizeof(*engines))

static unsigned int engine_bit(const char *name, size_t len)
{
	size_t i;

	for (i = 0; i < NR_ENGINES; i++) {
		const char *known = fbuf_engine_name(engines[i]);

		if (strlen(known) == len && !memcmp(known, name, len))
			return engines[i];
	}
	return 0;
}

bool tool_engines(const char *text, unsigned int *mask)
{
	const char *name = text;

	*mask = 0;
	for (;;) {
		size_t len = strcspn(name, ",");
		unsigned int bit = engine_bit(name, len);

		if (!bit) {
			tool_err("There is no engine \"%.*s\": take pageref, splice, ubuf, copy, or several with commas.",
				 (int)len, name);
			return false;
		}
		*mask |= bit;
		if (!name[len])
			return true;
		name += len + 1;
	}
}

const char *fmt_bytes(char buf[FMT_BYTES_MAX], double bytes)
{
	static const char * const units[] = { "B", "KiB", "MiB", "GiB", "TiB" };
	size_t i = 0;

	while (bytes >= 1024 && i < sizeof(units) / sizeof(*units) - 1) {
		bytes /= 1024;
		i++;
	}
	snprintf(buf, FMT_BYTES_MAX, i ? "%.1f %s" : "%.0f %s", bytes,
		 units[i]);
	return buf;
}

const char *fmt_ms(char buf[FMT_BYTES_MAX], uint64_t ms)
{
	unsigned long long s = ms / 1000;

	if (ms < 1000)
		snprintf(buf, FMT_BYTES_MAX, "%llu ms", (unsigned long long)ms);
	else if (s < 60)
		snprintf(buf, FMT_BYTES_MAX, "%.1f s", ms / 1000.0);
	else if (s < 3600)
		snprintf(buf, FMT_BYTES_MAX, "%llu:%02llu min", s / 60, s % 60);
	else
		snprintf(buf, FMT_BYTES_MAX, "%llu:%02llu h", s / 3600,
			 s / 60 % 60);
	return buf;
}

const char *fmt_user(char buf[FMT_USER_MAX], uid_t uid)
{
	const struct passwd *pw = getpwuid(uid);

	if (pw)
		snprintf(buf, FMT_USER_MAX, "%s", pw->pw_name);
	else
		snprintf(buf, FMT_USER_MAX, "%u", uid);
	return buf;
}

double tool_now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec + ts.tv_nsec / 1e9;
}

void tool_sleep(double seconds)
{
	struct timespec ts = { .tv_sec = seconds };

	ts.tv_nsec = (seconds - ts.tv_sec) * 1e9;
	while (nanosleep(&ts, &ts) && errno == EINTR)
		;
}

bool tool_flush(void)
{
	return !fflush(stdout) && !ferror(stdout);
}

struct tool_sha {
	EVP_MD_CTX *ctx;
};

static void sha_check(bool ok)
{
	if (!ok) {
		tool_err("SHA-256 failed in libcrypto.");
		exit(TOOL_FAIL);
	}
}

struct tool_sha *tool_sha_new(void)
{
	struct tool_sha *sha = malloc(sizeof(*sha));

	/* cppcheck-suppress uninitdata ; only whether it is NULL */
	sha_check(sha);
	sha->ctx = EVP_MD_CTX_new();
	sha_check(sha->ctx && EVP_DigestInit_ex(sha->ctx, EVP_sha256(), NULL));
	return sha;
}

void tool_sha_update(struct tool_sha *sha, const void *data, size_t len)
{
	sha_check(EVP_DigestUpdate(sha->ctx, data, len));
}

void tool_sha_end(struct tool_sha *sha, char hex[TOOL_SHA_HEX])
{
	unsigned char md[EVP_MAX_MD_SIZE];
	unsigned int len, i;

	sha_check(EVP_DigestFinal_ex(sha->ctx, md, &len));
	for (i = 0; i < len; i++)
		sprintf(hex + 2 * i, "%02x", md[i]);
	EVP_MD_CTX_free(sha->ctx);
	free(sha);
}

/*
 * Numbers of jansson's have a sign. Greater ones are strings until they are
 * printed, told by a code point that Unicode keeps for such use (U+FDD0).
 */
#define BIG_MARK	"\xef\xb7\x90"

json_t *tool_json_u64(uint64_t val)
{
	char text[32];

	if (val <= INT64_MAX)
		return json_integer(val);
	snprintf(text, sizeof(text), BIG_MARK "%llu", (unsigned long long)val);
	return json_string(text);
}

static void print_json(FILE *to, json_t *j, size_t flags)
{
	static const char mark[] = "\"" BIG_MARK;
	char *text = json_dumps(j, flags | JSON_REAL_PRECISION(9));
	char *from = text, *big;

	if (!text) {
		tool_err("No memory.");
		exit(TOOL_FAIL);
	}
	while ((big = strstr(from, mark))) {
		fwrite(from, 1, big - from, to);
		big += strlen(mark);
		from = strchr(big, '"');
		fwrite(big, 1, from++ - big, to);
	}
	fprintf(to, "%s\n", from);
	free(text);
	json_decref(j);
}

void tool_print_json(FILE *to, json_t *j)
{
	print_json(to, j, JSON_INDENT(2));
}

bool tool_print_json_line(json_t *j)
{
	print_json(stdout, j, JSON_COMPACT);
	return tool_flush();
}

static json_t *engines_json(unsigned int mask)
{
	json_t *list = json_array();
	size_t i;

	for (i = 0; i < NR_ENGINES; i++) {
		const char *name = fbuf_engine_name(engines[i]);

		if (mask & engines[i])
			json_array_append_new(list, json_string(name));
	}
	return list;
}

static void print_sum_json(FILE *to, const struct tool_sum *sum)
{
	json_t *j = json_object();

	json_object_set_new(j, "bytes", tool_json_u64(sum->bytes));
	json_object_set_new(j, "seconds", json_real(sum->seconds));
	if (sum->engines) {
		json_object_set_new(j, "engines", engines_json(sum->engines));
		json_object_set_new(j, "copied", tool_json_u64(sum->copied));
	}
	if (*sum->sha256)
		json_object_set_new(j, "sha256", json_string(sum->sha256));
	tool_print_json(to, j);
}

void tool_print_sum(FILE *to, const struct tool_sum *sum)
{
	char size[FMT_BYTES_MAX], rate[FMT_BYTES_MAX];
	const char *sep = "; engine ";
	size_t i;

	if (tool_json) {
		print_sum_json(to, sum);
		return;
	}
	fprintf(to, "%s %llu bytes (%s) in %.3f s, %s/s", sum->verb,
		(unsigned long long)sum->bytes, fmt_bytes(size, sum->bytes),
		sum->seconds,
		fmt_bytes(rate, sum->seconds ? sum->bytes / sum->seconds : 0));
	for (i = 0; i < NR_ENGINES; i++) {
		if (sum->engines & engines[i]) {
			fprintf(to, "%s%s", sep, fbuf_engine_name(engines[i]));
			sep = ", ";
		}
	}
	if (sum->engines)
		fprintf(to, "; %llu bytes copied",
			(unsigned long long)sum->copied);
	fputc('\n', to);
	if (*sum->sha256)
		fprintf(to, "sha256 %s\n", sum->sha256);
}
