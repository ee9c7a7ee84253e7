#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=dash disable=SC2086,SC2317 # it has local; words and numbers; functions are given to others
# Python: its own http.server, and a server that holds objects and sends them by
# sendall(), in threads, that forks as well.
# shellcheck source=selftests/common/tap.sh
. "$(dirname "$0")/tap.sh"
# shellcheck source=selftests/run/programs.sh
. "$here/programs.sh"

port=8000

# Objects are bytes, which a new version frees.
store()
{
	server store python3 "$here/store.py" $port &&
		serves $port &&
		asked --fill -n "$requests" -c 16 -t 2 tcp 127.0.0.1 $port
}

# The same, each connection in a child of its own.
forked()
{
	server store python3 "$here/store.py" --fork $port &&
		serves $port &&
		asked --fill -n "$requests" -c 8 -w 0 tcp 127.0.0.1 $port
}

# Objects are files, which new ones replace; read into memory 64 KiB at a time.
http_server()
{
	mkdir -p "$tmp/files"
	server http python3 -m http.server -d "$tmp/files" $port &&
		serves $port &&
		asked --fill --files "$tmp/files" -n $((requests / 4)) -c 8 http 127.0.0.1 $port
}

begin 3
twice store store
twice forked forked
twice http_server http_server
exit $failed
