#!/bin/sh
# Runs the evaluator's own tests, which need nothing but Python's standard library.
cd "$(dirname "$0")/../training" || exit 1
if ! command -v python3 >/dev/null 2>&1; then
	echo "skipped: the evaluator's tests need python3 (apt-get install python3)"
	exit 0
fi
exec python3 -m unittest -q test_evaluate
