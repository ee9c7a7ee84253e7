#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# The packages on a machine: a Debian that boots in a VM, with systemd and udev, a member
# of the group, and one who is not; an upgrade while a pool is in use.
# TAP out. Run by check, which says in the environment where what is.
set -u

# shellcheck source=selftests/common/tap.sh
. "$(dirname "$0")/../common/tap.sh"
# shellcheck source=selftests/packages/common.sh
. "$here/common.sh"
said="err* out*"
release=none
image=$WORK/image
new_version=$(sed -n 's/^VERSION[^0-9]*//p' "$here/../../user/Makefile")
# Seconds for a boot and what is done there, on a machine that has others to serve.
limit=2700

# What runs the test there, and whom it asks.
prepare()
{
	mkdir -p "$tree/srv/new"
	cp "$NEW"/*.deb "$tree/srv/new"
	inside useradd -m -G fbuf member && inside useradd -m outsider || return
	# Nothing is fetched there, and lists of packages take minutes to be read.
	rm -r "$tree/usr/sbin/policy-rc.d" "$tree"/var/lib/apt/lists/*
	echo fbuf-test >"$tree/etc/hostname"
	echo "127.0.0.1 localhost fbuf-test" >"$tree/etc/hosts"
	cp "$here/guest" "$tree/usr/local/sbin/fbuf-test"
	cat >"$tree/etc/systemd/system/fbuf-test.service" <<-'END'
		[Unit]
		After=multi-user.target
		[Service]
		Type=oneshot
		TimeoutStartSec=infinity
		EnvironmentFile=/etc/fbuf-test
		ExecStart=/usr/local/sbin/fbuf-test $STEP
	END
	inside systemctl -q add-wants multi-user.target fbuf-test.service || return
	inside systemctl -q mask getty@tty1 serial-getty@ttyS0 apt-daily.timer apt-daily-upgrade.timer \
		dpkg-db-backup.timer e2scrub_all.timer fstrim.timer
}

# module_in FOLDER [ARGUMENT...]: built for that machine's kernel, on this one's processor.
module_in()
{
	inside make -s -C "/lib/modules/$(newest_kernel)/build" M="$1" "${@:2}" modules >"$tmp/out" 2>"$tmp/err"
}

# What an emulated processor would take half an hour for: modules are built here, and make
# in there takes them, new.ko and old.ko by the version that DKMS asks for. untried.ko takes
# the kernel for newer than any that it was tried on.
built_modules()
{
	local src=/srv/fbuf/src
	dpkg-deb -x "$NEW"/fbuf-dkms_*.deb "$tree/srv/fbuf" &&
		mv "$tree"/srv/fbuf/usr/src/fbuf-* "$tree$src" &&
		module_in $src && cp "$tree$src/fbuf.ko" "$tree/srv/new.ko" &&
		module_in $src CFLAGS_kmod/main.o=-DFBUF_TRIED=0x60000 &&
		cp "$tree$src/fbuf.ko" "$tree/srv/untried.ko" &&
		sed -i "s/^\(MODULE_VERSION(\"\)[^\"]*/\1$old_version/" "$tree$src/kmod/main.c" &&
		module_in $src && cp "$tree$src/fbuf.ko" "$tree/srv/old.ko" && rm -r "$tree/srv/fbuf" || return
	# apt says where programs are: it is there that it must be.
	cat >"$tree/usr/bin/make" <<-END
		#!/bin/sh
		module=new.ko
		for word; do
			case \$word in
			M=*/$old_version/*) dir=\${word#M=} module=old.ko ;;
			M=*)	dir=\${word#M=} ;;
			modules) cp /srv/\$module "\$dir/fbuf.ko" ;;
			esac
		done
	END
	chmod 755 "$tree/usr/bin/make"
}

# kernel_of RELEASE: what boots it, taken out of the tree.
kernel_of()
{
	release=$1
	cp "$tree/boot/vmlinuz-$1" "$WORK/vmlinuz" && cp "$tree/boot/initrd.img-$1" "$WORK/initrd"
}

# What is mounted in there goes first.
unmount_tree()
{
	umount -l "$tree/proc" "$tree/dev" "$tree/etc/resolv.conf" "$tree/var/cache/apt/archives" "$tree/run"
}

make_image()
{
	local size
	size=$(($(du -sm --apparent-size "$tree" | cut -f 1) * 12 / 10 + 1500))
	mke2fs -q -t ext4 -O ^has_journal -m 0 -d "$tree" "$image" "${size}M" >"$tmp/out"
}

# boot STEP [ARGUMENT...]: what each case said is in $WORK/STEP.
boot()
{
	local step=$1 qemu start=$SECONDS next=$((SECONDS + 60))
	mount -o loop "$image" "$tree" && echo "STEP=\"$*\"" | sed 's/"\(.*\)"/\1/' >"$tree/etc/fbuf-test" &&
		umount "$tree" || return
	: >"$WORK/$step"
	qemu-system-x86_64 -nodefaults -no-user-config -no-reboot -display none -M q35 -cpu max \
		-accel tcg,thread=multi -smp 2 -m 1G -kernel "$WORK/vmlinuz" -initrd "$WORK/initrd" \
		-append "root=/dev/vda rw console=ttyS0 panic=-1 quiet" \
		-drive "file=$image,if=virtio,format=raw,cache=unsafe" \
		-serial "file:$WORK/console-$step" -serial "file:$WORK/$step" >"$tmp/err-qemu" 2>&1 &
	qemu=$!
	while kill -0 $qemu 2>/dev/null; do
		sleep 1
		if [ $((SECONDS - start)) -gt $limit ]; then
			echo "# the machine did not end in $limit s"
			kill $qemu
		fi
		[ "$SECONDS" -ge $next ] || continue
		next=$((next + 60))
		# shellcheck disable=SC2153 # check has it
		echo "# $SUITE, kernel $release: $((SECONDS - start)) s, $(grep -c ok "$WORK/$step") cases" >&2
	done
	wait $qemu
}

# cases STEP NAME...: as the guest told them; one that it did not tell failed.
cases()
{
	local step=$1 name
	shift
	for name; do
		grep -a "^#\|^ok $name\|^not ok $name" "$WORK/$step" | tr -d '\r' |
			awk -v name="$name" '$NF == name { exit } /^#/ { print }' >"$tmp/err-$name"
		grep -aq "^ok $name" "$WORK/$step"
		report $? "packages: $name"
	done
	[ $failed = 0 ] || { tail -n 15 "$WORK/console-$step" | tr -d '\r' | sed 's/^/# /'; }
}

plan 8

mount_tree "$ROOT"
built_modules && install_from old '.*' && prepare && kernel_of "$(newest_kernel)" && unmount_tree &&
	make_image && umount "$tree"
report $? "packages: a_machine_has_them"
[ $failed = 0 ] || exit 1

boot first $old_version "$new_version"
cases first loaded_at_boot device_is_its_groups member_sends outsider_is_refused \
	upgrade_while_in_use untried_kernel_is_warned_of then_the_new_one_is_loaded

exit $failed
