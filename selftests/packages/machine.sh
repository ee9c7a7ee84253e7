#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# The packages on a machine: a Debian that boots in a VM, with systemd and udev, a member
# of the group, and one who is not; an upgrade while a pool is in use; an upgrade of the
# kernel; and a purge, after which all files are compared with those of before.
# TAP out. Run by check, which says in the environment where what is.
set -u

# shellcheck source=selftests/common/tap.sh
. "$(dirname "$0")/../common/tap.sh"
# shellcheck source=selftests/packages/common.sh
. "$here/common.sh"
# shellcheck source=selftests/packages/vm.sh
. "$here/vm.sh"
said="err* out*"
first=none next=none

# fetch_kernel: what apt upgrades for the next kernel, of the security archive, or if that
# has none, of backports, goes to $WORK/srv/kernel; its headers are installed.
fetch_kernel()
{
	local suite name
	first=$(newest_kernel)
	for suite in "$SUITE-security" "$SUITE-backports"; do
		"$here/root" sources "$suite" >>"$tree/etc/apt/sources.list.d/test.list" && apt update &&
			apt -s -t "$suite" install linux-image-amd64 linux-headers-amd64 || return
		! grep -q '^Inst linux-image-[0-9]' "$tmp/out" || break
	done
	sed -n 's/^Inst \([^ ]*\) .*(\([^ ]*\) .*/\1_\2/p' "$tmp/out" >"$WORK/names"
	apt -d -t "$suite" install linux-image-amd64 linux-headers-amd64 || return
	mkdir -p "$WORK/srv/kernel"
	while read -r name; do
		cp "$archives/${name/:/%3a}"_*.deb "$WORK/srv/kernel" || return
	done <"$WORK/names"
	apt -t "$suite" install linux-headers-amd64 && next=$(newest_kernel)
	echo "# $first, then $next"
	[ "$next" != "$first" ]
}

# module RELEASE NAME [ARGUMENT...]: of make, in a folder for each kernel, so that only what
# is another is built again.
module()
{
	local dir=/srv/$1
	mkdir -p "$WORK/srv/modules/$1" && { [ -e "$tree$dir" ] || cp -r "$tree/srv/src" "$tree$dir"; } &&
		inside make -s -C "/lib/modules/$1/build" M="$dir" "${@:3}" modules >"$tmp/out" 2>"$tmp/err" &&
		cp "$tree$dir/fbuf.ko" "$WORK/srv/modules/$1/$2.ko"
}

# On this machine's processor, with each kernel's headers; in what is thrown away. untried
# takes the kernel for newer than any that it was tried on.
build_modules()
{
	dpkg-deb -x "$NEW"/fbuf-dkms_*.deb "$tree/srv/package" &&
		mv "$tree"/srv/package/usr/src/fbuf-* "$tree/srv/src" &&
		module "$first" new && module "$next" new &&
		module "$first" untried CFLAGS_kmod/main.o=-DFBUF_TRIED=0x60000 &&
		sed -i "s/^\(MODULE_VERSION(\"\)[^\"]*/\1$old_version/" "$tree/srv/$first/kmod/main.c" &&
		module "$first" old
}

