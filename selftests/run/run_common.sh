# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=dash disable=SC2034 # tap.sh uses what is here
#
# What run.sh and run_env.sh share: programs of cases, and what fbuf run tells of them.

# shellcheck source=selftests/common/tap.sh
. "$(dirname "$0")/tap.sh"

needs root module fbuf
# Others write there too, and read what they wrote.
chmod 711 "$tmp"
stats=$tmp/stats
said="err* out"

fresh_stats()
{
	rm -f "$stats"
	: >"$stats"
	chmod 666 "$stats"
}

# passes COMMAND...: a program of cases, of which none fails.
passes()
{
	local status
	"$@" >"$tmp/out" 2>"$tmp/err"
	status=$?
	[ $status = 0 ] && grep -q '^ok ' "$tmp/out" && ! grep -q '^not ok ' "$tmp/out" &&
		return
	grep -E '^not ok|^# .*:Expected|terminated' "$tmp/out" >"$tmp/err-cases"
	rm "$tmp/out"
	echo "# \"$*\" ended with $status"
	return 1
}

# sent: a process told that it sent something without a copy.
sent() { grep -q ': sent [1-9][0-9]* bytes without a copy' "$stats"; }
