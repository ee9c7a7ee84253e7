#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# fbuf run: programs that know nothing of fbuf, the same plain and under it.

# shellcheck disable=SC2015 # "a && b || c": b cannot fail

# shellcheck source=selftests/run/run_common.sh
. "$(dirname "$0")/run_common.sh"

programs="run_calls run_memory run_fork run_peers"

plan 19

for program in $programs; do
	passes "$here/$program"
	report $? "plain_$program"
	fresh_stats
	passes fbuf run "--stats=$stats" -p 32M "$here/$program" && sent
	report $? "run_$program"
	grep -q 'takes [1-9][0-9]* % of a copy' "$stats"
	report $? "price_is_known_$program"
	passes fbuf run --min 1 -p 16M "$here/$program"
	report $? "run_min_1_$program"
done

# A pool that is soon exhausted, and full of what others keep.
passes fbuf run -p 2M "$here/run_memory"
report $? "run_small_pool_run_memory"
fresh_stats
passes fbuf run "--stats=$stats" -p 4M "$here/run_peers" -t clients_that_never_read &&
	grep -q 'copied [0-9]* bytes: others keep too much in flight' "$stats"
report $? "crowded_by_clients"
fresh_stats
passes fbuf run "--stats=$stats" -p 4M "$here/run_peers" -t capture_that_nobody_reads &&
	grep -q 'copied [1-9]' "$stats"
report $? "crowded_by_a_capture"

exit $failed
