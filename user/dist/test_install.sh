#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# test_install.sh DIR: what make installs, and takes away again, of the library and
# the tool that were built in DIR. TAP out.

# shellcheck source=selftests/common/tap.sh
. "$(dirname "$0")/../../selftests/common/tap.sh"

top=$(cd "$here/../.." && pwd)
said=out

# make as a user would call it, whoever calls us.
run_make()
{
	env -u MAKEFLAGS -u MFLAGS -u MAKEOVERRIDES -u MAKELEVEL make -s -C "$top" \
		BUILD="$tmp/build" KDIR="$tmp/kernel" DESTDIR="$tmp/dest" "$@" >"$tmp/out" 2>&1
}

# Fails, and its last line names what would not.
make_fails_with()
{
	words=$1
	shift
	! run_make "$@" && grep -q "$words" "$tmp/out"
}

# A kernel's headers, as far as make looks at them.
headers()
{
	mkdir -p "$tmp/kernel/include/generated"
	echo "#define UTS_RELEASE \"$1\"" >"$tmp/kernel/include/generated/utsrelease.h"
}

# A module that was built, as far as make looks at it.
module()
{
	headers "$1"
	mkdir -p "$tmp/build/kmod-$1"
	echo 'int fbuf;' | cc -g -x c -c -o "$tmp/build/kmod-$1/fbuf.ko" -
}

installed() { find "$tmp/dest" ! -type d 2>/dev/null; }
debug_info() { readelf -S --wide "$1" | grep -q ' \.debug_'; }

mkdir "$tmp/build" "$tmp/dest"
ln -s "$(cd "$1" && pwd)" "$tmp/build/user"

plan 10

make_fails_with "make user" all && grep -q "No kernel headers in $tmp/kernel" "$tmp/out"
report $? "install: make_without_headers_fails"

make_fails_with "make install-user" install && [ -z "$(installed)" ] &&
	headers 1.2.3-a && make_fails_with "make install-user" install && [ -z "$(installed)" ]
report $? "install: install_without_a_module_fails"

run_make install-user && [ -x "$tmp/dest/usr/local/bin/fbuf" ] &&
	[ ! -e "$tmp/dest/lib/modules" ]
report $? "install: install_of_user_space_alone"

python=$(command -v /usr/bin/python3 || command -v python3)
# python_in PREFIX: is the module where this Python looks, or would if the prefix were its
# own? Leaves what Python makes of a module that it may write beside.
python_in()
{
	LD_LIBRARY_PATH="$tmp/dest$1/lib" PYTHONDONTWRITEBYTECODE='' "$python" -c '
import site, sys, sysconfig
dest, prefix = sys.argv[1:]
looks = [path for path in site.getsitepackages() if path.startswith(prefix + "/lib/")] or [
    sysconfig.get_path("purelib", "posix_prefix", {"base": prefix})]
sys.path[:0] = [dest + path for path in looks]
import fbuf
assert fbuf.__file__.startswith(dest), fbuf.__file__
fbuf.version()' "$tmp/dest" "$1" >"$tmp/out" 2>&1
}
# Whatever else is there goes first.
found_and_gone()
{
	run_make install-user PREFIX="$1" && python_in "$1" && installed | grep -q 'fbuf.*[.]pyc$' &&
		run_make uninstall PREFIX="$1" && [ -z "$(installed)" ]
}
run_make uninstall && found_and_gone /usr && found_and_gone /usr/local && found_and_gone /opt/fbuf
report $? "install: python_finds_its_module"

# Where they are installed, by what is installed; and they run.
build_examples()
{
	dir=$tmp/dest/usr/local
	export PKG_CONFIG_PATH="$dir/lib/pkgconfig" PKG_CONFIG_SYSROOT_DIR="$tmp/dest"
	run_make install-user && make -s -C "$dir/share/doc/fbuf/examples" O="$tmp/examples" CFLAGS="-O2 -Werror" \
		>"$tmp/out" 2>&1 || return
	grep "left out" "$tmp/out"
	for program in httpd relay; do
		[ -e "$tmp/examples/$program" ] || continue
		FBUF_BACKEND=user LD_LIBRARY_PATH=$dir/lib "$tmp/examples/$program" \
			-m 1M -p 0 >"$tmp/port" 2>"$tmp/out" &
		until_true grep -q "backend user" "$tmp/port" || return
		kill $! && wait $! || return
	done
}

build_examples
report $? "install: examples_build_where_they_are_installed"

# Where nothing is looked for no library is there.
make -C "$top/user/examples" O="$tmp/none" FBUF_LIBS='' FBUF_CFLAGS=-nostdinc >"$tmp/out" 2>&1 &&
	grep -q "^left out: httpd relay" "$tmp/out"
report $? "install: examples_without_their_libraries_are_left_out"

module 1.2.3-a && run_make install && [ -x "$tmp/dest/usr/local/bin/fbuf" ] &&
	debug_info "$tmp/build/kmod-1.2.3-a/fbuf.ko" &&
	! debug_info "$tmp/dest/lib/modules/1.2.3-a/extra/fbuf.ko" &&
	readelf -s "$tmp/dest/lib/modules/1.2.3-a/extra/fbuf.ko" | grep -q ' fbuf$'
report $? "install: installed_module_is_stripped"

# Whatever kernel there are headers of, if any.
module 1.2.3-b && run_make install && rm -r "$tmp/kernel" &&
	[ "$(installed | grep -c 'fbuf\.ko$')" -eq 2 ] && run_make uninstall &&
	installed >"$tmp/out" && [ ! -s "$tmp/out" ] && [ ! -e "$tmp/dest/lib/modules/1.2.3-a/extra" ]
report $? "install: uninstall_leaves_nothing"

# One version, that of the library, and a day.
version=$(sed -n 's/^VERSION[^0-9]*//p' "$top/user/Makefile")
grep -L "^\.TH [A-Z_-]* [1-8] 20[0-9][0-9]-[01][0-9]-[0-3][0-9] \"fbuf $version\" \"" \
	"$top"/Documentation/man/*.[1-8] >"$tmp/out"
[ ! -s "$tmp/out" ]
report $? "install: man_pages_are_of_this_version"

# Text; requests cannot be broken.
grep -n '^[^.].\{80\}' "$top"/Documentation/man/*.[1-8] >"$tmp/out"
[ ! -s "$tmp/out" ]
report $? "install: man_pages_fit"

exit $failed
