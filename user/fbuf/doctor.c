// SPDX-License-Identifier: GPL-2.0
/* fbuf doctor: what keeps fbuf from working here, or from its best. */

#include <getopt.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "doctor.h"

static const char help[] =
"Usage: fbuf doctor [OPTIONS] [ADDRESS]\n"
"\n"
"Look for what keeps fbuf from working here, or from its best, and say what to\n"
"type. The network device is that of the way to ADDRESS, or else to everywhere.\n"
"It changes nothing, but for --load. The exit status is 1 if something is wrong.\n"
"\n"
"  -l, --load   as root: load the module if it is not, to see why it does not\n"
"  -j, --json   as JSON\n"
"  -h, --help   print this\n";

#define FINDINGS_MAX	32
#define COMMANDS_MAX	6

struct finding {
	enum doctor_level level;
	const char *about;
	char *text;
	char *commands[COMMANDS_MAX];
	unsigned int nr_commands;
};

struct doctor {
	struct finding findings[FINDINGS_MAX];
	unsigned int nr;
};

static char *say(const char *fmt, va_list ap)
{
	char *text;

	if (vasprintf(&text, fmt, ap) >= 0)
		return text;
	tool_err("No memory.");
	exit(TOOL_FAIL);
}

void doctor_find(struct doctor *d, enum doctor_level level, const char *about,
		 const char *fmt, ...)
{
	struct finding *f = &d->findings[d->nr];
	va_list ap;

	if (d->nr == FINDINGS_MAX)
		return;
	d->nr++;
	f->level = level;
	f->about = about;
	va_start(ap, fmt);
	f->text = say(fmt, ap);
	va_end(ap);
}

void doctor_type(struct doctor *d, const char *fmt, ...)
{
	struct finding *f = &d->findings[d->nr - 1];
	va_list ap;

	if (f->nr_commands == COMMANDS_MAX)
		return;
	va_start(ap, fmt);
	f->commands[f->nr_commands++] = say(fmt, ap);
	va_end(ap);
}

bool doctor_read(char line[DOCTOR_LINE], const char *fmt, ...)
{
	va_list ap;
	char *path;
	FILE *f;
	bool ok;

	va_start(ap, fmt);
	path = say(fmt, ap);
	va_end(ap);
	f = fopen(path, "re");
	free(path);
	if (!f)
		return false;
	ok = fgets(line, DOCTOR_LINE, f);
	fclose(f);
	if (ok)
		line[strcspn(line, "\n")] = '\0';
	return ok;
}

static const char * const levels[] = {
	[DOCTOR_OK] = "ok", [DOCTOR_NOTE] = "note", [DOCTOR_WRONG] = "wrong",
};

/* Words, in lines of the terminal's width, each but the first one indented. */
static void print_text(const char *text, int indent)
{
	int room = table_room(), at = indent, len;

	for (; *text; text += len + strspn(text + len, " ")) {
		len = strcspn(text, " ");
		if (at > indent && at + 1 + len > room) {
			printf("\n%*s", indent, "");
			at = indent;
		}
		at += printf("%s%.*s", at > indent ? " " : "", len, text);
	}
	putchar('\n');
}

static void print_findings(const struct doctor *d)
{
	const struct finding *f;
	unsigned int i;

	for (f = d->findings; f < d->findings + d->nr; f++) {
		printf("%-7s", levels[f->level]);
		print_text(f->text, 7);
		for (i = 0; i < f->nr_commands; i++)
			printf("           %s\n", f->commands[i]);
	}
}

static void print_json(const struct doctor *d, unsigned int wrong)
{
	json_t *list = json_array(), *j, *commands;
	const struct finding *f;
	unsigned int i;

	for (f = d->findings; f < d->findings + d->nr; f++) {
		commands = json_array();
		for (i = 0; i < f->nr_commands; i++)
			json_array_append_new(commands,
					      json_string(f->commands[i]));
		j = json_object();
		json_object_set_new(j, "level", json_string(levels[f->level]));
		json_object_set_new(j, "about", json_string(f->about));
		json_object_set_new(j, "text", json_string(f->text));
		json_object_set_new(j, "commands", commands);
		json_array_append_new(list, j);
	}
	j = json_object();
	json_object_set_new(j, "wrong", json_integer(wrong));
	json_object_set_new(j, "findings", list);
	tool_print_json(stdout, j);
}

static int report(struct doctor *d)
{
	unsigned int i, k, wrong = 0;

	for (i = 0; i < d->nr; i++)
		wrong += d->findings[i].level == DOCTOR_WRONG;
	if (tool_json)
		print_json(d, wrong);
	else
		print_findings(d);
	for (i = 0; i < d->nr; i++) {
		for (k = 0; k < d->findings[i].nr_commands; k++)
			free(d->findings[i].commands[k]);
		free(d->findings[i].text);
	}
	return wrong ? TOOL_FAIL : TOOL_OK;
}

static int parse(int argc, char **argv, bool *load)
{
	static const struct option longs[] = {
		{ "load", no_argument, NULL, 'l' },
		TOOL_LONG_JSON,
		TOOL_LONG_HELP,
		{ 0 }
	};
	int c, ret;

	while ((c = tool_getopt(argc, argv, "ljh", longs)) != -1) {
		if (c == 'l') {
			*load = true;
			continue;
		}
		ret = tool_option(c, help);
		if (ret)
			return ret;
	}
	return TOOL_OK;
}

int cmd_doctor(int argc, char **argv)
{
	struct doctor d = { };
	const char *address = NULL;
	bool load = false;
	int ret;

	ret = parse(argc, argv, &load);
	if (!ret && optind < argc)
		address = argv[optind++];
	if (!ret)
		ret = tool_no_args("doctor", argc, argv);
	if (ret)
		return ret < 0 ? TOOL_OK : ret;
	doctor_module(&d, load);
	doctor_device(&d);
	doctor_limits(&d);
	ret = doctor_net(&d, address);
	return ret ? ret : report(&d);
}
