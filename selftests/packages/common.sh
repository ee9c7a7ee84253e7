# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash disable=SC2034,SC2154 # whoever sources it has and uses what is here
#
# What the tests of the packages share: a Debian in a folder, what is in it, and what may
# have changed there. Sourced after tap.sh. In the environment: SUITE, ROOT, the folder
# that nothing is written to, NEW and OLD, folders with packages, and WORK, which is ours.

tree=$WORK/tree
old_version=0.3.9

# mount_tree LOWER: that Debian in $tree, with what is written to it in $WORK/upper, in a
# mount namespace of ours.
mount_tree()
{
	mkdir -p "$tree" "$WORK/upper" "$WORK/overlay" "$WORK/archives/partial"
	mount -t overlay overlay -o "lowerdir=$1,upperdir=$WORK/upper,workdir=$WORK/overlay" "$tree"
	mount_inside
}

# What programs expect to be there; packages are fetched once.
mount_inside()
{
	mount -t proc proc "$tree/proc"
	mount --rbind /dev "$tree/dev"
	mount -t tmpfs tmpfs "$tree/run"
	mkdir -p "$tree/run/new" "$tree/run/old" "$archives"
	mount --bind "$NEW" "$tree/run/new"
	mount --bind "$OLD" "$tree/run/old"
	mount --bind "$archives" "$tree/var/cache/apt/archives"
	cp /etc/resolv.conf "$tree/run/resolv.conf"
	touch "$tree/etc/resolv.conf"
	mount --bind "$tree/run/resolv.conf" "$tree/etc/resolv.conf"
}

inside()
{
	chroot "$tree" env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LC_ALL=C.UTF-8 \
		DEBIAN_FRONTEND=noninteractive "$@"
}

# As an administrator would; what it said is shown where the case fails. Another check may
# fetch to the same folder: apt does not wait for it.
apt()
{
	(flock 9 && inside apt-get -q -y -o Dpkg::Use-Pty=0 -o APT::Keep-Downloaded-Packages=1 \
		"$@" >"$tmp/out" 2>"$tmp/err" </dev/null) 9<"$archives"
}

# install_from DIR NAMES [OPTION...]: by apt, those packages there whose names match.
install_from()
{
	local -a debs
	mapfile -t debs < <(cd "$tree/run/$1" && printf "./run/$1/%s\n" *.deb | grep -E "^./run/$1/($2)_")
	apt install "${@:3}" "${debs[@]}"
}

# The newest kernel there, of those with modules.
newest_kernel() { inside sh -c 'ls -v /lib/modules | tail -n 1'; }

# module_of RELEASE: of that kernel, as DKMS left it.
module_of() { find "$tree/lib/modules/$1/" -path '*/updates/dkms/fbuf.ko*'; }

# built_for RELEASE VERSION: there is a module of that version, and it is signed.
built_for()
{
	local file
	file=$(module_of "$1")
	[ -n "$file" ] || { echo "# there is no module for $1"; return 1; }
	file=${file#"$tree"}
	[ "$(inside modinfo -F version "$file")" = "$2" ] &&
		[ "$(inside modinfo -F sig_id "$file")" = "PKCS#7" ]
}

# All that is there, a line for each: what it is, and whose; and one for what is in a file.
contents()
{
	(cd "$1" && { find . -xdev -printf '%p %y %m %U:%G %l\n'
		find . -xdev -type f -print0 | xargs -0 b2sum -l 128 --tag; } | LC_ALL=C sort)
}

# What may be another after a purge: the logs and caches of apt, dpkg, ldconfig and depmod,
# and each of these, which somebody else keeps:
#	mok.key, mok.pub	DKMS made them when it first signed; the machine may know the
#				key by now, and other modules are signed with it
#	group, gshadow		the group stays, as files may be its: Debian's rule
#	hosts			netbase made it, which Python wants, and a purge of it keeps it
#	passwd-, group-		copies of before, by who makes groups
may_change='^(BLAKE2b-128 .)?\./((var/(log|cache|lib/(apt|dpkg))|run|tmp|dev|proc)(/|[ )])'
may_change+='|etc/ld\.so\.cache|var/lib/dkms/mok\.(key|pub)|etc/((group|gshadow|passwd|shadow)-?|hosts)[ )])'

# remember: what is there, for nothing_left to compare; and who.
remember()
{
	contents "$tree" >"$WORK/before"
	: >"$WORK/skip"
	mkdir -p "$WORK/etc"
	cp "$tree"/etc/{group,gshadow,passwd} "$WORK/etc"
}

# same FILE: of contents, what may not be another: neither by may_change, nor by its path,
# one a line in $WORK/skip.
same()
{
	grep -vE "$may_change" "$1" | awk 'FILENAME != "-" { skip[$0]; next }
		{ path = $0
		  if (!sub(/^BLAKE2b-128 \(/, "", path)) sub(/ [a-zA-Z] [0-9]+ [0-9]+:[0-9]+ .*/, "", path)
		  sub(/\) = [0-9a-f]+$/, "", path) }
		!(path in skip)' "$WORK/skip" -
}

# Nothing of ours but what may be; the names of the rest are told.
nothing_left()
{
	local name
	contents "$tree" >"$WORK/after"
	diff <(same "$WORK/before") <(same "$WORK/after") >"$tmp/err-left" &&
		diff "$WORK/etc/passwd" "$tree/etc/passwd" >"$tmp/err-passwd" || return
	for name in group gshadow; do
		diff "$WORK/etc/$name" <(grep -v '^fbuf:' "$tree/etc/$name") >"$tmp/err-$name" || return
	done
	! dpkg-query --admindir="$tree/var/lib/dpkg" -W 2>/dev/null | grep fbuf
}

# version_of PACKAGE: of the newest that was built
version_of() { dpkg-deb -f "$NEW/$1"_*.deb Version; }
