#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=dash disable=SC2317 # functions that others call
#
# fbuf doctor: each thing that it tells of, really so. FBUF_KO is the module's file, in a
# guest; without it this is somebody's machine, on which nothing is loaded or changed.

# shellcheck source=selftests/common/tap.sh
. "$(dirname "$0")/tap.sh"

said="out* err*"
release=$(uname -r)
group=4711	# of the device; it has a name for those who see our /etc/group

# doctor STATUS [COMMAND...] fbuf doctor...: and it ended so, with lines that fit.
doctor()
{
	local want=$1 got
	shift
	run "$@"
	got=$?
	findings "$tmp/out"
	[ $got = "$want" ] || { echo "# it ended with $got, not $want"; return 1; }
	! grep -n '.\{81\}' "$tmp/out" || return
	# As one line, however it was broken.
	one_line
}

one_line() { { tr -s '\n ' ' ' <"$tmp/out"; echo; } >"$tmp/out-line"; }

# The last one said all of these.
says()
{
	for words; do
		grep -qF -- "$words" "$tmp/out-line" || { echo "# it does not say \"$words\""; return 1; }
	done
}

# alone COMMANDS...: run by a shell in a network namespace of its own, with a veth d0.
alone()
{
	unshare -n /bin/sh -c "ip link set lo up && ip link add d0 type veth peer name d1 &&
		ip addr add 192.0.2.1/24 dev d0 && ip link set d0 up && ip link set d1 up &&
		$*"
}

# What needs no module.

library_of_another_release()
{
	echo 'const char *fbuf_version(void); const char *fbuf_version(void) { return "0.0.1"; }' |
		${CC:-cc} -shared -x c -o "$tmp/libfbuf.so.0" - || return
	run env "LD_LIBRARY_PATH=$tmp" fbuf doctor
	findings "$tmp/out"
	one_line
	says "note Programs find the library in version 0.0.1, and this tool is of" \
		"sudo make install-user"
}

no_address()
{
	fails_with "is no address" fbuf doctor 999.1.1.1 && fails_with "one argument too many" fbuf doctor ::1 ::1
}

json_has_all()
{
	run fbuf doctor
	local text
	text=$(grep -c '^wrong' "$tmp/out")
	run fbuf doctor --json
	json_in "$tmp/out" wrong "$text" && json_in "$tmp/out" findings.0.about module
}

on_a_machine()
{
	plan 4
	if [ -e /sys/module/fbuf ] || grep -qs '/fbuf\.ko' "/lib/modules/$release/modules.dep"; then
		skip "not_installed" "it is, on this machine"
	else
		doctor 1 fbuf doctor && says "wrong The module is" "make && sudo make install"
		report $? "not_installed"
	fi
	library_of_another_release
	report $? "library_of_another_release"
	no_address
	report $? "no_address"
	json_has_all
	report $? "json_has_all"
}

# With /lib/modules as it is to be: first the module is nowhere.

# installed_for RELEASE FILE: and modprobe knows it.
installed_for()
{
	mkdir -p "/lib/modules/$1/extra" && cp "$2" "/lib/modules/$1/extra/fbuf.ko" &&
		depmod "$1"
}

