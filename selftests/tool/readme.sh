#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# The example of the README, built as printed, sends to "fbuf recv".

# shellcheck source=selftests/common/tap.sh
. "$(dirname "$0")/tap.sh"

readme_example()
{
	receiver fbuf recv 0 "$tmp/got" || return
	if ! "$here/readme_example" 127.0.0.1 "$port"; then
		kill "$recv" 2>/dev/null
		return 1
	fi
	wait "$recv" || return
	# A line, and the buffer.
	printf '65536 bytes follow\n' >"$tmp/want"
	head -c 65536 /dev/zero | tr '\0' x >>"$tmp/want"
	cmp "$tmp/want" "$tmp/got"
}

needs module fbuf
plan 1
readme_example
report $? "readme_example"
exit $failed
