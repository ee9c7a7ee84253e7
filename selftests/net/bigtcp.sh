#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=dash disable=SC2317 # tidy() is called at the end
#
# BIG TCP: where the device takes packets of more than 64 KiB, fbuf makes them, and
# what arrives is right.

# shellcheck source=selftests/common/tap.sh
. "$(dirname "$0")/tap.sh"

ns=fbuf-big-$$

packets() { ip netns exec "$ns" cat /sys/class/net/lo/statistics/tx_packets; }

# Sends the file over ::1; leaves the packets that it took, those of both ways, in
# $took.
transfer()
{
	local before
	receiver ip netns exec "$ns" fbuf recv 0 "$tmp/copy" || return
	before=$(packets)
	ip netns exec "$ns" fbuf send -b 1M -n 8 "$tmp/file" ::1 "$port" >"$tmp/send" 2>&1 || return
	wait "$recv" || return
	took=$(($(packets) - before))
	cmp "$tmp/file" "$tmp/copy"
}

needs root module fbuf ip
ip netns add "$ns" 2>/dev/null || skip_all "no network namespaces"
tidy() { ip netns del "$ns"; }
ip -n "$ns" link set lo up
ip netns exec "$ns" ip -6 addr show dev lo | grep -q ::1 || skip_all "no IPv6"
# Windows that let a packet of that size go.
ip netns exec "$ns" sh -c 'echo "4096 8388608 8388608" >/proc/sys/net/ipv4/tcp_rmem
	echo "4096 8388608 8388608" >/proc/sys/net/ipv4/tcp_wmem' || skip_all "no sysctls"

plan 3
head -c 33554432 /dev/urandom >"$tmp/file"
transfer
report $? "as_usual"
usual=$took
ip -n "$ns" link set lo gso_max_size 524280 gro_max_size 524280 2>"$tmp/error" || {
	skip "arrives" "the kernel has no BIG TCP"
	skip "packets_are_larger" "the kernel has no BIG TCP"
	exit $failed
}
transfer
report $? "arrives"
# 32 MiB are 512 packets of 64 KiB.
echo "# $usual packets, and $took with BIG TCP"
[ "$took" -lt 400 ] && [ "$took" -lt "$usual" ]
report $? "packets_are_larger"
exit $failed
