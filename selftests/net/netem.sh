#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# Buffers overwritten right after they are sent, over a network that delays,
# loses and reorders: what is sent again must be what was sent first.

# shellcheck disable=SC2317 # functions that others call

# shellcheck source=selftests/common/tap.sh
. "$(dirname "$0")/tap.sh"

HOST=192.0.2.1
PORT=7001

# A network of our own, for which names and leftovers are no matter.
if [ -z "$FBUF_NETEM" ]; then
	needs root module ip tc unshare nsenter
	for module in veth sch_netem tls; do
		modprobe $module 2>/dev/null	# or it is built in
	done
	# Only the first network namespace tells.
	grep -qw tls /proc/sys/net/ipv4/tcp_available_ulp && export FBUF_TLS=yes
	FBUF_NETEM=yes unshare -n "$0"
	exit
fi

holder=
recv=
# shellcheck disable=SC2086 # there may be none
tidy() { kill $holder $recv 2>/dev/null; }

has_own_net()
{
	[ "$(readlink "/proc/$holder/ns/net")" != "$(readlink /proc/self/ns/net)" ]
}

there() { nsenter -t "$holder" -n "$@"; }

# Two namespaces, ours and there, and a bad line between them.
network()
{
	unshare -n sleep 100000 &
	holder=$!
	until_true has_own_net || return
	ip link add fb0 type veth peer name fb1 netns "$holder" || return
	ip addr add 192.0.2.2/24 dev fb0 && ip link set fb0 up || return
	there ip addr add $HOST/24 dev fb1 && there ip link set fb1 up || return
	there ip link set lo up
	tc qdisc add dev fb0 root netem delay 5ms 2ms loss 3% reorder 25% 50% ||
		return
	until_true carrier
}

carrier() { ip link show fb0 | grep -q 'state UP'; }

# transfer KIND [tls]: sets received, differs, sent, retrans
transfer()
{
	sent=0 received=-1 differs=-1 retrans=-1
	: >"$tmp/recv"		# the last one was ready, too
	there "$here/netem_peer" recv $PORT "${2:-plain}" >"$tmp/recv" &
	recv=$!
	until_true grep -q ready "$tmp/recv" || return
	if ! timeout 100 "$here/netem_peer" send $HOST $PORT "$1" "${2:-plain}" \
		>"$tmp/send"; then
		kill $recv
		wait $recv
		return 1
	fi
	wait $recv || return
	recv=
	# NAME=NUMBER, as netem_peer prints them.
	eval "$(grep -h = "$tmp/recv" "$tmp/send")"
	echo "# $*: $sent bytes, $retrans segments sent again, $differs bytes differ"
	PORT=$((PORT + 1))
	[ "$sent" -gt 0 ] && [ "$received" = "$sent" ] && [ "$retrans" -gt 0 ]
}

# What is protected comes as it was sent.
protected() { transfer "$@" && [ "$differs" = 0 ]; }

# What is not does not: so the others can fail.
overwritten() { transfer volatile && [ "$differs" -gt 0 ]; }

network 2>"$tmp/error" || skip_all "no veth or netem: $(head -n 1 "$tmp/error")"

plan 5

overwritten
report $? "volatile_is_overwritten"

for kind in secured snapshot; do
	protected $kind
	report $? "${kind}_arrives_as_sent"
done

for kind in secured snapshot; do
	if [ "$FBUF_TLS" ]; then
		protected $kind tls
		report $? "${kind}_arrives_as_sent_tls"
	else
		skip "${kind}_arrives_as_sent_tls" "no kernel TLS"
	fi
done

exit $failed
