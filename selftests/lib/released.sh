#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# Programs built with each release's headers, on the newest library and module:
# see user/lib/test_abi.c. Each is told how much of struct fbuf_info it should get:
# what it had in the release whose symbols the program needs.

KSFT_SKIP=4
cd "$(dirname "$0")" || exit

if [ ! -c /dev/fbuf ]; then
	echo "1..0 # SKIP no /dev/fbuf: is the module loaded?"
	exit $KSFT_SKIP
fi
nr=0
status=0

try()
{
	nr=$((nr + 1))
	if "$@"; then
		echo "ok $nr $*"
	else
		echo "not ok $nr $*"
		status=1
	fi
}

echo "TAP version 13"
try released/0.1/own real 88
try released/0.2/first real 88
try released/0.2/own real 160
try released/0.3/first real 88
try released/0.3/own real 176
echo "1..$nr"
exit $status
