# SPDX-License-Identifier: GPL-2.0
# bash completion for fbuf(1)
# shellcheck shell=bash disable=SC2207

# The numbers of the pools that there are.
_fbuf_pools()
{
	fbuf -j pool list 2>/dev/null | sed -n 's/^ *"id": *\([0-9]*\).*/\1/p'
}

# _fbuf_full WORD NAME...: the name that the word is, or the only one it begins.
_fbuf_full()
{
	local word=$1 name found=""
	shift
	for name; do
		[[ $name != "$word" ]] || found="$word "
		[[ $name != "$word"* || $found == "$word " ]] || found+="$name "
	done
	[[ $found == *" "*" " ]] || echo "${found% }"
}

# _fbuf_takes OPTION HELP: what its argument is called in the help, if it has one.
_fbuf_takes()
{
	sed -nE "s/^ +(-[a-zA-Z], )?(--[a-z0-9-]+, )?$1(, --[a-z0-9-]+)? ([A-Z]+)( .*|$)/\4/p" <<<"$2"
}

# The names that an option's argument may have.
_fbuf_values()
{
	case $1,$2 in
	*,-e|*,--engine)	echo pageref splice ubuf copy ;;
	*,-m|*,--mode)		echo lockstep stream both ;;
	*,-k|*,--kinds)		echo one fan gather ;;
	*,-w|*,--workload)	echo log queue churn pass tail all ;;
	compare,-M|compare,--methods|bench,-M|bench,--methods)
		fbuf "$1" --methods help 2>/dev/null | sed 's/ .*//' ;;
	*,--clock)		echo nanoseconds instructions tsc ;;
	*,-p|*,--protect)	echo volatile secured snapshot ;;
	*,--uid)		compgen -u ;;
	*,--cgroup-alone)	echo yes no ;;
	*,--pool)		echo none ;;
	*,--user)		echo none default ;;
	*,--netns-[rt]x)	compgen -f /run/netns/ | sed 's|.*/||' ;;
	esac
}

# The names that a command's next argument may have; "files" for those of files.
_fbuf_words()
{
	case $1,$2 in
	run,0)			compgen -c ;;
	send,0|recv,1|demo,0|run,*)
				echo files ;;
	send,1|doctor,0)	compgen -A hostname ;;
	send,2|recv,0|relay,0)	compgen -A service ;;
	stat,0|"pool show,0"|"pool watch,0")
				_fbuf_pools ;;
	esac
}

# Those of the words that begin with $cur; of a list, behind its last comma.
_fbuf_offer()
{
	local before="" part=$cur
	if [[ $cur == *,* ]]; then
		before=${cur%,*},
		part=${cur##*,}
	fi
	COMPREPLY=($(compgen -P "$before" -W "$1" -- "$part"))
}

_fbuf_files()
{
	# Names of anything else must not look like files that happen to be there.
	compopt -o filenames 2>/dev/null
	COMPREPLY=($(compgen "$1" -- "$cur"))
}

_fbuf()
{
	local commands="send recv relay run compare bench cost demo pool stat top limit doctor help"
	# shellcheck disable=SC2034 # ${!command} has them
	local pool="list ls show watch make" limit="show set"
	local cur=${COMP_WORDS[COMP_CWORD]} words=("${COMP_WORDS[@]:1:COMP_CWORD-1}")
	local word command="" help="" takes="" option="" nr=0

	COMPREPLY=()
	# "--option=value" comes in three words.
	[[ $cur != "=" ]] || { words+=("="); cur=""; }
	for word in "${words[@]}"; do
		if [[ $word == "=" ]]; then
			continue
		elif [[ $takes ]]; then
			takes=""
		elif [[ $word == -* ]]; then
			option=$word
			takes=$(_fbuf_takes "$word" "$help")
			continue
		elif [[ -z $command ]]; then
			# shellcheck disable=SC2086 # they are words
			command=$(_fbuf_full "$word" $commands)
			help=$(fbuf "$command" --help 2>/dev/null)
		elif [[ $command == pool || $command == limit ]]; then
			# shellcheck disable=SC2086 # they are words
			command+=" $(_fbuf_full "$word" ${!command})"
			# shellcheck disable=SC2086 # two words
			help=$(fbuf $command --help 2>/dev/null)
		else
			nr=$((nr + 1))
		fi
		option=""
	done
	case $takes,$cur,$command,$nr in
	FILE,*)		_fbuf_files -f ;;
	DIR,*)		_fbuf_files -d ;;
	[A-Z]*,*)	_fbuf_offer "$(_fbuf_values "${command##* }" "$option")" ;;
	,*,,0)		_fbuf_offer "$commands --json --version --help" ;;
	,-*)		_fbuf_offer "$(grep -oE -e '^ +(-[a-zA-Z], )?--[a-z0-9-]+' <<<"$help" |
				grep -oE -e '--[a-z0-9-]+')" ;;
	,*,pool,0|,*,limit,0|,*,help,0)
		[[ $command != help ]] || command=commands
		_fbuf_offer "${!command}" ;;
	,*,help,1)
		# shellcheck disable=SC2086 # they are words
		command=$(_fbuf_full "$word" $commands)
		[[ $command != pool && $command != limit ]] || _fbuf_offer "${!command}" ;;
	*)	word=$(_fbuf_words "$command" "$nr")
		if [[ $word == files ]]; then
			_fbuf_files -f
		else
			_fbuf_offer "$word"
		fi ;;
	esac
}
complete -F _fbuf fbuf
