#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# The server of Documentation/apps.rst with 1000 clients, a quarter of them slow, that
# look at every byte while the objects are replaced; and fewer without the module.

# shellcheck source=selftests/common/tap.sh
. "$(dirname "$0")/tap.sh"
needs module
cd "$here" || exit
said="out err"
plan 2

# serves BACKEND CLIENTS
serves()
{
	FBUF_BACKEND=$1 run ./test_serve ./serve "$2"
	ret=$?
	sed -n 's/^#/#/p' "$tmp/out"
	report $ret "serve_$1"
}

# All of them without the module: on the machine itself, by "make test".
serves module 1000
serves user 200
exit $failed
