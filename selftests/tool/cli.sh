#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# The tool fbuf: files through a pool, and its messages.

# shellcheck source=selftests/common/tap.sh
. "$(dirname "$0")/tap.sh"

# transfer SIZE HOST [OPTIONS]: a file of random bytes through the tool
transfer()
{
	size=$1
	shift
	head -c "$size" /dev/urandom >"$tmp/file"
	transfer_file "$tmp/file" "$@"
}

# receive [ARGUMENTS]: what it prints is in out-recv and err-recv; see receiver.
receive()
{
	rm -f "$tmp/got"
	receiver fbuf recv "$@"
}

# transfer_file FILE HOST [OPTIONS]: the same of a file that there is
transfer_file()
{
	file=$1
	host=$2
	shift 2
	receive 0 "$tmp/got" || return 1
	fbuf send "$@" "$file" "$host" "$port" >"$tmp/out" 2>"$tmp/err" ||
		{ kill "$recv" 2>/dev/null; return 1; }
	wait "$recv" && cmp "$file" "$tmp/got"
}

# rows FILE: mode, method, size, verified and total of each row of a report by compare
rows()
{
	awk -F '[",: ]+' '
		/^   "mode"/ { mode = $3 }
		/^   "method"/ { method = $3 }
		/^   "size"/ { size = $3 }
		/^   "verified"/ { verified = $3 }
		/^   "total"/ { total = $3 }
		/^  }/ && method { print mode, method, size, verified, total }' "$1"
}

# measured FILE ROWS: that many rows, each with data that arrived right, and a figure
measured()
{
	rows "$1" >"$tmp/rows"
	[ "$(grep -c ' true [1-9][0-9]*$' "$tmp/rows")" = "$2" ] &&
		[ "$(grep -c . "$tmp/rows")" = "$2" ] && return 0
	sed 's/^/# /' "$tmp/rows"
	return 1
}

# The processes whose parent is $1.
children()
{
	for stat in /proc/[0-9]*/stat; do
		{ read -r pid _ _ parent _ <"$stat"; } 2>/dev/null &&
			[ "$parent" = "$1" ] && echo "$pid"
	done
}

needs module fbuf
plan 46

transfer 3000001 127.0.0.1
report $? "file_arrives"

transfer 1000000 ::1 -b "$(page_size)" -n 3
report $? "file_arrives_by_few_small_buffers"

transfer 0 127.0.0.1
report $? "empty_file_arrives"

transfer 500000 127.0.0.1 --engine copy
report $? "file_arrives_by_copy"

# Of what was sent, of what came, and of the file.
file_arrives_with_its_hash()
{
	head -c 700001 /dev/urandom >"$tmp/file"
	sum=$(sha256sum <"$tmp/file")
	sum=${sum%% *}
	receive --sha256 0 "$tmp/got" &&
		fbuf send --sha256 "$tmp/file" 127.0.0.1 "$port" >"$tmp/out" 2>"$tmp/err" &&
		wait "$recv" && cmp "$tmp/file" "$tmp/got" &&
		grep -qx "sha256 $sum" "$tmp/out" && grep -qx "sha256 $sum" "$tmp/out-recv" &&
		receive --json --sha256 0 &&
		fbuf send --json --sha256 "$tmp/file" 127.0.0.1 "$port" >"$tmp/out" 2>"$tmp/err" &&
		wait "$recv" && json_in "$tmp/out" sha256 "$sum" && json_in "$tmp/out" bytes 700001 &&
		json_in "$tmp/out-recv" sha256 "$sum" && json_in "$tmp/out-recv" bytes 700001
}
file_arrives_with_its_hash
report $? "file_arrives_with_its_hash"

# From a pipe, which gives less than was asked for, into one; of what is printed
# nothing may come between.
stream_arrives_from_pipe_to_pipe()
{
	head -c 900001 /dev/urandom >"$tmp/file"
	receive 0 - &&
		{ head -c 5 "$tmp/file"; sleep 0.2; tail -c +6 "$tmp/file"; } |
		fbuf send --sha256 - 127.0.0.1 "$port" >"$tmp/out" 2>"$tmp/err" &&
		wait "$recv" && cmp "$tmp/file" "$tmp/out-recv" &&
		grep -q "received 900001 bytes" "$tmp/err-recv" &&
		grep -q "^sent 900001 bytes" "$tmp/out" &&
		grep -q "$(sha256sum <"$tmp/file" | cut -d ' ' -f 1)" "$tmp/out"
}
stream_arrives_from_pipe_to_pipe
report $? "stream_arrives_from_pipe_to_pipe"

