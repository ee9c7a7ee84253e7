#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# The packages in a Debian in a folder, by apt: installed, upgraded, downgraded, removed,
# purged. TAP out. Run by check, which says in the environment where what is.
set -u

# shellcheck source=selftests/common/tap.sh
. "$(dirname "$0")/../common/tap.sh"
# shellcheck source=selftests/packages/common.sh
. "$here/common.sh"
said="err* out*"

# The module is that of the version, for all kernels that are there.
module_is() { built_for "$(newest_kernel)" "$1"; }

# all_work VERSION: each part is found where its users look for it, and is of that version.
all_work()
{
	[ "$(inside fbuf --version)" = "fbuf $1" ] && inside getent group fbuf >/dev/null &&
		[ "$(inside python3 -c 'import fbuf; print(fbuf.version())' 2>"$tmp/err-python")" = "$1" ] &&
		inside fbuf run echo ran 2>"$tmp/err-run" | grep -q ran
}

# excluded RELEASE CONFIG...: DKMS leaves such a kernel alone, and says why.
excluded()
{
	local rel=$1 dir=$tree/lib/modules/$1/build
	shift
	mkdir -p "$dir/include"
	printf '%s=y\n' "$@" >"$dir/.config"
	! inside dkms build -m fbuf -v "$dkms_version" -k "$rel" >"$tmp/out" 2>&1 &&
		grep -q "BUILD_EXCLUSIVE" "$tmp/out" && ! inside test -e "/var/lib/dkms/fbuf/$dkms_version/$rel"
	local status=$?
	rm -rf "$tree/lib/modules/$rel"
	return $status
}

# What came along and apt keeps by itself, as it does with netbase: it is of all Debian releases.
rest_goes()
{
	local -a rest
	mapfile -t rest < <(comm -13 <(sed -n 's/^Package: //p' "$ROOT/var/lib/dpkg/status" | sort) \
		<(sed -n 's/^Package: //p' "$tree/var/lib/dpkg/status" | sort))
	[ ${#rest[@]} = 0 ] || { echo "# kept by apt: ${rest[*]}"; apt purge "${rest[@]}"; }
}

mount_tree "$ROOT"
new_version=$(sed -n 's/^VERSION[^0-9]*//p' "$here/../../user/Makefile")
dkms_version=$(version_of fbuf-dkms)
remember

plan 7

install_from old '.*' && module_is $old_version && all_work $old_version
report $? "packages: install_builds_and_signs_the_module"

# In two steps: whoever upgrades one package alone has the old module for a while.
install_from new '[^_]*[^s]' && module_is $old_version && all_work "$new_version"
report $? "packages: upgrade_of_all_but_the_module"

install_from new fbuf-dkms && module_is "$new_version"
report $? "packages: upgrade_of_the_module"

excluded 5.10.0-1-amd64 CONFIG_64BIT CONFIG_INET && excluded 6.9.0-1-amd64 CONFIG_64BIT
report $? "packages: kernels_that_cannot_do_are_left_alone"

install_from old '.*' --allow-downgrades && module_is $old_version && all_work $old_version
report $? "packages: downgrade"

apt remove fbuf-dkms && [ -z "$(module_of "$(newest_kernel)")" ]
report $? "packages: remove_takes_the_module"

apt purge fbuf libfbuf0 libfbuf-dev python3-fbuf && apt autoremove --purge && rest_goes &&
	nothing_left
report $? "packages: purge_leaves_nothing"

exit $failed
