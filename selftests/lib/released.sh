#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# Programs built with each release's headers, on the newest library and module:
# see user/lib/test_abi.c. Each is told how much of struct fbuf_info it should get:
# what it had in the release whose symbols the program needs.

# shellcheck source=selftests/common/tap.sh
. "$(dirname "$0")/tap.sh"
needs module
cd "$here" || exit
plan 7

try()
{
	"$@"
	report $? "$*"
}

try released/0.1/own real 88
try released/0.2/first real 88
try released/0.2/own real 160
try released/0.3/first real 88
try released/0.3/own real 176
try released/0.4/first real 192
try released/0.4/own real 192
exit $failed
