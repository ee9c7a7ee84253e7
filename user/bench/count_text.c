// SPDX-License-Identifier: GPL-2.0
/*
 * fbuf compare --count: where the running kernel calls its copy functions.
 *
 * Kernels are built without the entry hooks of ftrace in lib/, and then refuse
 * kprobe events on what is in there: on _copy_from_iter() and its kin, of all
 * functions. But they take them on the instructions that call it, in functions
 * that have hooks. So all of the kernel's code is searched for calls of these.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <linux/btf.h>
#include <linux/elf.h>

#include "count.h"

#define CHUNK		((size_t)1 << 20)
#define CALL		0xe8	/* with 32 bits that say where to */
#define JMP		0xe9
#define CALL_SIZE	5	/* bytes */
/* Kernels let calls begin before a function, or after its first instruction. */
#define BEFORE		16
#define AFTER		4

struct function {
	uint64_t start, end;
	struct count_sites sites;
};

struct count_text {
	int kcore;
	struct elf64_phdr *maps;
	unsigned int nr_maps;
	uint64_t *symbols;	/* of all code, in order */
	size_t nr_symbols;
	uint64_t start, end;	/* of the kernel itself */
	struct function *functions;
	unsigned int nr;
};

static int failed(const char *what, int err)
{
	tool_err("%s: %s.", what, strerror(-err));
	return err;
}

static int by_address(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return (x > y) - (x < y);
}

static int add_symbol(struct count_text *t, uint64_t addr)
{
	if (t->nr_symbols % CHUNK == 0) {
		uint64_t *more = realloc(t->symbols, (t->nr_symbols + CHUNK) *
					 sizeof(*more));

		if (!more)
			return -ENOMEM;
		t->symbols = more;
	}
	t->symbols[t->nr_symbols++] = addr;
	return 0;
}

/* A line of kallsyms, "ADDRESS TYPE NAME [MODULE]": of code, if not too long. */
static bool parse_symbol(char *line, uint64_t *addr, const char **name,
			 bool *module)
{
	char *p;

	*addr = strtoull(line, &p, 16);
	if (!*p || !p[1] || !p[2] || !strchr("tTwW", p[1]))
		return false;
	*name = p + 3;
	p += 3;
	p += strcspn(p, " \t\n");
	*module = *p && *p != '\n';
	*p = '\0';
	return true;
}

static void note_symbol(struct count_text *t, const char * const *names,
			const char *name, uint64_t addr)
{
	unsigned int i;

	if (!strcmp(name, "_stext"))
		t->start = addr;
	else if (!strcmp(name, "_etext"))
		t->end = addr;
	for (i = 0; i < t->nr; i++) {
		if (!strcmp(name, names[i]))
			t->functions[i].start = addr;
	}
}

static int read_symbols(struct count_text *t, const char * const *names)
{
	FILE *f = fopen("/proc/kallsyms", "re");
	const char *name;
	char line[1024];
	uint64_t addr;
	bool module;
	int err = 0;

	if (!f)
		return failed("/proc/kallsyms", -errno);
	while (!err && fgets(line, sizeof(line), f)) {
		if (!parse_symbol(line, &addr, &name, &module))
			continue;
		err = add_symbol(t, addr);
		note_symbol(t, names, name, addr);
	}
	fclose(f);
	if (t->symbols)
		qsort(t->symbols, t->nr_symbols, sizeof(*t->symbols),
		      by_address);
	if (err || (t->start && t->end))
		return err;
	tool_err("/proc/kallsyms does not say where the kernel is: it takes root, and a kernel that tells (sysctl kernel.kptr_restrict).");
	return -EPERM;
}

/* Functions end where the next one starts. */
static void find_ends(struct count_text *t)
{
	struct function *fn;
	unsigned int i;
	size_t at = 0;

	for (i = 0; i < t->nr; i++) {
		fn = &t->functions[i];
		if (!fn->start)
			continue;
		for (at = 0; at < t->nr_symbols; at++) {
			if (t->symbols[at] > fn->start)
				break;
		}
		fn->end = at < t->nr_symbols ? t->symbols[at] : t->end;
	}
}

static int open_kcore(struct count_text *t)
{
	struct elf64_hdr head;
	ssize_t len;

	t->kcore = open("/proc/kcore", O_RDONLY | O_CLOEXEC);
	if (t->kcore < 0)
		return failed("/proc/kcore, which has the kernel's code", -errno);
	if (pread(t->kcore, &head, sizeof(head), 0) != sizeof(head))
		return failed("/proc/kcore", -EIO);
	t->nr_maps = head.e_phnum;
	len = t->nr_maps * sizeof(*t->maps);
	t->maps = malloc(len);
	if (!t->maps)
		return failed("/proc/kcore", -ENOMEM);
	if (pread(t->kcore, t->maps, len, head.e_phoff) != len)
		return failed("/proc/kcore", -EIO);
	return 0;
}