# What an emulated processor would take half an hour for: make in there hands out what was
# built here, by the kernel and the version that DKMS asks for. All else that DKMS does is
# its own. apt says where programs are: it is there that it must be.
replace_make()
{
	cat >"$tree/usr/bin/make" <<-END
		#!/bin/sh
		version=new
		for word; do
			case \$word in
			/lib/modules/*/build) release=\${word#/lib/modules/} release=\${release%/build} ;;
			M=*/$old_version/*) dir=\${word#M=} version=old ;;
			M=*)	dir=\${word#M=} ;;
			modules) cp "/srv/modules/\$release/\$version.ko" "\$dir/fbuf.ko" || exit ;;
			esac
		done
	END
	chmod 755 "$tree/usr/bin/make"
}

# The disk's driver and its file system are all that this machine needs to find its root.
small_initrd()
{
	printf '%s\n' MODULES=list COMPRESSLEVEL=1 >"$tree/etc/initramfs-tools/conf.d/fbuf-test"
	printf '%s\n' virtio_pci virtio_blk ext4 >>"$tree/etc/initramfs-tools/modules"
}

versions() { dpkg-query --admindir="$1/var/lib/dpkg" -W -f '${binary:Package} ${Version}\n' | LC_ALL=C sort; }

installed_on_disk()
{
	mkdir -p "$tree/srv/new"
	cp "$NEW"/*.deb "$tree/srv/new" && cp -r "$WORK/srv/." "$tree/srv" && prepare && small_initrd &&
		replace_make && versions "$tree" | sed 's/ .*//' >"$tree/srv/packages" &&
		unmount_inside && remember && mount_inside && install_from old '.*' &&
		inside usermod -aG fbuf member && no_lists && unmount_inside && make_image && umount "$tree"
}

# kernel_of_disk: as a boot loader finds it
kernel_of_disk()
{
	local name
	mount -o loop,ro "$image" "$tree" || return
	for name in vmlinuz initrd.img; do
		cp "$tree/$(readlink "$tree/$name")" "$WORK/$name" || return
	done
	umount "$tree"
}

# boot_with STEP WORD...: for guest
boot_with()
{
	local words=$*
	kernel_of_disk && boot "$1" -no-reboot -M q35 -smp 2 -kernel "$WORK/vmlinuz" -initrd "$WORK/initrd.img" \
		-append "$kernel_words fbuf-test=${words// /,}"
}

# What a machine that ran has besides:
#	var/lib/systemd, etc/.updated, var/.updated	systemd's own state
#	lost+found			mke2fs makes it
# and what the kernel's scripts made for it: an initrd, what finds modules, and links.
may_change_there()
{
	local release there='var/lib/systemd[/ )]|((etc|var)/\.updated|lost\+found)[ )]'
	release=${next//./\\.} release=${release//+/\\+}
	there+="|(boot/initrd\.img-|var/lib/initramfs-tools/)${release}[ )]|usr/lib/modules/$release/modules\."
	there+='|(vmlinuz|initrd\.img)(\.old)? '
	may_change+="|^(BLAKE2b-128 .)?\./($there)"
}

# Whatever package is another now came with the kernel: what dpkg says is in those, is theirs.
files_of_the_kernel()
{
	local package
	for package in $(comm -3 "$WORK/versions" <(versions "$tree") | awk '{ print $1 }' | sort -u); do
		[[ $package = linux-* ]] || { echo "# $package is there still, or went along"; return 1; }
		cat {"$ROOT","$tree"}"/var/lib/dpkg/info/$package.list" 2>/dev/null
	done | sed 's,^/,./,; s,^\./lib/,./usr/lib/,' >"$WORK/skip"
}

nothing_left_on_disk()
{
	local status
	mount -o loop,ro "$image" "$tree" || return
	may_change_there
	files_of_the_kernel && nothing_left
	status=$?
	umount "$tree"
	return $status
}

plan 14

mount_tree "$ROOT"
fetch_kernel && build_modules && unmount_inside && umount "$tree" && rm -rf "$WORK"/{upper,overlay}
report $? "packages: a_kernel_to_upgrade_to_is_there"
[ $failed = 0 ] || exit 1

mount_tree "$ROOT"
versions "$ROOT" >"$WORK/versions"
installed_on_disk
report $? "packages: a_machine_has_them"
[ $failed = 0 ] || exit 1

boot_with first "$old_version" "$new_version" "$next"
cases first loaded_at_boot device_is_its_groups member_sends outsider_is_refused \
	upgrade_while_in_use untried_kernel_is_warned_of then_the_new_one_is_loaded \
	kernel_upgrade_builds_the_module

boot_with second "$new_version" "$next"
cases second new_kernel_loads_it_at_boot new_kernel_member_sends purge

nothing_left_on_disk
report $? "packages: purge_leaves_nothing_on_the_machine"

exit $failed
