#!/bin/sh
# The shared library exports muster_ and nothing else, and every function that
# the headers declare: only_muster_is_exported.sh LIBRARY TOOLS
exported=$(nm -D --defined-only "$1" | awk '{ print $3 }')
others=$(echo "$exported" | grep -v '^muster_')
missing=$("$2/public-functions" | while read -r name; do
	echo "$exported" | grep -qx "$name" || echo "$name"
done)

# verdict NUMBER NAME FINDINGS
verdict() {
	if [ -z "$3" ]; then
		echo "ok $1 - $2"
	else
		echo "$3" | sed 's/^/# /'
		echo "not ok $1 - $2"
	fi
}

echo 1..2
verdict 1 'nothing but muster_ is exported' "$others"
verdict 2 'all that is declared is exported' "$missing"
[ -n "$exported" ] && [ -z "$others$missing" ]
