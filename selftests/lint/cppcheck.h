/* SPDX-License-Identifier: GPL-2.0 */
/*
 * For cppcheck, which reads no headers but ours: macros that are not expressions.
 */
#define list_for_each_entry(pos, list, member) \
	for (pos = first(list); pos; pos = next(pos))
#define list_for_each_entry_safe(pos, then, list, member) \
	for (pos = first(list); then = next(pos), pos; pos = then)
#define list_for_each_entry_safe_reverse list_for_each_entry_safe
#define LIST_FOREACH(pos, list, member) \
	for (pos = first(list); pos; pos = next(pos))
#define TAILQ_FOREACH LIST_FOREACH
#define TAILQ_FOREACH_REVERSE(pos, list, name, member) \
	LIST_FOREACH(pos, list, member)
#define xa_for_each(xa, i, entry) \
	for (i = 0, entry = first(xa); entry; entry = next(xa, &i))
#define xa_for_each_start(xa, i, entry, start) \
	for (i = start, entry = first(xa); entry; entry = next(xa, &i))
#define for_each_possible_cpu(cpu) \
	for (cpu = 0; cpu < cpus(); cpu++)
#define for_each_online_cpu for_each_possible_cpu
#define for_each_set_bit(bit, bits, nr) \
	for (bit = first(bits); bit < nr; bit = next(bits, bit))
#define json_array_foreach(array, i, value) \
	for (i = 0; (value = json_array_get(array, i)); i++)
#define json_object_foreach(object, key, value) \
	for (key = first(object, &value); key; key = next(object, &value))
#define unsafe_get_user(to, from, fault) \
	do { to = *(from); if (fails(from)) goto fault; } while (0)
/* Of the dynamic linker, for the word size at hand. */
#define ElfW(type)	Elf64_##type
/* The harness takes a statement after each, for when it fails. */
#define EXPECT_EQ(a, b)	if (!((a) == (b)))
#define EXPECT_NE(a, b)	if (!((a) != (b)))
#define EXPECT_LT(a, b)	if (!((a) < (b)))
#define EXPECT_LE(a, b)	if (!((a) <= (b)))
#define EXPECT_GT(a, b)	if (!((a) > (b)))
#define EXPECT_GE(a, b)	if (!((a) >= (b)))
#define EXPECT_TRUE(a)		if (!(a))
#define EXPECT_FALSE(a)		if (a)
#define EXPECT_STREQ(a, b)	if (strcmp(a, b))
#define ASSERT_EQ(a, b)	for (; !((a) == (b)); abort())
#define ASSERT_NE(a, b)	for (; !((a) != (b)); abort())
#define ASSERT_LT(a, b)	for (; !((a) < (b)); abort())
#define ASSERT_LE(a, b)	for (; !((a) <= (b)); abort())
#define ASSERT_GT(a, b)	for (; !((a) > (b)); abort())
#define ASSERT_GE(a, b)	for (; !((a) >= (b)); abort())
#define ASSERT_TRUE(a)		for (; !(a); abort())
#define ASSERT_FALSE(a)		for (; a; abort())
#define ASSERT_STREQ(a, b)	for (; strcmp(a, b); abort())