take_away() { rm -rf /lib/modules/*; }

not_loaded()
{
	doctor 1 fbuf doctor && says "wrong The module is not installed for any kernel"
	report $? "not_installed"

	installed_for 9.9.9-other "$FBUF_KO" && doctor 1 fbuf doctor &&
		says "installed for Linux 9.9.9-other, and not for $release, which runs"
	report $? "for_another_kernel"

	installed_for "$release" "$FBUF_KO" && doctor 1 fbuf doctor &&
		says "wrong The module is not loaded. sudo modprobe fbuf"
	report $? "not_loaded"
	fails_with "not loaded.*fbuf doctor --load" fbuf pool &&
		fails_with "not loaded.*fbuf doctor --load" fbuf pool make
	report $? "others_name_the_doctor"

	doctor 1 as_nobody fbuf doctor --load && says "only root may load it" &&
		[ ! -e /sys/module/fbuf ]
	report $? "nobody_loads_it"

	# As long as it was; with versions of symbols, the kernel's own number does not count.
	sed 's/vermagic=[0-9]/vermagic=x/; s/mod_unload/mod_xnload/' "$FBUF_KO" >"$tmp/other.ko"
	installed_for "$release" "$tmp/other.ko" && doctor 1 fbuf doctor --load &&
		says "Exec format error" "it was built for another kernel"
	report $? "of_another_kernel"

	head -c 1000 /dev/zero >"$tmp/other.ko"
	mv "$tmp/other.ko" "/lib/modules/$release/extra/fbuf.ko"
	doctor 1 fbuf doctor --load && says "wrong The kernel refused the module"
	report $? "no_module_at_all"

	installed_for "$release" "$FBUF_KO" && doctor 0 fbuf doctor --load &&
		says "ok The module was not loaded; now it is." "ok You may open /dev/fbuf." &&
		[ -c /dev/fbuf ]
	report $? "loads_it"
}

# The device.

device()
{
	doctor 0 fbuf doctor && says "ok The module is loaded, version" \
		"ok You may open /dev/fbuf." "ok A pool of 4.0 MiB was made, and dropped."
	report $? "nothing_is_wrong"

	doctor 1 as_nobody fbuf doctor &&
		says "wrong You may not open /dev/fbuf: only its owner may (mode 0600)" \
			"the group fbuf is not installed"
	report $? "for_root_alone"

	cp /etc/group "$tmp/group"
	chgrp $group /dev/fbuf
	chmod 660 /dev/fbuf
	doctor 1 as_nobody fbuf doctor && says "it is for the group $group"
	report $? "group_without_a_name"

	echo "fbuf:x:$group:" >>/etc/group
	doctor 1 as_nobody fbuf doctor &&
		says "wrong You (nobody) may not open /dev/fbuf: it is for the group fbuf" \
			"sudo usermod -aG fbuf nobody"
	report $? "not_in_the_group"

	sed -i "s/^fbuf:.*/&nobody/" /etc/group
	doctor 1 as_nobody fbuf doctor && says "this session began before you were" "newgrp fbuf"
	report $? "session_is_older_than_the_group"

	doctor 0 member fbuf doctor && says "ok You may open /dev/fbuf."
	report $? "member_of_the_group"

	mv /dev/fbuf /dev/fbuf-away
	doctor 1 fbuf doctor && says "The module is loaded, and there is no /dev/fbuf here"
	status=$?
	mv /dev/fbuf-away /dev/fbuf
	report $status "no_device"
}

member()
{
	setpriv --reuid=65534 --regid=65534 --groups="$group" --inh-caps=-all "$@"
}

# The limits.

# locking KIB COMMAND...: with such a limit
locking()
{
	# shellcheck disable=SC3045 # every shell that there is has it
	(ulimit -l "$1" && shift && "$@")
}

in_cgroup() { (echo 0 >"$cgroup/cgroup.procs" && "$@"); }

limits()
{
	doctor 1 locking 64 member fbuf doctor &&
		says "wrong All your pools together may have 64.0 KiB (RLIMIT_MEMLOCK)" \
			"wrong No pool of 4.0 MiB can be made: Cannot allocate memory" "limits.conf"
	report $? "nothing_to_lock"

	doctor 0 locking 8192 member fbuf doctor && says "note All your pools together may have 8.0 MiB"
	report $? "little_to_lock"

	doctor 0 locking 262144 member fbuf doctor && says "ok All your pools together may have 256.0 MiB"
	report $? "enough_to_lock"

	fbuf limit set --pool 1M
	doctor 1 fbuf doctor && says "wrong A pool may have 1.0 MiB" "sudo fbuf limit set --pool" \
		"can be made: Disk quota exceeded"
	report $? "limit_of_a_pool"
	fbuf limit set --pool none --user 1M
	doctor 1 fbuf doctor && says "wrong root has 0 B of the 1.0 MiB" "sudo fbuf limit set --uid root"
	report $? "limit_of_a_user"
	fbuf limit set --user none

	in_full_cgroup
	report $? "cgroup_is_full"
	in_enough_cgroup
	report $? "cgroup_is_enough"
}

