#!/bin/sh
# run.sh SOURCE BUILD TEST: runs a test of Node's, with the packages it needs.
set -eu
source=$1 build=$2 test=$3
# On some systems that name is of a script that says where to find it.
if [ "$test" = page.test.js ] && ! chromium --version >/dev/null 2>&1; then
	echo "skipped: there is no chromium to look at the page with"
	exit 77
fi
# Another of these tests may be about to do the same.
exec 9>"$build/npm.lock"
flock 9
if ! cmp -s "$source/package.json" "$build/node_modules/.asked"; then
	cp "$source/package.json" "$build/package.json"
	(cd "$build" && npm install --no-audit --no-fund --ignore-scripts \
		--no-package-lock >npm.log 2>&1) || {
		echo "skipped: npm cannot install the clients (see $build/npm.log)"
		exit 77
	}
	cp "$source/package.json" "$build/node_modules/.asked"
fi
# The client that actionHero hands to browsers: its file alone, as all else of
# that package is the server.
if [ ! -f "$build/actionhero/package/client/ActionheroWebsocketClient.js" ]; then
	mkdir -p "$build/actionhero"
	(cd "$build/actionhero" && npm pack actionhero@29.3.5 &&
		tar -xzf actionhero-29.3.5.tgz package/client) >>"$build/npm.log" 2>&1 || {
		echo "skipped: npm cannot fetch actionHero's client (see $build/npm.log)"
		exit 77
	}
fi
# Node looks for packages above the test, so it runs a copy beside them.
for file in "$source"/*.js; do
	copy=$build/${file##*/}
	cmp -s "$file" "$copy" || { cp "$file" "$copy.new" && mv "$copy.new" "$copy"; }
done
exec 9>&-
cd "$build"
exec node --test --test-reporter=spec "$test"
