# SPDX-License-Identifier: GPL-2.0
# The lines of gcov -n, one for each file of ours.
/^File / { gsub(/^File '|'$/, ""); file = $0; mine = index(file, top) == 1 }
/^Lines executed:/ && mine {
	split($2, part, /[:%]/)
	printf "%-30s %6s %% of %4d lines\n", substr(file, length(top) + 1),
		part[2], $4
	mine = 0
}
