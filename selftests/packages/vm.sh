# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash disable=SC2034,SC2154 # whoever sources it has and uses what is here
#
# The Debian of common.sh, booted in a VM with systemd and udev: guest runs there, and says
# on the second serial port what came of each case. Sourced after common.sh.

image=$WORK/image
new_version=$(sed -n 's/^VERSION[^0-9]*//p' "$here/../../user/Makefile")
# Seconds for a boot and what is done there, on a machine that has others to serve.
limit=2700
# Nobody attacks that kernel; what it does against processors costs an emulated one most.
kernel_words="root=/dev/vda rw console=ttyS0 panic=-1 quiet mitigations=off"

# What runs the test there, and whom it asks.
prepare()
{
	inside useradd -m member && inside useradd -m outsider || return
	rm "$tree/usr/sbin/policy-rc.d"
	inside systemd-machine-id-setup >"$tmp/out" 2>&1 || return
	echo fbuf-test >"$tree/etc/hostname"
	echo "127.0.0.1 localhost fbuf-test" >"$tree/etc/hosts"
	cp "$here/guest" "$tree/usr/local/sbin/fbuf-test"
	cat >"$tree/etc/systemd/system/fbuf-test.service" <<-'END'
		[Unit]
		After=multi-user.target
		[Service]
		Type=oneshot
		TimeoutStartSec=infinity
		ExecStart=/usr/local/sbin/fbuf-test
	END
	inside systemctl -q add-wants multi-user.target fbuf-test.service || return
	inside systemctl -q mask getty@tty1 serial-getty@ttyS0 apt-daily.timer apt-daily-upgrade.timer \
		dpkg-db-backup.timer e2scrub_all.timer fstrim.timer systemd-tmpfiles-clean.timer
}

# Nothing is fetched there, and lists of packages take minutes to be read.
no_lists() { rm -r "$tree"/var/lib/apt/lists/*; }

# What is mounted in there goes first.
unmount_inside()
{
	umount -l "$tree/proc" "$tree/dev" "$tree/etc/resolv.conf" "$tree/var/cache/apt/archives" "$tree/run"
}

make_image()
{
	local size
	size=$(($(du -sm --apparent-size "$tree" | cut -f 1) * 12 / 10 + 1500))
	mke2fs -q -t ext4 -O ^has_journal -m 0 -d "$tree" "$image" "${size}M" >"$tmp/out"
}

# watch STEP PID: until that machine is off
watch()
{
	local start=$SECONDS next=$((SECONDS + 60))
	while kill -0 "$2" 2>/dev/null; do
		sleep 1
		if [ $((SECONDS - start)) -gt $limit ]; then
			echo "# the machine did not end in $limit s"
			kill "$2"
		fi
		[ "$SECONDS" -ge $next ] || continue
		next=$((next + 60))
		# shellcheck disable=SC2153 # check has it
		echo "# $SUITE, $1: $((SECONDS - start)) s, $(grep -c ok "$WORK/$1") cases" >&2
	done
	wait "$2"
}

# boot STEP ARGUMENT...: of qemu, which is given what to boot; what each case said is in
# $WORK/STEP, and the first serial port in $WORK/console-STEP.
boot()
{
	local step=$1
	: >"$WORK/$step"
	qemu-system-x86_64 -nodefaults -no-user-config -display none -cpu max -accel tcg,thread=multi \
		-m 1G -drive "file=$image,if=virtio,format=raw,cache=unsafe" \
		-serial "file:$WORK/console-$step" -serial "file:$WORK/$step" "${@:2}" >"$tmp/err-qemu" 2>&1 &
	watch "$step" $!
}

# What that console said last, without what moves the cursor and paints.
end_of_console()
{
	sed 's/\x1b\[[=0-9;]*[A-Za-z]/\n/g' "$1" | LC_ALL=C tr -cd '\12\40-\176' | sed '/^ *$/d; s/^/# /' | tail -n 15
}

# cases STEP NAME...: as the guest told them; one that it did not tell failed.
cases()
{
	local step=$1 name
	shift
	for name; do
		grep -a "^# \|^ok \|^not ok " "$WORK/$step" | tr -d '\r' |
			awk -v name="$name" '$NF == name { exit } /^(not )?ok / { said = "" }
				/^#/ { said = said $0 "\n" } END { printf "%s", said }' >"$tmp/err-$name"
		grep -aq "^ok $name"$'\r*$' "$WORK/$step"
		report $? "packages: $name"
	done
	[ "$failed" = 0 ] || end_of_console "$WORK/console-$step"
}