# Whoever connects to another address finds nobody.
listens_where_it_is_told()
{
	receive --bind 127.0.0.2 0 "$tmp/got" &&
		fails_with "refused" fbuf send "$tmp/file" 127.0.0.1 "$port" &&
		fbuf send "$tmp/file" 127.0.0.2 "$port" >"$tmp/out" 2>"$tmp/err" &&
		wait "$recv" && cmp "$tmp/file" "$tmp/got" &&
		fails_with "cannot listen" fbuf recv --bind 192.0.2.1 0
}
listens_where_it_is_told
report $? "listens_where_it_is_told"

# The receiver must not take what it has for all, and says so.
cut_off()
{
	if wait "$recv"; then
		echo "# the receiver takes it for whole"
		return 1
	fi
	grep -q "cut off after $1 bytes" "$tmp/err-recv"
}

# A sender that is killed before its input ends.
killed_sender_is_told()
{
	fresh_fifo "$tmp/fifo"
	receive 0 "$tmp/got" || return 1
	fbuf send -b 64K - 127.0.0.1 "$port" <"$tmp/fifo" >"$tmp/out" 2>"$tmp/err" &
	sender=$!
	exec 7>"$tmp/fifo"
	head -c 131072 /dev/zero >&7
	until_true sh -c "[ \$(wc -c <'$tmp/got') = 131072 ]"
	arrived=$?
	kill -9 "$sender"
	exec 7>&-
	wait "$sender" 2>/dev/null
	[ $arrived = 0 ] && cut_off 131072 && grep -q "$tmp/got is not whole" "$tmp/err-recv"
}
killed_sender_is_told
report $? "killed_sender_is_told"

# One that fails, without a file to write: what cannot be read so is found late.
failed_sender_is_told()
{
	receive 0 &&
		fails_with "direct" fbuf send --direct /proc/version 127.0.0.1 "$port" &&
		cut_off 0
}
failed_sender_is_told
report $? "failed_sender_is_told"

# And what can be found before the peer hears of it, is.
fails_with "is a directory" fbuf send "$tmp" 127.0.0.1 1 &&
	fails_with "is a directory" sh -c "fbuf send - 127.0.0.1 1 <\"$tmp\""
report $? "directory_is_not_sent"

# A disk takes direct I/O, which not every file system does.
[ -b /dev/ram0 ] || modprobe -q brd rd_nr=1 rd_size=4096
if [ -b /dev/ram0 ] && [ -d /sys/module/brd ]; then
	head -c 4194304 /dev/urandom >/dev/ram0
	transfer_file /dev/ram0 127.0.0.1 --direct
	report $? "disk_arrives_by_direct_io"
else
	skip "disk_arrives_by_direct_io" "no RAM disk"
fi

fbuf pool make --json >"$tmp/out" 2>"$tmp/err" &&
	json_in "$tmp/out" nr_bufs 16 && json_in "$tmp/out" buf_size 262144
report $? "pool_json"

fbuf pool make -b 64K -n 4 >"$tmp/out" 2>"$tmp/err" && grep -q '64' "$tmp/out"
report $? "pool_text"

fbuf pool make -j -b 64K -n 4 --lazy >"$tmp/out" 2>"$tmp/err" &&
	json_in "$tmp/out" lazy true && json_in "$tmp/out" resident 0 &&
	fbuf pool make -b 64K -n 4 --lazy >"$tmp/out" 2>"$tmp/err" &&
	grep -q 'volatile, lazy' "$tmp/out"
report $? "pool_lazy"

for kind in volatile secured snapshot; do
	fbuf demo --size 3000001 --protect $kind >"$tmp/out" 2>"$tmp/err" &&
		grep -q "nothing was copied" "$tmp/out"
	report $? "demo_of_a_chain_$kind"
done

