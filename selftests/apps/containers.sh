#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=dash disable=SC2086,SC2317 # numbers; functions are given to others
# The device in containers: made by hand, by podman and by systemd-nspawn; what they may
# lock there, and that their memory cgroup is enough if root says so.
# shellcheck source=selftests/common/tap.sh
. "$(dirname "$0")/tap.sh"

needs root module fbuf podman systemd-nspawn

cgroups=/sys/fs/cgroup
hand=$cgroups/fbuf-hand
root=$tmp/root
member=1000

tidy()
{
	fbuf limit set --cgroup-alone no
	rmdir $hand 2>/dev/null
	umount -l "$root" 2>/dev/null
}

# So much, in pools, as the usual 8 MiB to lock do not allow for.
much="fbuf pool make -b 64K -n 256"
# More than any of these containers may have.
too_much="fbuf pool make -b 64K -n 2048"

# What a container has by hand: a group with a limit, and namespaces of its own, with
# somebody of no rights on this machine as its root.
by_hand()
{
	(echo 0 >$hand/cgroup.procs && ulimit -l 8192 &&
		exec setpriv --reuid=$member --regid=$member --groups=$group --inh-caps=-all \
			unshare --user --map-root-user --mount --pid --uts --ipc --cgroup --fork "$@")
}

# --rootfs: the Debian that this runs in. Its own network would want more modules.
container()
{
	podman --storage-driver=vfs --cgroup-manager=cgroupfs --events-backend=none run --rm --network=host \
		--memory=64m --ulimit=memlock=8388608 "$@"
}

nspawn()
{
	(ulimit -l 8192 && exec systemd-nspawn -q -P --link-journal=no --register=no --keep-unit -D "$root" --bind=/dev/fbuf \
		--bind-ro=$here --drop-capability=CAP_IPC_LOCK,CAP_SYS_RESOURCE "$@")
}

no_kill() { grep -q '^oom_kill 0$' "$1/memory.events"; }

# sends COMMAND...: a file, to somebody outside
sends()
{
	head -c 3000000 /dev/urandom >"$root/srv/file"
	receiver fbuf recv 0 "$tmp/copy" || return
	run "$@" fbuf send /srv/file localhost $port && wait $recv && cmp "$root/srv/file" "$tmp/copy"
}

plan 15

groupadd -r fbuf && useradd -u $member -G fbuf member
group=$(getent group fbuf | cut -d : -f 3)
mkdir "$root" $hand && echo +memory >$cgroups/cgroup.subtree_control && echo 64M >$hand/memory.max &&
	mount --bind / "$root" && [ "$group" ] && chgrp fbuf /dev/fbuf && chmod 660 /dev/fbuf
report $? "ready"

run by_hand fbuf pool make && fails_with "RLIMIT_MEMLOCK is 8.0 MiB" by_hand $much
report $? "by_hand_is_bounded_by_memlock"

fbuf limit set --cgroup-alone yes && run by_hand $much
report $? "by_hand_cgroup_is_enough"

run by_hand fbuf doctor && grep -q "memory cgroup alone bounds your pools" "$tmp/out"
report $? "by_hand_doctor_says_so"

fails_with "No memory for a pool" by_hand $too_much && no_kill $hand
report $? "by_hand_cgroup_bounds"

fails_with "may not set limits" by_hand fbuf limit set --cgroup-alone no
report $? "by_hand_root_sets_no_limits"

fbuf limit set --cgroup-alone no
mkdir -p /etc/cdi && cp "$here/fbuf.cdi.json" /etc/cdi/fbuf.json
run container --rootfs "$root" fbuf doctor
grep -q "/dev/fbuf" "$tmp/out"
report $? "podman_without_the_device_says_so"

run container --device /dev/fbuf --rootfs "$root" fbuf pool make &&
	fails_with "RLIMIT_MEMLOCK is 8.0 MiB" container --device /dev/fbuf --rootfs "$root" $much
report $? "podman_is_bounded_by_memlock"

run container --device /dev/fbuf --ulimit memlock=33554432 --rootfs "$root" $much
report $? "podman_ulimit_memlock"

fbuf limit set --cgroup-alone yes && run container --device /dev/fbuf --rootfs "$root" $much &&
	fails_with "No memory for a pool" container --device /dev/fbuf --rootfs "$root" $too_much
report $? "podman_cgroup_is_enough"

sends container --device fbuf/device=fbuf --rootfs "$root"
report $? "podman_sends_by_cdi"

sends container --device /dev/fbuf --user $member:$member --group-add "$group" --rootfs "$root" &&
	fails_with "may not open /dev/fbuf" \
		container --device /dev/fbuf --user $member:$member --rootfs "$root" $much
report $? "podman_member_of_the_group"

sends nspawn
report $? "nspawn_sends"

fails_with "RLIMIT_MEMLOCK is 8.0 MiB" nspawn $much
report $? "nspawn_is_bounded_by_memlock"

# Its group is whose limit counts.
(echo 0 >$hand/cgroup.procs && run nspawn $much) && ! (echo 0 >$hand/cgroup.procs && run nspawn $too_much)
report $? "nspawn_cgroup_is_enough"

exit $failed
