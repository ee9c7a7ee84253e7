# SPDX-License-Identifier: GPL-2.0
# What the scripts of this folder share, to be sourced: where things are, and what is
# built before anything is measured.
# shellcheck shell=bash disable=SC2034 # they are for who sources this

here=$(cd "$(dirname "$0")" && pwd)
top=$(cd "$here/../.." && pwd)
vm=$top/selftests/vm
build=${BUILD:-$top/build}
report=$build/report
results=$top/Documentation/results
# shellcheck source=selftests/vm/cross.sh
. "$vm/cross.sh"

say() { printf '\n== %s\n' "$*"; }

# build_tool_for KERNEL: for its architecture.
build_tool_for()
{
	for_arch "$1"
	say "building the library and the tool${arch:+ for ${arch#-}}"
	make -s -C "$top/user" O="$build/user$arch" "${cross[@]}"
}

build_tool() { build_tool_for native; }

# build_test NAME: a program of selftests that runs in the guest.
build_test()
{
	make -s -C "$top/selftests" OUTPUT="$build/selftests" KSRC="$("$vm/kernel" source)" \
		LIBFBUF="$build/user/libfbuf.a" "$build/selftests/$1"
}

# build_module KERNEL [TARGET]: and another module, as floor.
build_module()
{
	local dir
	dir=$("$vm/kernel" get "$1")
	say "building for $(cat "$dir/release"): the module${2:+, $2}"
	make -s -C "$top" modules ${2:+"$2"} KDIR="$dir/headers"
}

# build_all KERNEL...
build_all()
{
	local kernel
	build_tool
	for kernel; do
		build_module "$kernel"
	done
}

# results_page NAME COMMAND...: have its output as a page of the results, if it does not fail.
results_page()
{
	"${@:2}" >"$results/$1.rst.new"
	mv "$results/$1.rst.new" "$results/$1.rst"
}
