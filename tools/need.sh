#!/bin/sh
# Checks what a build needs and names the command that installs what is missing (Debian's names).
missing=0
lacks() {
	printf '%s is missing: %s\n' "$1" "$2" >&2
	missing=1
}
command -v gcc >/dev/null 2>&1 || command -v cc >/dev/null 2>&1 || lacks "a C compiler" "apt-get install gcc libc6-dev"
command -v npm >/dev/null 2>&1 || [ -f .cache/onnxruntime/1.30.0/libonnxruntime.so.1 ] || lacks "npm" "apt-get install npm (Node 20 or newer), to fetch ONNX Runtime once"
if command -v go >/dev/null 2>&1; then
	version=$(go env GOVERSION | sed 's/^go//')
	major=${version%%.*}
	rest=${version#*.}
	minor=${rest%%.*}
	minor=${minor%%[!0-9]*}
	if [ "$major" -lt 1 ] || { [ "$major" -eq 1 ] && [ "$minor" -lt 26 ]; }; then
		lacks "Go 1.26 or newer (this is $version)" "see https://go.dev/doc/install"
	fi
else
	lacks "Go 1.26 or newer" "see https://go.dev/doc/install"
fi
exit $missing
