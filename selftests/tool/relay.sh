#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# fbuf relay: both its peers are relay_peer. Without the module the library serves.

# shellcheck source=selftests/common/tap.sh
. "$(dirname "$0")/tap.sh"

# relayed CASE [OPTION...]: and what the relay did is in out.
relayed()
{
	peers=$1
	shift
	# Where the hard limit is too low for a thousand, root may raise it.
	# shellcheck disable=SC3045 # every shell that there is has both
	(ulimit -Hn 16384 2>/dev/null; ulimit -Sn 256 &&
		exec "$here/relay_peer" "$peers" fbuf relay --json "$@") >"$tmp/out" 2>"$tmp/err"
}

# number NAME: of what the relay said it did
number() { "$here/json" "$tmp/out" "$1" 2>"$tmp/err-json"; }

# Each byte both ways, counted.
bytes_arrive()
{
	relayed both "$@" && json_in "$tmp/out" connections 1 && json_in "$tmp/out" refused 0 &&
		json_in "$tmp/out" bytes_to_target 8388608 &&
		json_in "$tmp/out" bytes_to_client 5000003 && [ "$(number stretches)" -gt 12 ]
}

many_arrive()
{
	relayed many "$@" && json_in "$tmp/out" connections 1000 &&
		json_in "$tmp/out" bytes_to_target 1499500 &&
		json_in "$tmp/out" bytes_to_client 2500500
}

# All of the stream, as no stretch is longer; its ends of lines say that it was that.
filter_sees_all()
{
	relayed both --peek 1M "$@" && json_in "$tmp/out" peeked 13388611 &&
		json_in "$tmp/out" lines "$(sed -n 's/ lines$//p' "$tmp/err")"
}

# Some of each stretch; as peer and relay are at once, a stretch has more.
filter_sees_heads()
{
	relayed both --peek 10 "$@" && [ "$(number peeked)" -gt 0 ] &&
		[ "$(number peeked)" -le $((10 * $(number stretches))) ]
}

copies_are_counted()
{
	relayed both --copy && json_in "$tmp/out" copied $((2 * 13388611)) || return
	relayed both --splice && json_in "$tmp/out" copied 0
}

# What lies in the network's pages stays there: all but the heads of few packets.
parcels_are_not_copied()
{
	relayed both && json_in "$tmp/out" backend module && json_in "$tmp/out" fallbacks 0 &&
		[ "$(number copied)" -lt $((13388611 / 10)) ]
}

# At the limit of the user: who does not read has it all, and the others go on; and where
# the relay's own pool is all that there may be, nobody has parcels.
others_go_on_at_the_limit()
{
	pages=$(page_size) pages=$((4 * ${pages%K}))K
	fbuf limit set --uid root --user "$(page_size)" && relayed both && [ "$(number fallbacks)" -gt 0 ] &&
		fbuf limit set --uid root --user "$pages" &&
		relayed slow && [ "$(number fallbacks)" -gt 0 ] && relayed both && many_arrive
	ret=$?
	fbuf limit set --uid root --user default && return $ret
}

library_serves()
{
	FBUF_BACKEND=user relayed both --peek 4K && json_in "$tmp/out" backend user &&
		json_in "$tmp/out" copied $((2 * 13388611 + $(number peeked))) &&
		[ "$(grep -c "takes its place, and copies" "$tmp/err")" = 1 ]
}

refused_target_resets()
{
	relayed refused "$@" && json_in "$tmp/out" refused 1 &&
		grep -q "Cannot connect to 127.0.0.1 port .*refused" "$tmp/err"
}

few_files()
{
	relayed few "$@" && json_in "$tmp/out" connections 60 && json_in "$tmp/out" refused 0
}

says_what_it_did()
{
	"$here/relay_peer" both fbuf relay --peek 1 >"$tmp/out" 2>"$tmp/err" &&
		grep -q "^1 connections in .* by parcel; 0 found no target" "$tmp/out" &&
		grep -q "^8.0 MiB to the target, 4.8 MiB to clients, in " "$tmp/out" &&
		grep -q "^looked at " "$tmp/out" && grep -q "^copied " "$tmp/out"
}