# Every way to send, once: right, or not to be had here; but fbuf's are.
fbuf bench --repeats 2 --sizes 3000 --fan-sizes 5001 --sockets 1,3 --segment-sizes 100 \
	--segments 5 --out "$tmp/out" >"$tmp/text" 2>"$tmp/err" &&
	[ "$(grep -c '"verified": true' "$tmp/out")" -ge 25 ] &&
	[ "$(grep -c '"verified": false' "$tmp/out")" = \
	  "$(grep -c '"note": "unsupported' "$tmp/out")" ] &&
	grep -q "^fan  *fbuf-batch " "$tmp/text" &&
	! grep -q "^[a-z]*  *fbuf\(-[^s ]*\)\? .*unsupported" "$tmp/text"
report $? "bench_sends_every_way"

# Each method in each mode, with a receiver that reads and one that drops; but for
# those from huge pages, which not every kernel has, and not always.
ways=$(fbuf compare --methods help | grep -v huge | tr '\n' ,)
ways=${ways%,}
in_mode=$((2 * $(echo "$ways" | tr , '\n' | wc -l)))
fbuf compare --repeats 2 --seconds 0.05 --sizes 3000 --methods "$ways" --out "$tmp/report" \
	>"$tmp/text" 2>"$tmp/err" &&
	[ "$in_mode" -ge 28 ] && measured "$tmp/report" $((2 * in_mode)) &&
	fbuf compare --repeats 2 --mode lockstep --sizes 3000 --methods "$ways" --source 64K \
		--json >"$tmp/out" 2>"$tmp/err" &&
	measured "$tmp/out" "$in_mode"
report $? "compare_sends_every_way"

# Measured, or it says that there are no huge pages.
compare_sends_from_huge_pages()
{
	fbuf compare --repeats 2 --mode lockstep --sizes 3000 --methods sendfile-huge,splice-huge \
		--out "$tmp/huge" >"$tmp/text" 2>"$tmp/err"
	case $? in
	0)	measured "$tmp/huge" 4 ;;
	*)	[ "$(grep -c '"note": "unsupported: .*huge' "$tmp/huge")" = 4 ] ;;
	esac
}
compare_sends_from_huge_pages
report $? "compare_sends_from_huge_pages"

# Ours to the best of the others, which is none of ours; rewriting to rewriting.
compare_names_the_best()
{
	fbuf compare --repeats 9 --mode lockstep --sizes 3000 --json --methods \
		write,vmsplice,write-rewrite,fbuf,fbuf-rewrite >"$tmp/out" 2>"$tmp/err" || return 1
	# Of each row: its method, the best, and the ratio.
	awk -F '[",: ]+' '
		/^   "method"/ { method = $3 }
		/^   "best"/ { best = $3 }
		/^   "ratio_to_best"/ { ratio = $3 }
		/^  }/ && method { print method, best, ratio }' "$tmp/out" >"$tmp/best"
	[ "$(grep -cE '^fbuf(\+read)? (write|vmsplice)(\+read)? [0-9.]+$' "$tmp/best")" = 2 ] &&
		grep -qE '^fbuf-rewrite write-rewrite [0-9.]+$' "$tmp/best" &&
		grep -qE '^fbuf-rewrite\+read write-rewrite\+read [0-9.]+$' "$tmp/best" &&
		grep -q '^write-rewrite write-rewrite 1.0$' "$tmp/best" &&
		grep -q '"socket_buffers"' "$tmp/out"
}
compare_names_the_best
report $? "compare_names_the_best"

# What each workload has of ours, and how many of the others.
workload()
{
	fbuf compare --workload "$@" --repeats 2 --out "$tmp/load" >"$tmp/text" 2>"$tmp/err"
	rows "$tmp/load" | sed '/huge\|bundle/d' >"$tmp/rows"
	! grep -v ' true [1-9][0-9]*$' "$tmp/rows" && grep -q "workload $1" "$tmp/text"
}
workload log --sizes 5000 --consumers 1,6 && [ "$(grep -c . "$tmp/rows")" = 14 ] &&
	[ "$(grep -c '"copied": 0' "$tmp/load")" = 6 ]
report $? "workload_log"
workload queue --sizes 100,2000 && [ "$(grep -c . "$tmp/rows")" = 16 ]
report $? "workload_queue"
workload churn --sizes 3000 && [ "$(grep -c . "$tmp/rows")" = 7 ]
report $? "workload_churn"
workload pass --sizes 3000 && [ "$(grep -c . "$tmp/rows")" = 5 ]
report $? "workload_pass"
# Long enough for an answer beside what is large, on the slowest machine as well.
seconds=$(awk -v n="${SLOWER:-1}" 'BEGIN { print 0.2 * n }')
workload tail --seconds "$seconds" && [ "$(grep -c . "$tmp/rows")" = 8 ] &&
	[ "$(grep -c '"p999": [1-9]' "$tmp/load")" -ge 8 ]
