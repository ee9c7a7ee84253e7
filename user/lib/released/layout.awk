# SPDX-License-Identifier: LGPL-2.1-or-later
# A program that prints what a header promises: where each member of a structure
# is, how long those are that may not grow, and what each constant is. Padding may
# get a name.

BEGIN {
	print "#include <stddef.h>\n#include <stdio.h>\n#include <fbuf/fbuf.h>"
	print "int main(void)\n{"
	# They have their size in them, or go with it.
	split("pool_create batch share pass ring_setup send fanout fill " \
	      "send_batch info pool_options ring", list)
	for (i in list)
		grows["fbuf_" list[i]] = 1
}

/^struct [a-z_]+ \{$/ {
	type = $2
	if (!(type in grows))
		printf "\tprintf(\"sizeof %s %%zu\\n\", sizeof(struct %s));\n", type, type
	next
}
/^\};$/ { type = "" }
type && /^\t.*;$/ {
	member = $NF
	sub(/;$/, "", member)
	sub(/\[.*/, "", member)
	if (member !~ /^(pad|reserved)/)
		printf "\tprintf(\"%s.%s %%zu %%zu\\n\", offsetof(struct %s, %s), sizeof(((struct %s *)0)->%s));\n",
			type, member, type, member, type, member
}
# Calls by number: their size may grow with the structure.
/^#define FBUF_IOC_[A-Z_]+\t/ && $2 !~ /_MAGIC$/ {
	printf "\tprintf(\"%s %%llx\\n\", %s & ~((unsigned long long)_IOC_SIZEMASK << _IOC_SIZESHIFT));\n", $2, $2
	next
}
/^#define FBUF_[A-Z_]+\t/ && !/DEVICE|_INIT/ {
	printf "\tprintf(\"%s %%llx\\n\", (unsigned long long)%s);\n", $2, $2
}

END { print "\treturn 0;\n}" }
