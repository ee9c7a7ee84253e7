#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# The module under Secure Boot: a Debian in a VM whose firmware knows Microsoft's keys, and
# boots it by shim, grub and the kernel as Debian signed them. First nobody told it the key
# that DKMS signs with; then MokManager is asked to enroll it, by what is typed on that
# machine's keyboard. TAP out. Run by check, which says in the environment where what is.
set -u

# shellcheck source=selftests/common/tap.sh
. "$(dirname "$0")/../common/tap.sh"
# shellcheck source=selftests/packages/common.sh
. "$here/common.sh"
# shellcheck source=selftests/packages/vm.sh
. "$here/vm.sh"
said="err* out*"
esp=$WORK/esp

# The module is there with DKMS's signature, and without any.
installed_on_disk()
{
	local file
	prepare && install_from new '.*' && inside usermod -aG fbuf member || return
	file=$(module_of "$(newest_kernel)")
	inside modinfo -F signer "${file#"$tree"}" | grep DKMS >"$tmp/out-signer" || return
	case $file in
	*.xz)	xz -dc "$file" ;;
	*)	cat "$file" ;;
	esac >"$tree/srv/unsigned.ko"
	strip --strip-debug "$tree/srv/unsigned.ko"
}

# What the firmware reads: Debian's grub looks for its settings in EFI/debian.
make_esp()
{
	truncate -s 256M "$esp" && mkfs.vfat -F 32 "$esp" >"$tmp/out" && mmd -i "$esp" ::EFI ::EFI/BOOT ::EFI/debian &&
		mcopy -i "$esp" "$tree/usr/lib/shim/shimx64.efi.signed" ::EFI/BOOT/BOOTX64.EFI &&
		mcopy -i "$esp" "$tree/usr/lib/shim/mmx64.efi.signed" ::EFI/BOOT/mmx64.efi &&
		mcopy -i "$esp" "$tree/usr/lib/grub/x86_64-efi-signed/grubx64.efi.signed" ::EFI/BOOT/grubx64.efi &&
		mcopy -i "$esp" "$tree/$(readlink "$tree/vmlinuz")" ::vmlinuz &&
		mcopy -i "$esp" "$tree/$(readlink "$tree/initrd.img")" ::initrd.img
}

# boot_with STEP [ARGUMENT...]: of qemu. The firmware keeps its variables from boot to boot.
boot_with()
{
	printf '%s\n' "linux /vmlinuz $kernel_words fbuf-test=$1,$new_version" "initrd /initrd.img" boot |
		mcopy -o -i "$esp" - ::EFI/debian/grub.cfg
	boot "$1" -M q35,smm=on -global driver=cfi.pflash01,property=secure,value=on \
		-global ICH9-LPC.disable_s3=1 -smp 1 \
		-drive if=pflash,format=raw,unit=0,readonly=on,file=/usr/share/OVMF/OVMF_CODE_4M.secboot.fd \
		-drive "if=pflash,format=raw,unit=1,file=$WORK/variables" \
		-drive "if=virtio,format=raw,file=$esp" "${@:2}"
}

# shown STEP WORDS: waits until that machine's screen has them
shown()
{
	local tries=0
	until grep -aq "$2" "$WORK/console-$1" 2>/dev/null; do
		tries=$((tries + 1))
		[ $tries -lt 1200 ] || { echo "# it never said \"$2\""; return 1; }
		sleep 0.5
	done
}

keys()
{
	local key
	for key; do
		echo "sendkey $key"
		sleep 1
	done >"$WORK/keyboard.in"
}

# As who enrolls it: what MokManager asks, and what is chosen.
enroll()
{
	shown enrolled "Press any key to perform MOK management" && keys ret &&
		shown enrolled "Enroll MOK" && keys down ret &&
		shown enrolled "View key 0" && keys down ret &&
		shown enrolled "Enroll the key" && keys down ret &&
		shown enrolled "Password" && keys 1 2 3 4 5 6 7 8 ret &&
		shown enrolled "Reboot" && keys ret && return
	echo quit >"$WORK/keyboard.in"
	return 1
}

boot_and_enroll()
{
	local who
	mkfifo "$WORK/keyboard.in" "$WORK/keyboard.out"
	enroll >"$tmp/err-enroll" &
	who=$!
	boot_with enrolled -chardev "pipe,id=keyboard,path=$WORK/keyboard" -mon keyboard
	# If it waits still, it does so in vain.
	kill $who 2>/dev/null
	wait $who
}

plan 10

mount_tree "$ROOT"
cp /usr/share/OVMF/OVMF_VARS_4M.ms.fd "$WORK/variables" && installed_on_disk && make_esp && no_lists &&
	unmount_inside && make_image && umount "$tree"
report $? "packages: a_machine_with_secure_boot_is_there"
[ $failed = 0 ] || exit 1

boot_with refused -no-reboot
cases refused secure_boot_locks_the_kernel unknown_key_is_refused doctor_says_what_to_type \
	key_is_imported

boot_and_enroll
report $? "packages: mok_manager_enrolls_the_key"
cases enrolled secure_boot_knows_the_key loaded_under_secure_boot member_sends_under_secure_boot \
	unsigned_is_refused_still

exit $failed