in_enough_cgroup()
{
	cgroup=/sys/fs/cgroup/fbuf-doctor-$$
	mkdir "$cgroup" && echo 64M >"$cgroup/memory.max" &&
		fbuf limit set --cgroup-alone yes || return
	doctor 0 in_cgroup locking 64 member fbuf doctor &&
		says "ok Your memory cgroup alone bounds your pools; what they receive may have 64.0 KiB" \
			"ok A pool of 4.0 MiB was made"
	local status=$?
	fbuf limit set --cgroup-alone no
	rmdir "$cgroup"
	return $status
}

in_full_cgroup()
{
	cgroup=/sys/fs/cgroup/fbuf-doctor-$$
	echo +memory >/sys/fs/cgroup/cgroup.subtree_control && mkdir "$cgroup" || return
	echo 4M >"$cgroup/memory.max"
	doctor 1 in_cgroup fbuf doctor && says "wrong The memory cgroup $cgroup has" "of its 4.0 MiB"
	local status=$?
	rmdir "$cgroup"
	return $status
}

# The network; in a namespace of its own.

network()
{
	doctor 0 alone fbuf doctor 192.0.2.2 && says "ok d0 takes pages as they are"
	report $? "device_of_the_route"
	doctor 0 alone "ip route add default dev d0 && fbuf doctor" &&
		says "ok d0 takes pages as they are"
	report $? "device_of_the_default_route"
	doctor 0 alone fbuf doctor && says "note There is no default route"
	report $? "no_default_route"
	doctor 1 alone fbuf doctor 198.51.100.1 && says "wrong There is no way to 198.51.100.1"
	report $? "no_way"

	doctor 1 alone "ethtool -K d0 sg off && fbuf doctor 192.0.2.2" &&
		says "wrong d0 has scatter-gather (sg) off" "sudo ethtool -K d0 tx on sg on tso on"
	report $? "no_scatter_gather"
	doctor 1 alone "ethtool -K d0 tx off && fbuf doctor 192.0.2.2" && says "wrong d0 has"
	report $? "no_checksums"
	doctor 0 alone "ethtool -K d0 tso off && fbuf doctor 192.0.2.2" &&
		says "note d0 has TSO off" "sudo ethtool -K d0 tso on"
	report $? "no_tso"

	doctor 0 alone fbuf doctor ::1 && says "note lo takes packets" "sudo ip link set dev lo gso_max_size"
	report $? "packets_of_64_kib"
	# IPv4 has none before Linux 6.3, and older programs "ip" do not know of it.
	four="ok lo takes packets of more than 64 KiB (BIG TCP)"
	[ "${release#6.1.}" != "$release" ] ||
		ip link help 2>&1 | grep -q gso_ipv4_max_size ||
		four="note lo takes packets of IPv4 of 64 KiB"
	doctor 0 alone "ip link set lo gso_max_size 524280 && { ip link set lo \
		gso_ipv4_max_size 524280 2>/dev/null || true; }; fbuf doctor ::1" && says "$four"
	report $? "big_tcp"

	deferred=/proc/sys/net/core/skb_defer_max
	before=$(cat $deferred)
	echo 0 >$deferred
	doctor 0 fbuf doctor && says "ok net.core.skb_defer_max is 0"
	report $? "nothing_is_deferred"
	echo 64 >$deferred
	doctor 0 fbuf doctor && if [ "$(nproc)" = 1 ]; then
		says "With one CPU net.core.skb_defer_max does not matter"
	else
		says "note net.core.skb_defer_max is 64" "sudo sysctl net.core.skb_defer_max=0"
	fi
	report $? "packets_are_deferred"
	echo "$before" >$deferred
}

tidy()
{
	[ -z "$FBUF_KO" ] || [ -e /sys/module/fbuf ] || insmod "$FBUF_KO"
	[ ! -e "$tmp/group" ] || cp "$tmp/group" /etc/group
	chmod 600 /dev/fbuf
}

needs fbuf
if [ -z "$FBUF_KO" ]; then
	tidy() { :; }
	on_a_machine
	exit $failed
fi

needs root module unshare ethtool ip depmod
plan 35
rmmod fbuf
mkdir -p "/lib/modules/$release"
cp -a /lib/modules "$tmp/modules"
take_away
not_loaded
# There are devices whose drivers are modules.
take_away
cp -a "$tmp/modules/." /lib/modules
device
limits
network
no_address
report $? "no_address"
json_has_all
report $? "json_has_all"
exit $failed