ends_after_connections()
{
	relayed ends --connections 3 && json_in "$tmp/out" connections 3
}

bad_arguments()
{
	fails_with "splice() shows no bytes" timeout 10 fbuf relay --splice --peek 1 0 a:1 &&
		fails_with "copy or --splice" timeout 10 fbuf relay --splice --copy 0 a:1 &&
		fails_with "takes PORT and HOST:PORT" timeout 10 fbuf relay 0 &&
		fails_with "takes PORT and HOST:PORT" timeout 10 fbuf relay 0 a:1 b:2 &&
		fails_with "target is HOST:PORT" timeout 10 fbuf relay 0 80 &&
		fails_with "target is HOST:PORT" timeout 10 fbuf relay 0 :80 &&
		fails_with "target is HOST:PORT" timeout 10 fbuf relay 0 ::1:80 &&
		fails_with "target is HOST:PORT" timeout 10 fbuf relay 0 '[::1]' &&
		fails_with "Where to listen is" timeout 10 fbuf relay ::1:80 a:1 &&
		fails_with "Where to listen is" timeout 10 fbuf relay '' a:1 &&
		fails_with "port" timeout 10 fbuf relay 70000 a:1 &&
		fails_with "port" timeout 10 fbuf relay 0 a:70000 &&
		fails_with "bytes to look at" timeout 10 fbuf relay --peek 0 0 a:1 &&
		fails_with "bytes to look at" timeout 10 fbuf relay --peek 2M 0 a:1 &&
		fails_with "connections" timeout 10 fbuf relay --connections none 0 a:1 &&
		fails_with "Cannot resolve" timeout 10 fbuf relay 0 no.such.host.invalid:1
}

# Its own port in brackets, taken by another one; and a target there.
ipv6_addresses()
{
	receiver fbuf relay '[::1]:0' '[::1]:1' || return
	fails_with "Cannot listen on port $port" fbuf relay "[::1]:$port" '[::1]:1'
	ret=$?
	kill "$recv" && wait "$recv" && return $ret
}

needs fbuf
plan 35

for method in parcel copy splice; do
	option=--$method
	[ $method != parcel ] || option=
	# shellcheck disable=SC2086 # none is none
	{
		bytes_arrive $option
		report $? "bytes_arrive_both_ways_by_$method"
		relayed half_client $option
		report $? "client_ends_first_by_$method"
		relayed half_target $option
		report $? "target_ends_first_by_$method"
		relayed reset_client $option
		report $? "client_resets_by_$method"
		relayed reset_target $option
		report $? "target_resets_by_$method"
		relayed reset_full $option
		report $? "client_resets_while_target_is_full_by_$method"
		relayed slow $option
		report $? "who_does_not_read_is_waited_for_by_$method"
		many_arrive $option
		report $? "thousand_connections_by_$method"
	}
done
filter_sees_all
report $? "filter_sees_all_of_parcels"
filter_sees_all --copy && filter_sees_heads --copy && filter_sees_heads
report $? "filter_sees_what_it_asked_for"
copies_are_counted
report $? "copies_are_counted"
if [ -c /dev/fbuf ]; then
	parcels_are_not_copied
	report $? "parcels_are_not_copied"
	if [ "$(id -u)" = 0 ]; then
		others_go_on_at_the_limit
		report $? "others_go_on_at_the_limit"
	else
		skip "others_go_on_at_the_limit" "needs root"
	fi
else
	skip "parcels_are_not_copied" "no /dev/fbuf"
	skip "others_go_on_at_the_limit" "no /dev/fbuf"
fi
library_serves
report $? "library_serves_without_the_module"
refused_target_resets && refused_target_resets --splice
report $? "refused_target_resets"
few_files && few_files --splice
report $? "who_is_too_many_waits"
says_what_it_did && ends_after_connections
report $? "says_what_it_did_and_ends_after_connections"
bad_arguments
report $? "bad_arguments"
ipv6_addresses
report $? "ipv6_addresses"
exit $failed
