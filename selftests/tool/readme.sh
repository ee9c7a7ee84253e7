#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# The example of the README, built as printed, sends to "fbuf recv".

KSFT_SKIP=4
dir=$(cd "$(dirname "$0")" && pwd)
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT

skip_all()
{
	echo "1..0 # SKIP $*"
	exit $KSFT_SKIP
}

run()
{
	fbuf recv 0 "$tmp/got" >"$tmp/out" 2>"$tmp/err" &
	recv=$!
	tries=0
	port=
	while [ -z "$port" ] && [ $tries -lt 200 ]; do
		port=$(sed -n 's/.*listening on port \([0-9]*\).*/\1/p' "$tmp/err")
		tries=$((tries + 1))
		[ -n "$port" ] || sleep 0.1
	done
	if ! "$dir/readme_example" 127.0.0.1 "$port"; then
		kill "$recv" 2>/dev/null
		return 1
	fi
	wait "$recv" || return 1
	# A line, and the buffer.
	printf '65536 bytes follow\n' >"$tmp/want"
	head -c 65536 /dev/zero | tr '\0' x >>"$tmp/want"
	cmp "$tmp/want" "$tmp/got"
}

command -v fbuf >/dev/null || skip_all "the tool fbuf is not in PATH"
[ -c /dev/fbuf ] || skip_all "no /dev/fbuf: is the module loaded?"

echo "TAP version 13"
echo "1..1"
if run; then
	echo "ok 1 readme_example"
else
	sed 's/^/# /' "$tmp/err"
	echo "not ok 1 readme_example"
	exit 1
fi