static size_t read_code(const struct count_text *t, uint64_t addr, void *to,
			size_t len)
{
	const struct elf64_phdr *m;
	unsigned int i;
	ssize_t n;

	for (i = 0; i < t->nr_maps; i++) {
		m = &t->maps[i];
		if (m->p_type != PT_LOAD || addr < m->p_vaddr ||
		    addr - m->p_vaddr >= m->p_memsz)
			continue;
		n = pread(t->kcore, to, len, m->p_offset + addr - m->p_vaddr);
		return n > 0 ? n : 0;
	}
	return 0;
}

static bool in_function(const struct count_text *t, uint64_t addr)
{
	unsigned int i;

	for (i = 0; i < t->nr; i++) {
		if (addr >= t->functions[i].start && addr < t->functions[i].end)
			return true;
	}
	return false;
}

static int add_site(struct function *fn, uint64_t addr)
{
	struct count_sites *s = &fn->sites;

	if (s->nr % 64 == 0) {
		uint64_t *more = realloc(s->addrs, (s->nr + 64) *
					 sizeof(*more));

		if (!more)
			return failed("calls of the kernel", -ENOMEM);
		s->addrs = more;
	}
	s->addrs[s->nr++] = addr;
	return 0;
}

/* Is it the call, or jump, of one of the functions? */
static int look_at(struct count_text *t, uint64_t addr, const uint8_t *code)
{
	uint64_t to;
	int32_t off;
	unsigned int i;

	memcpy(&off, code + 1, sizeof(off));
	to = addr + CALL_SIZE + off;
	for (i = 0; i < t->nr; i++) {
		struct function *fn = &t->functions[i];

		if (fn->start && to >= fn->start - BEFORE &&
		    to <= fn->start + AFTER && !in_function(t, addr))
			return add_site(fn, addr);
	}
	return 0;
}

static int search(struct count_text *t, uint64_t start, uint64_t end)
{
	uint8_t *code = malloc(CHUNK);
	size_t len, at;
	int err = 0;

	if (!code)
		return failed("the kernel's code", -ENOMEM);
	while (!err && start + CALL_SIZE <= end) {
		len = read_code(t, start, code,
				end - start < CHUNK ? end - start : CHUNK);
		if (len < CALL_SIZE)
			break;
		for (at = 0; !err && at + CALL_SIZE <= len; at++) {
			if (code[at] == CALL || code[at] == JMP)
				err = look_at(t, start + at, code + at);
		}
		start += len - (CALL_SIZE - 1);
	}
	free(code);
	return err;
}

static int search_modules(struct count_text *t)
{
	FILE *f = fopen("/proc/modules", "re");
	unsigned long long addr;
	unsigned long size;
	char line[1024];
	int err = 0;

	while (f && !err && fgets(line, sizeof(line), f)) {
		if (sscanf(line, "%*s %lu %*s %*s %*s %llx", &size, &addr) == 2)
			err = search(t, addr, addr + size);
	}
	if (f)
		fclose(f);
	return err;
}

int text_open(struct count_text **text, const char * const *names,
	      unsigned int nr)
{
	struct count_text *t = calloc(1, sizeof(*t));
	int err = -ENOMEM;

	if (!t)
		return failed("memory", err);
	t->kcore = -1;
	t->functions = calloc(nr, sizeof(*t->functions));
	if (!t->functions) {
		failed("memory", err);
		goto fail;
	}
	t->nr = nr;
	err = read_symbols(t, names);
	if (err)
		goto fail;
	find_ends(t);
	err = open_kcore(t);
	if (!err)
		err = search(t, t->start, t->end);
	if (!err)
		err = search_modules(t);
	if (err)
		goto fail;
	*text = t;
	return 0;
fail:
	text_close(t);
	return err;
}

void text_close(struct count_text *t)
{
	unsigned int i;

	for (i = 0; i < t->nr; i++)
		free(t->functions[i].sites.addrs);
	if (t->kcore >= 0)
		close(t->kcore);
	free(t->functions);
	free(t->symbols);
	free(t->maps);
	free(t);
}

uint64_t text_start(const struct count_text *t)
{
	return t->start;
}

bool text_has(const struct count_text *t, unsigned int i)
{
	return t->functions[i].start;
}

const struct count_sites *text_sites(const struct count_text *t,
				     unsigned int i)
{
	return &t->functions[i].sites;
}

