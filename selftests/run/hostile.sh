#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=dash disable=SC2086,SC2317 # it has local; words and numbers; functions are given to others
# Where fbuf run can do nothing, a program runs as if it were not there, and one line says
# why nothing is sent without a copy. And in a container, where it can.
# shellcheck source=selftests/common/tap.sh
. "$(dirname "$0")/tap.sh"
# shellcheck source=selftests/run/programs.sh
. "$here/programs.sh"

port=11211
requests=$((requests / 4))
mode_before=$(stat -c %a /dev/fbuf)
chmod 755 "$tmp"

tidy()
{
	stop_all
	chmod "$mode_before" /dev/fbuf 2>/dev/null
}

no_scripts=
nobody="setpriv --reuid=65534 --regid=65534 --clear-groups"

# Threads, and a fork for each connection.
served()
{
	server memcached memcached -u root -p $port -U 0 -I 8m -t 4 -m 256
	serves $port && asked --fill -n "$requests" -c 16 memcached 127.0.0.1 $port || return
	says_why memcached || return
	[ ! "$no_scripts" ] || return 0
	server store python3 "$here/store.py" --fork $((port + 1))
	serves $((port + 1)) || return
	asked --fill -n "$requests" -c 4 -w 0 tcp 127.0.0.1 $((port + 1)) && says_why store
}

# One line, and no more, if there is a reason to be told.
says_why()
{
	local lines
	[ $mode = run ] && [ "$reason" ] || return 0
	lines=$(grep -cE "(nothing is sent without a copy|there can be no pool).*: $reason" "$tmp/log-$1")
	[ "$lines" = 1 ] && return
	echo "$lines lines say why: $reason" >"$tmp/err-why"
	return 1
}

# case_of CASE REASON: nothing is sent by fbuf, for that reason.
case_of()
{
	reason=$2
	unsent=$2
	twice "$1" served
	around=
}

no_module()
{
	busybox rmmod fbuf
	case_of no_module "No such file or directory"
	busybox insmod /lib/fbuf.ko
	until_true [ -c /dev/fbuf ]
}

no_permission()
{
	chmod 600 /dev/fbuf
	around=$nobody
	case_of no_permission "Permission denied"
}

no_locked_memory()
{
	chmod 666 /dev/fbuf
	around="prlimit --memlock=0:0 $nobody"
	case_of no_locked_memory "Cannot allocate memory"
}

# Python itself needs ioctl() to read a script.
no_ioctl()
{
	around=$here/refuse
	no_scripts=1
	case_of no_ioctl "Operation not permitted"
	no_scripts=
}

no_device()
{
	around="bwrap --die-with-parent --bind / / --dev /dev --proc /proc"
	case_of no_device "No such file or directory"
}

# A container of its own: user, processes, network, mounts; with memory to lock.
container()
{
	chmod 666 /dev/fbuf
	unshare --user --map-root-user --pid --fork --kill-child --net \
		--mount --mount-proc sh -c 'ip link set lo up; echo ready; exec sleep 10000' \
		>"$tmp/log-container" 2>&1 &
	outer=$!
	wait_for ready "$tmp/log-container" || return
	inside="prlimit --memlock=unlimited nsenter -t $(pgrep -P $outer) -U -p -n -m --preserve-credentials"
}

contained()
{
	local status
	rm -f "$tmp/log-container"
	container && around="$inside $1" && served
	status=$?
	around='' inside=''
	# All that is in there goes with it.
	stop $outer KILL
	return $status
}

in_container()
{
	reason='' unsent=''
	twice in_container contained
}

in_container_no_device()
{
	reason="No such file or directory"
	unsent=$reason
	twice in_container_no_device contained "bwrap --die-with-parent --bind / / --dev /dev"
}

begin 7
no_module
no_permission
no_locked_memory
no_ioctl
no_device
in_container
in_container_no_device
exit $failed
