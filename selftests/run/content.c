// SPDX-License-Identifier: GPL-2.0
/* What is in an object; see content.h. */
#include <stdio.h>
#include <string.h>

#include "content.h"

static uint64_t seed_of(uint32_t key, uint32_t version)
{
	uint64_t x = ((uint64_t)key << 32 | version) + 0x9e3779b97f4a7c15ULL;

	x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9ULL;
	x = (x ^ x >> 27) * 0x94d049bb133111ebULL;
	return x ^ x >> 31;
}

/* The first word tells key and version; the others depend on them and the place. */
static uint64_t head_of(uint32_t key, uint32_t version)
{
	return (uint64_t)key << 32 | version;
}

static uint64_t word(uint64_t seed, size_t index)
{
	return (seed + index) * 0xd6e8feb86659fd93ULL;
}

/* A word, or how much of it there is room for. */
static void put(unsigned char *to, uint64_t value, size_t len)
{
	memcpy(to, &value, len);
}

void content_fill(void *data, uint32_t key, uint32_t version, size_t len)
{
	uint64_t seed = seed_of(key, version), value = head_of(key, version);
	unsigned char *to = data;
	size_t index = 0;

	while (len >= 8) {
		put(to, value, 8);
		value = word(seed, ++index);
		to += 8;
		len -= 8;
	}
	put(to, value, len);
}

void content_start(struct content_check *check, uint32_t key)
{
	memset(check, 0, sizeof(*check));
	check->key = key;
}

static void bad(struct content_check *check, size_t pos, uint64_t got)
{
	check->wrong = true;
	check->wrong_at = pos;
	check->wrong_word = got;
}

static void one_byte(struct content_check *check, unsigned char got)
{
	size_t pos = check->pos++;
	uint64_t value;

	if (pos < 8) {
		check->head[pos] = got;
		if (pos == 7) {
			memcpy(&value, check->head, 8);
			check->version = value;
			check->seed = seed_of(check->key, check->version);
			if (value >> 32 != check->key)
				bad(check, 0, value);
		}
		return;
	}
	value = word(check->seed, pos / 8);
	if ((unsigned char)(value >> pos % 8 * 8) != got && !check->wrong)
		bad(check, pos, 0);
}

void content_piece(struct content_check *check, const void *data, size_t len)
{
	const unsigned char *from = data;
	uint64_t got;

	while (len && (check->pos < 8 || check->pos % 8)) {
		one_byte(check, *from++);
		len--;
	}
	while (len >= 8) {
		memcpy(&got, from, 8);
		if (got != word(check->seed, check->pos / 8) && !check->wrong)
			bad(check, check->pos, got);
		check->pos += 8;
		from += 8;
		len -= 8;
	}
	while (len--)
		one_byte(check, *from++);
}

void content_explain(const struct content_check *check, uint32_t newest)
{
	size_t pos = check->wrong_at;
	uint32_t version;

	if (!check->wrong) {
		fprintf(stderr, "key %u: version %u, to byte %zu\n", check->key,
			check->version, check->pos);
		return;
	}
	fprintf(stderr, "key %u: version %u is wrong from byte %zu on", check->key,
		check->version, pos);
	for (version = 0; check->wrong_word && version <= newest; version++)
		if (word(seed_of(check->key, version), pos / 8) == check->wrong_word)
			fprintf(stderr, ": there is version %u", version);
	fprintf(stderr, "\n");
}
