#!/bin/sh
# The shared library exports muster_ and nothing else, and every function that
# the headers declare: only_muster_is_exported.sh LIBRARY INCLUDE
library=$1
include=$2
exported=$(nm -D --defined-only "$library" | awk '{ print $3 }' | sort)
others=$(echo "$exported" | grep -v '^muster_')
declared=$(cat "$include"/muster/*.h | tr '\n' ' ' | sed 's|/\*|\n&|g' |
	sed 's|^/\*.*\*/||' | tr ';' '\n' |
	sed -n 's/.*MUSTER_PUBLIC.*[ *]\(muster_[a-z0-9_]*\)(.*/\1/p' | sort -u)

echo 1..2
if [ -z "$others" ] && [ -n "$exported" ]; then
	echo 'ok 1 - nothing but muster_ is exported'
else
	echo "$others" | sed 's/^/# exported: /'
	echo 'not ok 1 - nothing but muster_ is exported'
fi
missing=$(echo "$declared" | while read -r name; do
	echo "$exported" | grep -qx "$name" || echo "$name"
done)
if [ -z "$missing" ] && [ "$(echo "$declared" | wc -l)" -gt 50 ]; then
	echo 'ok 2 - all that is declared is exported'
else
	echo "$missing" | sed 's/^/# not exported: /'
	echo 'not ok 2 - all that is declared is exported'
fi
[ -z "$others$missing" ]
