#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# The packages, built in a Debian in a folder by what make deb runs, twice: as the tree
# is, and as an older release; and lintian's opinion of them. TAP out. Run by check.
set -u

# shellcheck source=selftests/common/tap.sh
. "$(dirname "$0")/../common/tap.sh"
# shellcheck source=selftests/packages/common.sh
. "$here/common.sh"
top=$(cd "$here/../.." && pwd)

# Without git, which is not there: it is told the version.
deb() { inside env DEB_BUILD_OPTIONS="${options-}" /src/user/dist/deb "$@" >"$tmp/out" 2>&1 || { tail -n 8 "$tmp/out" >"$tmp/err"; rm "$tmp/out"; false; }; }

mount_tree "$ROOT"
mkdir -p "$tree/src"
mount --bind -o ro "$top" "$tree/src"

plan 4

# Nobody measures it: it is built in half the time.
rm -f "$OLD"/* && options=noopt deb /run/old $old_version
report $? "packages: build_an_older_release"

rm -f "$NEW"/* && deb /run/new "$("$top/user/dist/deb" --version)"
report $? "packages: build"

inside sh -c 'lintian --allow-root --pedantic --fail-on error,warning,info,pedantic,override \
	/run/new/*.changes' >"$tmp/out" 2>"$tmp/err" && [ ! -s "$tmp/out" ]
report $? "packages: lintian_has_nothing_to_say"

# As somebody would build a program who has installed what is for that.
program_builds()
{
	install_from new 'libfbuf0|libfbuf-dev' || return
	printf '%s\n' '#include <fbuf/backend.h>' \
		'int main(void) { return !fbuf_backend_name(FBUF_BACKEND_USER); }' >"$tree/tmp/a.c"
	# shellcheck disable=SC2016 # not for this shell
	inside sh -c 'cd /tmp && cc -Werror a.c -o a $(pkg-config --cflags --libs libfbuf) && ./a' >"$tmp/out" 2>"$tmp/err"
}

program_builds
report $? "packages: a_program_builds_and_runs"

exit $failed
