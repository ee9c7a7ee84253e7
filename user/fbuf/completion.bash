# SPDX-License-Identifier: GPL-2.0
# bash completion for fbuf(1)
# shellcheck shell=bash disable=SC2207

# The numbers of the pools that there are.
_fbuf_pools()
{
	fbuf -j pool list 2>/dev/null | sed -n 's/^ *"id": *\([0-9]*\).*/\1/p'
}

_fbuf()
{
	local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD-1]}
	local word command="" sub="" choice="" options

	COMPREPLY=()
	for word in "${COMP_WORDS[@]:1:COMP_CWORD-1}"; do
		case $word in
		-*)	;;
		*)	if [[ -z $command ]]; then
				command=$word
			else
				sub=$word
				break
			fi ;;
		esac
	done
	case $prev in
	-e|--engine)	choice="pageref splice ubuf copy" ;;
	-m|--mode)	choice="lockstep stream both" ;;
	-k|--kinds)	choice="one fan gather" ;;
	--clock)	choice="nanoseconds instructions"
			[[ $command == cost ]] || choice+=" tsc" ;;
	-p|--protect)	choice="volatile secured snapshot" ;;
	--uid)		choice=$(compgen -u) ;;
	--pool)		choice="none" ;;
	--user)		choice="none default" ;;
	esac
	if [[ -n $choice ]]; then
		COMPREPLY=($(compgen -W "$choice" -- "$cur"))
		return
	fi
	case $command,$sub in
	,)		choice="send recv compare bench cost demo pool stat top limit" ;;
	pool,)		choice="list show watch make" ;;
	limit,)		choice="show set" ;;
	stat,|pool,show|pool,watch)
			choice=$(_fbuf_pools) ;;
	esac
	case $command in
	pool|limit)	;;
	*)		sub="" ;;
	esac
	if [[ -z $command ]]; then
		options="--json --version --help"
		choice+=" $options"
	elif [[ $cur == -* ]]; then
		# shellcheck disable=SC2086 # there may be none
		options=$(fbuf "$command" $sub --help 2>/dev/null |
			  grep -oE -e '^ +(-[a-zA-Z], )?--[a-z0-9-]+' |
			  grep -oE -e '--[a-z0-9-]+')
	fi
	if [[ $cur == -* ]]; then
		COMPREPLY=($(compgen -W "$options" -- "$cur"))
	elif [[ -n $choice ]]; then
		COMPREPLY=($(compgen -W "$choice" -- "$cur"))
	else
		case $command in
		pool|limit|stat|top)	;;
		*)	COMPREPLY=($(compgen -f -- "$cur")) ;;
		esac
	fi
}
complete -o filenames -F _fbuf fbuf