report $? "workload_tail"
fails_with "no workload" fbuf compare --workload log,foo
report $? "compare_knows_its_workloads"

# The same report again, as JSON and as tables with its figures.
compare_prints_a_report_again()
{
	fbuf compare --from "$tmp/report" --json >"$tmp/out" 2>"$tmp/err" &&
		cmp "$tmp/report" "$tmp/out" &&
		fbuf compare --from "$tmp/report" >"$tmp/out" 2>"$tmp/err" || return 1
	rows "$tmp/report" >"$tmp/rows"
	while read -r mode method _ _ total; do
		[ "$mode" = stream ] || grep -q "^$method  *$total\$" "$tmp/out" || return 1
	done <"$tmp/rows"
	grep -q "^throughput" "$tmp/out" && [ "$(grep -c "^fbuf+read  *[0-9]" "$tmp/out")" = 8 ] &&
		grep -q "^fbuf  *[0-9].* [0-9]\.[0-9][0-9] " "$tmp/out"
}
compare_prints_a_report_again
report $? "compare_prints_a_report_again"

fails_with "no report" fbuf compare --from "$tmp/none" &&
	echo '{ "rows": [' >"$tmp/bad" && fails_with "no report" fbuf compare --from "$tmp/bad" &&
	echo '{ "rows": [] }' >"$tmp/bad" && fails_with "not a report" fbuf compare --from "$tmp/bad"
report $? "compare_refuses_what_is_no_report"

# A row without a figure, why ever, is a failure: in the status, not only in a note.
awk '/"total": [1-9]/ && !done { sub(/: .*/, ": null,"); done = 1 } 1' "$tmp/report" >"$tmp/bad"
fails_with "1 of $((2 * in_mode)) rows" fbuf compare --from "$tmp/bad"
report $? "compare_tells_of_a_row_without_a_figure"

# A file, too, which the kernel reads into the pool, protected or not.
head -c 1000001 /dev/urandom >"$tmp/file"
fbuf demo --protect secured "$tmp/file" >"$tmp/out" 2>"$tmp/err" &&
	grep -q "nothing was copied" "$tmp/out" &&
	fbuf demo "$tmp/file" >"$tmp/out" 2>"$tmp/err" &&
	grep -q "nothing was copied" "$tmp/out"
report $? "demo_of_a_file"

fails_with "no method" fbuf bench --methods write,frobnicate
report $? "bench_knows_its_methods"

# A row that fails is in the report, and in the exit status.
! fbuf bench --repeats 2 --kinds one --sizes 1 --methods fbuf --netns-tx none >"$tmp/out" 2>"$tmp/err" &&
	grep -q "fbuf .* connecting by TCP: No such file" "$tmp/out"
report $? "bench_says_what_failed"

# What cannot be written is found before anything is measured, and so printed.
bad_output_is_found_first()
{
	for command in compare bench cost; do
		fails_with "cannot .*/none/report" fbuf $command -r 1 -o "$tmp/none/report" &&
			[ ! -s "$tmp/out" ] &&
			fails_with "cannot .*$tmp: is a directory" fbuf $command -r 1 -o "$tmp" &&
			[ ! -s "$tmp/out" ] || return 1
	done
	# What it takes only then: the tables are there all the same.
	fails_with "no space" fbuf compare -r 1 -m lockstep -M write -s 1K -o /dev/full &&
		grep -q "^write " "$tmp/out"
}
bad_output_is_found_first
report $? "bad_output_is_found_first"

# This machine's clock counts nanoseconds, whatever it is told to call them.
clock_that_counts_no_instructions()
{
	for command in compare bench cost; do
		fails_with "does not count instructions" fbuf $command -r 1 --clock instructions &&
			[ ! -s "$tmp/out" ] || return 1
	done
}
clock_that_counts_no_instructions
report $? "clock_that_counts_no_instructions"

