#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=dash disable=SC2086,SC2317 # it has local; words and numbers; functions are given to others
# Java: channels with direct, heap, gathered and mapped buffers, and files; Netty with the
# same, and sliced and composite ones.
# shellcheck source=selftests/common/tap.sh
. "$(dirname "$0")/tap.sh"
# shellcheck source=selftests/run/programs.sh
. "$here/programs.sh"

port=9000
jars=$(printf ":/usr/share/java/netty-%s.jar" buffer common transport codec resolver)
# To compile takes longer in an emulated CPU than all the rest.
classes=$here/classes
flags="-Xmx256m -XX:+UseSerialGC -XX:TieredStopAtLevel=1 -Xshare:auto"

load() { asked --fill -n "$requests" -k 20 -c 16 -t 2 --seconds 120 tcp 127.0.0.1 $port; }

nio()
{
	server nio java $flags -cp "$classes" Nio $port
	serves $port && load
}

netty()
{
	server netty java $flags -cp "$classes$jars" Netty $port
	serves $port && load
}

begin 2
twice nio nio
twice netty netty
exit $failed
