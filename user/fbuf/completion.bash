# SPDX-License-Identifier: GPL-2.0
# bash completion for fbuf(1)
# shellcheck shell=bash disable=SC2207

_fbuf()
{
	local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD-1]}
	local word command="" options

	COMPREPLY=()
	for word in "${COMP_WORDS[@]:1:COMP_CWORD-1}"; do
		case $word in
		-*)	;;
		*)	command=$word; break ;;
		esac
	done
	case $prev in
	-e|--engine)
		COMPREPLY=($(compgen -W "pageref splice copy" -- "$cur"))
		return ;;
	-m|--mode)
		COMPREPLY=($(compgen -W "lockstep stream both" -- "$cur"))
		return ;;
	esac
	case $command in
	"")	options="send recv compare pool --json --version --help" ;;
	*)	options=$(fbuf "$command" --help 2>/dev/null |
			  grep -oE -e '^ +(-[a-zA-Z], )?--[a-z0-9-]+' |
			  grep -oE -e '--[a-z0-9-]+') ;;
	esac
	if [[ -z $command || $cur == -* ]]; then
		COMPREPLY=($(compgen -W "$options" -- "$cur"))
	else
		COMPREPLY=($(compgen -f -- "$cur"))
	fi
}
complete -o filenames -F _fbuf fbuf
