#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# The specs for RPM, as far as Debian's rpm can tell: they are read, rpmlint has nothing to
# say, and the packages of the library and the tool are built. The module's wants kmodtool,
# which Debian does not have. TAP out. Run by check.
set -u

# shellcheck source=selftests/common/tap.sh
. "$(dirname "$0")/../common/tap.sh"
top=$(cd "$here/../.." && pwd)
dist=$top/user/dist
version=$(sed -n 's/^VERSION[^0-9]*//p' "$top/user/Makefile")
said="err* out*"

# A spec of this version, after all that it asks macros for.
is_read()
{
	rpmspec -P "$dist/$1" >"$WORK/$1" 2>"$tmp/err" && [ ! -s "$tmp/err" ] &&
		[ "$(sed -n 's/^Version: *//p' "$WORK/$1")" = "$version" ]
}

lint()
{
	rpmlint --rpmlintrc "$dist/fbuf.rpmlintrc" "$dist"/*.spec >"$tmp/out" 2>&1 &&
		grep -q "2 specfiles checked; 0 errors, 0 warnings" "$tmp/out"
}

# With the programs of Debian, whose packages have other names.
built()
{
	mkdir -p "$WORK/rpm/SOURCES"
	tar -C "$top" --exclude=./build --exclude=./.git --transform "s|^\.|fbuf-$version|" \
		-czf "$WORK/rpm/SOURCES/fbuf-$version.tar.gz" .
	rpmbuild -bb --nodeps --define "_topdir $WORK/rpm" "$dist/fbuf.spec" >"$tmp/log" 2>&1 ||
		{ tail -n 12 "$tmp/log" >"$tmp/err"; return 1; }
}

# has PACKAGE FILE
has() { rpm -qpl "$WORK"/rpm/RPMS/*/"$1-$version"-*.rpm 2>"$tmp/err" | grep -q "/$2$"; }

plan 3

is_read fbuf.spec && is_read fbuf-kmod.spec
report $? "packages: rpm_specs_are_of_this_version"

lint
report $? "packages: rpmlint_has_nothing_to_say"

built && has fbuf fbuf && has fbuf 60-fbuf.rules && has fbuf-libs libfbuf.so.0 &&
	has fbuf-devel libfbuf.so && has python3-fbuf fbuf.py
report $? "packages: rpms_are_built"

exit $failed
