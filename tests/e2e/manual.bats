#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-3.0-or-later
#
# The manual pages, the help and the completion say the same.

bats_require_minimum_version 1.5.0

setup() {
	top=$(cd "$BATS_TEST_DIRNAME/../.." && pwd)
}

commands() {
	gvmkit --help | sed -n '/^Commands:/,/^$/s/^  \([a-z-]*\) .*/\1/p'
}

# The options of a command as its help has them: "-o --output FILE", one a line.
options_of_help() {
	gvmkit "$1" --help | sed -n '/^Options:/,/^$/p' |
		sed -nE -e 's/^  (-[a-zA-Z]), (--[a-z-]+)( [^ ]+)? .*/\1 \2\3/p' -e 's/^ {6}(--[a-z-]+)( [^ ]+)? .*/\1\2/p' | sort
}

# The same of a manual page.
options_of_manual() {
	sed -n '/^\.Sh DESCRIPTION/,/^\.Sh EXIT/p' "$top/man/gvmkit-$1.1" | grep '^\.It Fl' |
		sed -e 's/^\.It //' -e 's/\\-/-/g' -e 's/Fl \([a-zA-Z]\) , /-\1 /' -e 's/Fl --/--/' -e 's/Fl -/--/' \
			-e 's/ Ns Op : Ns Ar \([A-Z]*\)/[:\1]/' -e 's/ Ns Op : Ns Cm \([a-z]*\)/[:\1]/' -e 's/ Ns Op = Ns Ar \([A-Z]*\)/[=\1]/' \
			-e 's/ : Ns Ar /:/' -e 's/ Ar / /' | sort
}

@test "every command has a manual page, and every page a command" {
	pages=$(cd "$top/man" && printf '%s\n' gvmkit-*.1 | sed 's/^gvmkit-//; s/\.1$//' | sort)
	[ "$pages" = "$(commands | sort)" ]
	for command in $(commands); do
		grep -q "^\.It Xr gvmkit-$command 1" "$top/man/gvmkit.1"
	done
}

@test "the manual pages have the options of the help, with the same arguments" {
	[ -n "$(commands)" ]
	for command in $(commands); do
		diff <(options_of_help "$command") <(options_of_manual "$command")
	done
}

@test "help, usage and version" {
	run -0 gvmkit --help
	[[ $output == 'Usage: gvmkit COMMAND'* ]]
	run -0 gvmkit --version
	[[ $output =~ ^gvmkit\ [0-9]+\.[0-9]+ ]]
	run -2 gvmkit
	[[ $output == 'Usage: '* ]]
	run -2 gvmkit frobnicate
	[[ $output == *frobnicate* ]]
	[ "${#lines[@]}" -eq 1 ]
	for command in $(commands); do
		run -0 gvmkit "$command" --help
		[[ $output == "Usage: gvmkit $command "* ]]
		[[ $output == *$'\nExample:\n'* ]]
	done
}

# Complete the words given, the last one being typed; prints the candidates.
complete_words() {
	bash -c '
		source "$1/completion/gvmkit"
		shift
		COMP_WORDS=("$@") COMP_CWORD=$(($# - 1)) COMP_LINE="$*" COMP_POINT=${#COMP_LINE}
		compopt() { :; }
		_gvmkit
		printf "%s\n" "${COMPREPLY[@]}"
	' bash "$top" "$@"
}

@test "completion offers the commands" {
	run -0 complete_words gvmkit ''
	for command in $(commands); do
		[[ $'\n'$output$'\n' == *$'\n'$command$'\n'* ]]
	done
	run -0 complete_words gvmkit in
	[ "$output" = inspect ]
}

@test "completion offers the options of the help" {
	for command in $(commands); do
		run -0 complete_words gvmkit "$command" --
		[ "$(sort <<<"$output")" = "$(options_of_help "$command" | grep -oE -- '--[a-z-]+' | sort)" ]
	done
	run -0 complete_words gvmkit build --comp
	[ "$output" = --compression ]
	run -0 complete_words gvmkit run --accel t
	[ "$output" = tcg ]
}

@test "completion offers images, and leaves the words after the image of run alone" {
	cd "$BATS_TEST_TMPDIR"
	touch one.gvmi two.tar three.txt
	mkdir four
	run -0 complete_words gvmkit run ''
	[[ $output == *one.gvmi* && $output == *two.tar* && $output == *four* && $output != *three* ]]
	run -0 complete_words gvmkit inspect ''
	[[ $output == *one.gvmi* && $output != *two.tar* ]]
	run -0 complete_words gvmkit build docker-archive : tw
	[ "$output" = two.tar ]
	run -0 complete_words gvmkit run -m 1g one.gvmi --
	[ -z "$output" ]
}
