# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash disable=SC2034 # whoever sources it uses what is here
#
# What is built for kernels of another architecture: sourced by bash scripts.

# for_arch KERNEL: $arch is what the names of folders for it end in, and cross what make
# must know. Both are empty for this machine's own.
for_arch()
{
	arch="" cross=()
	[[ $1 == arm64* && $(uname -m) != aarch64 ]] || return 0
	local root
	root=$("$(dirname "${BASH_SOURCE[0]}")/kernel" sysroot) || return
	arch=-arm64
	cross=(CC="aarch64-linux-gnu-gcc --sysroot=$root" AR=aarch64-linux-gnu-ar
		NL_INCLUDE="$root/usr/include/libnl3")
}
