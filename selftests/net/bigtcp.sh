#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=dash
#
# BIG TCP: where the device takes packets of more than 64 KiB, fbuf makes them, and
# what arrives is right.

KSFT_SKIP=4
ns=fbuf-big-$$
tmp=$(mktemp -d)
nr=0
failed=0

skip_all()
{
	echo "1..0 # SKIP $*"
	rm -rf "$tmp"
	exit $KSFT_SKIP
}

report()
{
	nr=$((nr + 1))
	if [ "$1" -eq 0 ]; then
		echo "ok $nr $2"
	else
		echo "not ok $nr $2"
		failed=1
	fi
}

packets() { ip netns exec "$ns" cat /sys/class/net/lo/statistics/tx_packets; }

# Sends the file over ::1; leaves the packets that it took, those of both ways, in
# $took.
transfer()
{
	local before tries=0 port
	: >"$tmp/recv"
	ip netns exec "$ns" fbuf recv 0 "$tmp/copy" >/dev/null 2>"$tmp/recv" &
	until grep -q listening "$tmp/recv"; do
		tries=$((tries + 1))
		[ $tries -lt 200 ] || return 1
		sleep 0.1
	done
	port=$(sed -n 's/.*listening on port \([0-9]*\).*/\1/p' "$tmp/recv")
	before=$(packets)
	ip netns exec "$ns" fbuf send -b 1M -n 8 "$tmp/file" ::1 "$port" >"$tmp/send" 2>&1 || return
	wait $! || return
	took=$(($(packets) - before))
	cmp "$tmp/file" "$tmp/copy"
}

[ "$(id -u)" -eq 0 ] || skip_all "needs root"
[ -c /dev/fbuf ] || skip_all "no /dev/fbuf: is the module loaded?"
ip netns add "$ns" 2>/dev/null || skip_all "no network namespaces"
trap 'ip netns del "$ns"; rm -rf "$tmp"' EXIT
ip -n "$ns" link set lo up
ip netns exec "$ns" ip -6 addr show dev lo | grep -q ::1 || skip_all "no IPv6"
# Windows that let a packet of that size go.
ip netns exec "$ns" sh -c 'echo "4096 8388608 8388608" >/proc/sys/net/ipv4/tcp_rmem
	echo "4096 8388608 8388608" >/proc/sys/net/ipv4/tcp_wmem' || skip_all "no sysctls"

echo "TAP version 13"
echo "1..3"
head -c 33554432 /dev/urandom >"$tmp/file"
transfer
report $? "as_usual"
usual=$took
ip -n "$ns" link set lo gso_max_size 524280 gro_max_size 524280 2>"$tmp/error" || {
	echo "ok 2 arrives # SKIP the kernel has no BIG TCP"
	echo "ok 3 packets_are_larger # SKIP the kernel has no BIG TCP"
	exit $failed
}
transfer
report $? "arrives"
# 32 MiB are 512 packets of 64 KiB.
echo "# $usual packets, and $took with BIG TCP"
[ "$took" -lt 400 ] && [ "$took" -lt "$usual" ]
report $? "packets_are_larger"
exit $failed
