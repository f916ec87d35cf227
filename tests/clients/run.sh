#!/bin/sh
# run.sh SOURCE BUILD TEST: runs a test of Node's, with the packages it needs.
set -eu
source=$1 build=$2 test=$3
if [ ! -d "$build/node_modules/ws" ]; then
	cp "$source/package.json" "$build/package.json"
	(cd "$build" && npm install --no-audit --no-fund --ignore-scripts \
		--no-package-lock >npm.log 2>&1) || {
		echo "skipped: npm cannot install the clients (see $build/npm.log)"
		exit 77
	}
fi
# Node looks for packages above the test, so it runs a copy beside them.
cp "$source"/*.js "$build"/
cd "$build"
exec node --test --test-reporter=spec "$test"
