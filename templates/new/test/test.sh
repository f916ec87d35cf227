#!/bin/sh
# Asks a server of its own, on a free port and with a store of its own.
set -eu
cd "$(dirname "$0")/.."

home=$(mktemp -d)
mkfifo "$home/said"
MUSTER_ENV=test MUSTER_HOME=$home \
	./@NAME@ --listen 127.0.0.1:0 >"$home/said" &
server=$!
trap 'kill "$server" 2>/dev/null && wait "$server" || true; rm -rf "$home"' EXIT
exec 3<"$home/said"
read -r line <&3 # "@NAME@: 1 workers serve http://localhost:43210"
url=${line##* }

failed=0
# expect WORDS REQUEST: the answer has them in it.
expect() {
	answer=$(curl --silent --show-error "$url/api/$2") || answer=
	case $answer in
	*"$1"*) echo "ok - $2" ;;
	*)
		echo "not ok - $2: $answer"
		failed=1
		;;
	esac
}

expect '"greeting":"hello, Ann"' 'greet?name=Ann'
expect '"visits":2' 'greet?name=Ann'
expect 'name is a required parameter' 'greet'
expect '"task":' 'remind?text=milk&delay=1'
read -r line <&3
while [ "${line%remember milk}" = "$line" ]; do read -r line <&3; done
expect '"error":' 'remind?delay=1'
exit $failed
