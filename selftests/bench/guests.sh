# SPDX-License-Identifier: GPL-2.0
# What serve-bench and relay-bench share, to be sourced after common.sh: the guests, where
# servers of Debian and what asks them are. Who sources it has $parts, $disk and rows_of().
# shellcheck shell=bash disable=SC2154 # common.sh and who sources this have them

tools=$build/serve
run=$top/selftests/run
# A copy is an instruction for eight bytes: see demo.
cpu="max,-erms,-fsrm"

build_serve()
{
	say "building what asks, and what answers"
	make -s -C "$here/serve" O="$tools" USER="$build/user"
	cp "$here"/serve/{measure,proxies,servers.sh} "$build"/user/examples/{httpd,relay} "$tools"
}

# measure KERNEL NAME SCRIPT: the rows of that name, of $ROWS if it is set
measure()
{
	local kernel=$1 out=$parts/$1/$2 clock=instructions mem=3G chosen='' row
	local -a how=(--cpu "$cpu" --icount)
	for row in $(rows_of "$2"); do
		[ "${ROWS-}" ] && [[ " $ROWS " != *" $row "* ]] || chosen+=" $row"
	done
	[ "$chosen" ] || return 0
	say "measuring on Linux $kernel:$chosen ($SECONDS s so far)"
	if [ "$kernel" = uml ]; then
		clock=nanoseconds mem=4G how=()	# its disk is in memory
	fi
	# What could not be measured is missed by the report.
	# shellcheck disable=SC2086 # they are several
	"$vm/run" --kernel "$kernel" "${how[@]}" --mem $mem --timeout 3000 --disk "$disk" \
		--out "$out" --add "$build/user/libfbuf-run.so:/lib/libfbuf-run.so" \
		--add "$run/guest-run:/bin/guest-run" --add "$tools:/selftests" -- \
		guest-run "./$3" "$clock" $chosen || true
	mkdir -p "$out"
	cat "$("$vm/kernel" get "$kernel")/release" >"$out/kernel"
	echo "$clock" >"$out/clock"
	echo "$chosen" >"$out/rows"
}
