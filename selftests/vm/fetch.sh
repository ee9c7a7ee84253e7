# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash disable=SC2034 # whoever sources it uses what is here
#
# For what is fetched from Debian when it is first asked for: sourced by bash scripts.

cache=${XDG_CACHE_HOME:-$HOME/.cache}/fbuf

say() { echo "${0##*/}: $*" >&2; }
die() { say "$*"; exit 1; }

# fill DIR COMMAND...: make DIR by running COMMAND with an empty folder as its
# last argument. DIR appears whole or not at all; of two runs one waits.
fill()
{
	local dir=$1 tmp
	shift
	[ -e "$dir" ] && return
	mkdir -p "${dir%/*}"
	exec 9>"$dir.lock"
	flock -n 9 || { say "waiting for another run to make ${dir##*/}"; flock 9; }
	if [ ! -e "$dir" ]; then
		tmp=$dir.tmp
		rm -rf "$tmp"
		mkdir "$tmp"
		"$@" "$tmp"
		mv "$tmp" "$dir"
	fi
	exec 9>&-
}

# mirror LABEL: where this machine's apt has Debian from, and which entry of its
# sources says so: "URI FILE:NUMBER". LABEL is Debian, or Debian-Security.
mirror()
{
	# shellcheck disable=SC2016 # the dollar signs are apt's
	apt-get indextargets --format '$(ORIGIN)|$(LABEL)|$(COMPONENT)|$(REPO_URI) $(SOURCESENTRY)' \
		'Created-By: Packages' | sed -n "s/^Debian|$1|main|//p" | head -n 1
}