# blames WORD COMMAND...: it, and nothing before it
blames()
{
	word=$1
	shift
	fails_with "\"$word\"" "$@" && ! grep -q write "$tmp/err"
}
blames foo fbuf compare -M write,foo && blames foo fbuf compare -M foo,write &&
	blames 4X fbuf compare -s 1K,4X && blames foo fbuf compare -m foo &&
	blames foo fbuf compare --clock foo && blames foo fbuf compare -S foo &&
	blames foo fbuf compare -w log,foo && blames 4X fbuf compare --consumers 1,4X &&
	blames foo fbuf bench -M write,foo && blames 4X fbuf bench -s 1K,4X
report $? "wrong_word_is_blamed"

# cells ROWS NR: so many figures are in these rows, which may be wrapped
cells()
{
	awk -v rows="$1" -v want="$2" '$0 ~ rows && !/:/ {
		for (i = 1; i <= NF; i++)
			nr += $i ~ /^-?[0-9]+$/
	} END { exit nr != want }' "$tmp/out"
}

# Each row of the table has its figures, in JSON and in text. Where faults are
# injected, not there: they are no part of what is measured.
once fbuf cost --repeats 3 --out "$tmp/cost" >"$tmp/out" 2>"$tmp/err" &&
	[ "$(grep -c '"per_page": -\{0,1\}[0-9]' "$tmp/cost")" = 9 ] &&
	[ "$(grep -c '"median": [1-9]' "$tmp/cost")" = 69 ] &&
	[ "$(grep -c '"rewrite": [1-9]' "$tmp/cost")" = 2 ] &&
	cells '^(cached, |uncached|shared, |copy|snapshot send)' 81 && cells '^(fbuf, secured|write) ' 10 &&
	json_in "$tmp/cost" &&
	once fbuf cost --repeats 1 --json >"$tmp/cost" 2>"$tmp/err" && json_in "$tmp/cost"
report $? "cost_measures_every_row"

# Whoever is stopped goes on afterwards: here the receiver as well as the producer.
cost_survives_a_stop()
{
	once fbuf cost --repeats 100 >"$tmp/out" 2>"$tmp/err" &
	cost=$!
	stops=0
	while kill -0 "$cost" 2>/dev/null && [ $stops -lt 50 ]; do
		for pid in $(children "$cost") "$cost"; do
			kill -STOP "$pid" 2>/dev/null && stops=$((stops + 1))
			kill -CONT "$pid" 2>/dev/null
		done
	done
	wait "$cost" && [ $stops -ge 4 ]
}
cost_survives_a_stop
report $? "cost_survives_a_stop"

# Not users that somebody may be: 65520 to 65531 are nobody's (Debian Policy 9.2.2,
# systemd's list of users), and a container of 65536 users has them too.
fbuf demo --size 10000 --json >"$tmp/out" 2>"$tmp/err" &&
	[ "$(sed -n 's/.*"uid": \([0-9]*\).*/\1/p' "$tmp/out" | sort -u |
		awk '$1 >= 65520 && $1 <= 65531' | wc -l)" = 3 ]
report $? "demo_takes_nobody's_users"

fails_with "power of two" fbuf pool make -b 70000
report $? "bad_buffer_size"

fails_with "no such file" fbuf send "$tmp/none" 127.0.0.1 1
report $? "no_such_file"

fails_with "refused" fbuf send "$tmp/file" 127.0.0.1 1
report $? "nobody_listens"

fails_with "no command" fbuf frobnicate
report $? "unknown_command"

# As a user who may not open the device.
chmod 755 "$tmp"
if as_nobody true 2>/dev/null; then
	fails_with "permission\|root\|group" as_nobody fbuf pool make
	report $? "no_permission"
else
	skip "no_permission" "cannot become nobody"
fi

# Pages that may not be pinned are a system that cannot: that is a row less, too.
if as_nobody true 2>/dev/null; then
	fails_with "2 of 2 rows" as_nobody sh -c "ulimit -l 0
		fbuf compare -m lockstep -r 3 -s 3000 -M send-zc" &&
		grep -q "^send-zc: .*unsupported: registering a buffer" "$tmp/out"
	report $? "compare_tells_of_what_cannot_be_had"
else
	skip "compare_tells_of_what_cannot_be_had" "cannot become nobody"
fi

# Where there is no device.
mkdir "$tmp/dev"
if unshare -m true 2>/dev/null; then
	fails_with "is loaded, but is not to be had.*fbuf doctor" unshare -m sh -c \
		"mount --bind $tmp/dev /dev && exec fbuf pool make"
	report $? "no_device"
else
	skip "no_device" "no unshare"
fi

exit $failed
