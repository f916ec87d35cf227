#!/bin/sh
# Each public header compiles by itself, as C11 and as C++, with what compilers
# there are: headers_stand_alone.sh INCLUDE
include=$1
number=0
failed=0

# compiles LABEL COMMAND...
compiles() {
	label=$1
	shift
	number=$((number + 1))
	if "$@" 2>&1 | sed 's/^/# /' | grep .; then
		echo "not ok $number - $label"
		failed=1
	else
		echo "ok $number - $label"
	fi
}

for header in "$include"/muster/*.h; do
	name=muster/${header##*/}
	for compiler in gcc clang g++ clang++; do
		command -v $compiler >/dev/null || continue
		case $compiler in
		*++) language='-x c++ -std=c++11' ;;
		*) language='-x c -std=c11' ;;
		esac
		# shellcheck disable=SC2086 # several words
		compiles "$name with $compiler" $compiler $language \
			-Wall -Wextra -Wpedantic -Werror -fsyntax-only \
			-I "$include" "$header"
	done
done
echo "1..$number"
exit $failed
