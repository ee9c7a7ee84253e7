# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=dash disable=SC2034,SC2317 # whoever sources it uses what is here
#
# What shell tests share: results as TAP, a folder for files of theirs, ways to wait
# for what comes in its own time, and to become somebody else. A test is
#
#	. "$(dirname "$0")/tap.sh"
#	needs module fbuf
#	plan 2
#	do_this && [ "$that" = so ]
#	report $? "name_of_the_case"
#	skip "name_of_another" "why"
#	exit $failed
#
# In the guest it is /lib/tap.sh, for the scripts there that wait.

KSFT_SKIP=4
here=$(cd "$(dirname "$0")" && pwd)
tmp=$(mktemp -d)
nr=0
failed=0
said="err*"		# files in $tmp that tell why a test failed

# What a test leaves besides files; it has one of its own then.
tidy() { :; }
trap 'tidy; rm -rf "$tmp"' EXIT

# skip_all WHY
skip_all()
{
	echo "1..0 # SKIP $*"
	exit $KSFT_SKIP
}

# needs WHAT...: root, the module, or a program; else all is skipped.
needs()
{
	local what
	for what; do
		case $what in
		root)	[ "$(id -u)" -eq 0 ] || skip_all "needs root" ;;
		module)	[ -c /dev/fbuf ] || skip_all "no /dev/fbuf: is the module loaded?" ;;
		*)	command -v "$what" >/dev/null || skip_all "no $what in PATH" ;;
		esac
	done
}

# A page of this kernel, as the tool takes sizes: 4K, or 16K on some for arm64.
page_size() { sed -n 's/^KernelPageSize: *\([0-9]*\) kB$/\1K/p' /proc/self/smaps | head -n 1; }

# plan NUMBER: of the test cases
plan()
{
	echo "TAP version 13"
	echo "1..$1"
}

# report STATUS CASE: says before a failure what the files have that tell why.
report()
{
	nr=$((nr + 1))
	if [ "$1" -eq 0 ]; then
		echo "ok $nr $2"
	else
		# shellcheck disable=SC2086 # they are several
		(cd "$tmp" && sed 's/^/# /' $said 2>/dev/null)
		echo "not ok $nr $2"
		failed=1
	fi
	# shellcheck disable=SC2086
	(cd "$tmp" && rm -f $said)
}

# skip CASE WHY
skip()
{
	nr=$((nr + 1))
	echo "ok $nr $1 # SKIP $2"
}

# Runs it with its output in files.
run() { "$@" >"$tmp/out" 2>"$tmp/err"; }

# fails_with WORDS COMMAND...: and says so, on standard error, with these words.
fails_with()
{
	local words=$1
	shift
	if run "$@"; then
		echo "# \"$*\" did not fail"
		return 1
	fi
	grep -qi "$words" "$tmp/err"
}

# findings FILE: what fbuf doctor has to say against this machine, for tool/messages
findings() { awk '/^[a-z]/ { on = /^wrong|^note/ } on { print "#> " $0 }' "$1"; }

# json_in FILE [PATH VALUE]: the file is JSON, and has this there.
json_in()
{
	local got
	if [ $# = 1 ]; then
		"$here/json" "$1" 2>"$tmp/err-json"
		return
	fi
	got=$("$here/json" "$1" "$2" 2>"$tmp/err-json")
	[ "$got" = "$3" ] || { echo "# $2 is \"$got\", not \"$3\""; return 1; }
}

# until_true COMMAND...: looks again for 30 seconds.
until_true()
{
	local tries=0
	until "$@"; do
		tries=$((tries + 1))
		if [ $tries = 300 ]; then
			echo "# in vain: $*"
			return 1
		fi
		sleep 0.1
	done
}

# wait_for PATTERN FILE: until the file has it
wait_for() { until_true grep -qs "$1" "$2"; }

# receiver COMMAND...: a fbuf recv, in the background, until it listens; sets $recv and
# $port. What it says is in out-recv and err-recv.
receiver()
{
	: >"$tmp/err-recv"	# else the last one's port could be read from it
	"$@" >"$tmp/out-recv" 2>"$tmp/err-recv" 3>&- 4>&- &
	recv=$!
	if ! wait_for "listening on port" "$tmp/err-recv"; then
		kill "$recv"
		return 1
	fi
	port=$(sed -n 's/.*listening on port \([0-9]*\).*/\1/p' "$tmp/err-recv")
}

# fresh_fifo FIFO [FILE...]: a pipe for a holder to read, whose own file would be
# emptied only once somebody writes: so what an earlier holder said goes here.
fresh_fifo()
{
	rm -f "$@"
	mkfifo "$1"
}

# Without the faults of make inject: a call that is made again counts once more.
once() { env -u LD_PRELOAD "$@"; }

# In the place of the shell that asks: in the background its number is the command's.
become_nobody()
{
	exec setpriv --reuid="$(id -u nobody)" --regid="$(id -g nobody)" --clear-groups \
		--inh-caps=-all "$@"
}

as_nobody() { (become_nobody "$@"); }