/* The kernel's types; of some that are small, the rest is behind them. */
struct types {
	uint8_t *data;
	const char *strings;
	const struct btf_type **by_id;
	unsigned int nr;
};

static size_t type_size(const struct btf_type *t)
{
	unsigned int vlen = BTF_INFO_VLEN(t->info);

	switch (BTF_INFO_KIND(t->info)) {
	case BTF_KIND_INT:
	case BTF_KIND_VAR:
	case BTF_KIND_DECL_TAG:
		return sizeof(*t) + 4;
	case BTF_KIND_ARRAY:
		return sizeof(*t) + sizeof(struct btf_array);
	case BTF_KIND_STRUCT:
	case BTF_KIND_UNION:
		return sizeof(*t) + vlen * sizeof(struct btf_member);
	case BTF_KIND_ENUM:
		return sizeof(*t) + vlen * sizeof(struct btf_enum);
	case BTF_KIND_FUNC_PROTO:
		return sizeof(*t) + vlen * sizeof(struct btf_param);
	case BTF_KIND_DATASEC:
		return sizeof(*t) + vlen * sizeof(struct btf_var_secinfo);
	case BTF_KIND_ENUM64:
		return sizeof(*t) + vlen * 3 * sizeof(uint32_t);
	}
	return sizeof(*t);
}

static uint8_t *read_all(const char *path, size_t *len)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	uint8_t *data = NULL;
	struct stat st;
	ssize_t n;

	*len = 0;
	if (fd < 0)
		return NULL;
	if (!fstat(fd, &st))
		data = malloc(st.st_size);
	while (data && *len < (size_t)st.st_size) {
		n = read(fd, data + *len, st.st_size - *len);
		if (n <= 0)
			break;
		*len += n;
	}
	close(fd);
	return data;
}

static bool types_open(struct types *ts)
{
	const struct btf_header *h;
	size_t len, at;

	ts->data = read_all("/sys/kernel/btf/vmlinux", &len);
	h = (const void *)ts->data;
	if (!h || len < sizeof(*h) || h->magic != BTF_MAGIC ||
	    (size_t)h->hdr_len + h->type_off + h->type_len > len ||
	    (size_t)h->hdr_len + h->str_off + h->str_len > len)
		return false;
	ts->strings = (const char *)ts->data + h->hdr_len + h->str_off;
	ts->by_id = calloc(h->type_len / sizeof(struct btf_type) + 1,
			   sizeof(*ts->by_id));
	ts->nr = 1;		/* number 0 is void */
	for (at = 0; ts->by_id && at < h->type_len; ) {
		const void *t = ts->data + h->hdr_len + h->type_off + at;

		ts->by_id[ts->nr++] = t;
		at += type_size(t);
	}
	return ts->by_id;
}

/* Bytes; what is in a member without a name is not looked for. */
static int member_offset(const struct types *ts, const struct btf_type *t,
			 const char *name)
{
	const struct btf_member *m = (const void *)(t + 1);
	unsigned int i, bits;

	for (i = 0; i < BTF_INFO_VLEN(t->info); i++, m++) {
		bits = BTF_INFO_KFLAG(t->info) ?
		       BTF_MEMBER_BIT_OFFSET(m->offset) : m->offset;
		if (!strcmp(ts->strings + m->name_off, name))
			return bits / 8;
	}
	return -1;
}

static const struct types *kernel_types(void)
{
	static struct types ts;
	static bool tried;

	if (!tried && !types_open(&ts))
		ts.nr = 0;
	tried = true;
	return &ts;
}

/* The type of a name, or NULL. */
static const struct btf_type *find_type(const struct types *ts,
					unsigned int kind, const char *name)
{
	unsigned int i;

	for (i = 1; i < ts->nr; i++) {
		if (BTF_INFO_KIND(ts->by_id[i]->info) == kind &&
		    !strcmp(ts->strings + ts->by_id[i]->name_off, name))
			return ts->by_id[i];
	}
	return NULL;
}

int btf_offset(const char *type, const char *member)
{
	const struct types *ts = kernel_types();
	const struct btf_type *t = find_type(ts, BTF_KIND_STRUCT, type);

	return t ? member_offset(ts, t, member) : -1;
}

int btf_value(const char *type, const char *name)
{
	const struct types *ts = kernel_types();
	const struct btf_type *t = find_type(ts, BTF_KIND_ENUM, type);
	const struct btf_enum *e = (const void *)(t + 1);
	unsigned int i;

	for (i = 0; t && i < BTF_INFO_VLEN(t->info); i++) {
		if (!strcmp(ts->strings + e[i].name_off, name))
			return e[i].val;
	}
	return -1;
}
