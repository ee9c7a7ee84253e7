#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# fbuf run where there is no module, no permission, or nonsense in the way; and what it
# tells, starts, and leaves as it was.
#
# FBUF_KO is the module's file; without it, modprobe finds it.

# shellcheck shell=dash # it has local, and limits
# shellcheck disable=SC2015 # "a && b || c": b cannot fail
# shellcheck disable=SC2016,SC2317 # what is for another shell; called by others

# shellcheck source=selftests/run/run_common.sh
. "$(dirname "$0")/run_common.sh"

# A program that sends 192 KiB from malloc() four times, as one case of run_calls does.
one_case="bytes_stay_as_they_were_at_the_call"
one() { "$@" "$here/run_calls" -t "$one_case"; }

# The same with what stands before it, and by a copy.
copies() { fresh_stats; (export RUN_COPIES=1; passes one "$@") && ! sent; }
sends() { fresh_stats; passes one "$@" && sent; }

# exits STATUS COMMAND...
exits()
{
	local want=$1 got
	shift
	run "$@"
	got=$?
	[ $got = "$want" ] || echo "# \"$*\" ended with $got, not $want"
	[ $got = "$want" ]
}

# alike COMMAND...: says the same plain and under it.
alike()
{
	"$@" >"$tmp/out-plain" 2>&1
	local plain=$?
	fbuf run "$@" >"$tmp/out-run" 2>&1
	local under=$?
	[ $plain = $under ] && cmp "$tmp/out-plain" "$tmp/out-run" >"$tmp/err" 2>&1 && return
	diff "$tmp/out-plain" "$tmp/out-run" >"$tmp/err"
	return 1
}

load() { if [ -n "$FBUF_KO" ]; then insmod "$FBUF_KO"; else modprobe fbuf; fi; }

tidy()
{
	[ -c /dev/fbuf ] || load
	chmod 666 /dev/fbuf
}

plan 25

# What is told.

fresh_stats
passes one fbuf run "--stats=$stats" && grep -q "^fbuf run: run_calls\[[0-9]*\]: sent 19[0-9]* bytes without a copy, by 1 calls" "$stats"
report $? "stats_are_right"

passes one fbuf run --stats && grep -q 'sent 19[0-9]* bytes' "$tmp/err"
report $? "stats_on_standard_error"

# A file, for the program, is where statistics are to be seen.
passes fbuf run --stats=/nowhere/at/all "$here/run_memory" -t realloc_keeps_what_was_there
report $? "stats_to_a_file_that_cannot_be"

# What is started, and how.

run fbuf run
[ $? = 2 ] && grep -q 'Which program' "$tmp/err"
report $? "no_program"

exits 127 fbuf run /nowhere/program && exits 127 fbuf run no_such_program_of_any_kind
report $? "program_that_is_not_there"

exits 126 fbuf run "$tmp" && exits 126 fbuf run "$stats"
report $? "program_that_is_none"

exits 7 fbuf run sh -c 'exit 7' && exits 143 sh -c 'fbuf run sh -c "kill \$\$"'
report $? "ends_as_the_program_does"

alike echo --pool 1 --stats -h -- x && alike sh -c 'echo "$0" "$@"' --stats --min
report $? "options_behind_the_program_are_its_own"

"$here/scale" --help >"$tmp/out-plain" 2>&1
plain=$?
fbuf run "--stats=$stats" "$here/scale" --help >"$tmp/out-run" 2>&1
[ $? = $plain ] && cmp "$tmp/out-plain" "$tmp/out-run" >"$tmp/err" 2>&1
report $? "static_program"

# Signals that are ignored, fds and what else a new program is given.
ignored() { sh -c "trap '' PIPE INT; $1 grep ^SigIgn: /proc/self/status"; }
[ "$(ignored)" = "$(ignored 'fbuf run')" ] &&
	alike grep -E '^Sig(Blk|Ign|Cgt)|^ShdPnd' /proc/self/status
report $? "signals_as_they_were"

# Of what is open, the program's own are the low ones.
[ "$(fbuf run sh -c 'exec 3</dev/null; readlink /proc/$$/fd/3')" = /dev/null ] &&
	alike sh -c 'echo /proc/self/fd/? /proc/self/fd/??'
report $? "low_fds_are_the_programs"

sends fbuf run "--stats=$stats" sh -c 'exec env A=b "$0" "$@"'
report $? "goes_on_into_other_programs"

# By hand, and with nonsense.
lib=$(fbuf run sh -c 'echo ${LD_PRELOAD%%:*}')

sends env LD_PRELOAD="$lib" FBUF_RUN_STATS="$stats" &&
	passes env LD_PRELOAD="$lib" "$here/run_calls" -t sends_equal_bytes
report $? "preloaded_by_hand"

# What is no size, or a strange one, is not the end of the program.
nonsense()
{
	local value bad=0
	for value in -1 0 x 12Q 99999999999999999999 '' ' ' 1 1K 0x 17179869184G; do
		RUN_COPIES=1 passes one env LD_PRELOAD="$lib" FBUF_RUN_STATS="$stats" \
			FBUF_RUN_POOL="$value" FBUF_RUN_MIN="$value" && continue
		echo "# \"$value\""
		bad=1
	done
	# These mean what is usual.
	for value in x 12Q '' ' ' 0x -1 -1K 99999999999999999999 17179869185G; do
		sends env LD_PRELOAD="$lib" FBUF_RUN_STATS="$stats" \
			FBUF_RUN_POOL="$value" FBUF_RUN_MIN="$value" && continue
		echo "# \"$value\", which is to mean what is usual"
		bad=1
	done
	return $bad
}
nonsense
report $? "nonsense_in_variables"

fails_with "pool" fbuf run --pool 1 true && fails_with "min" fbuf run --min x true &&
	fails_with "pool" fbuf run --pool 2000000G true
report $? "nonsense_in_options"

# Permissions and limits.

chmod 600 /dev/fbuf
copies as_nobody fbuf run -v "--stats=$stats"
report $? "nobody_without_permission"
passes one as_nobody fbuf run -v &&
	grep -q 'nothing is sent without a copy: /dev/fbuf: Permission denied' "$tmp/err"
report $? "nobody_is_told_why"
for program in run_memory run_fork; do
	passes as_nobody fbuf run "$here/$program"
	report $? "nobody_without_permission_$program"
done
chmod 666 /dev/fbuf

fresh_stats
(ulimit -l 0; RUN_COPIES=1; export RUN_COPIES
 passes as_nobody fbuf run -v "--stats=$stats" "$here/run_memory" && ! sent &&
	grep -q 'there can be no pool' "$stats")
report $? "nobody_with_nothing_to_lock"

few_fds() { ulimit -n 64; "$@"; }
(sends few_fds fbuf run "--stats=$stats")
report $? "few_fds"

fbuf run true && rmmod fbuf 2>"$tmp/err" && [ ! -e /dev/fbuf ] &&
	copies fbuf run -v "--stats=$stats" &&
	grep -q 'nothing is sent without a copy: /dev/fbuf: No such file' "$stats"
report $? "no_module"
passes fbuf run "$here/run_memory" && passes fbuf run "$here/run_fork"
report $? "no_module_and_all_goes_on"
load && sends fbuf run "--stats=$stats"
report $? "module_again"

# Nothing is left when all are gone.
until_true sh -c '! fbuf pool list | grep -q "^[0-9]"'
report $? "no_pool_is_left"

exit $failed
