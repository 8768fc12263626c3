#!/bin/sh
# Fetches the ONNX Runtime library (MIT) that inference loads, once, from the npm package onnxruntime-node, and checks it
# against the digests pinned below. Package scripts never run. Does nothing when an intact copy is already there.
#
#   KENKYO_ORT_CACHE  folder that receives libonnxruntime.so.1, LICENSE and NOTICE
#                     (default: .cache/onnxruntime/<version> under the repository root)
#   KENKYO_ORT_ARCH   x64 or arm64, to prepare an image for another machine (default: this machine)
#
# The last line on standard output is the path of the library; progress goes to standard error.
set -eu

version=1.30.0
tarball_sha256=6e3390d6b783e7be946fad629292799da28d0b42f84856e50d2c1b0383291e75
x64_sha256=ffb75a925ba05e47b235bb66e3e3911714a80b328a9c9425539feb204aa32a23
arm64_sha256=1f549d46250b005580b597f4164984aaf75b3bcb9f3aeb07c7f8a8fe60b23c76

say() { printf '%s\n' "fetch-onnxruntime: $*" >&2; }
die() { say "$*"; exit 1; }
sha256() { sha256sum "$1" | cut -d ' ' -f 1; }
need() { command -v "$1" >/dev/null 2>&1 || die "$1 is missing; install it with: $2"; }

root=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd)
cache=${KENKYO_ORT_CACHE:-$root/.cache/onnxruntime/$version}

case ${KENKYO_ORT_ARCH:-$(uname -m)} in
x64 | x86_64 | amd64) arch=x64 want=$x64_sha256 ;;
arm64 | aarch64) arch=arm64 want=$arm64_sha256 ;;
*) die "no ONNX Runtime library is packaged for $(uname -m); set KENKYO_ORT_LIB to one you built" ;;
esac
[ "$(uname -s)" = Linux ] || [ -n "${KENKYO_ORT_ARCH:-}" ] || die "only Linux is packaged; set KENKYO_ORT_LIB to your own library"

need sha256sum "apt-get install coreutils"
lib=$cache/libonnxruntime.so.1
if [ -f "$lib" ] && [ "$(sha256 "$lib")" = "$want" ] && [ -f "$cache/LICENSE" ] && [ -f "$cache/NOTICE" ]; then
	printf '%s\n' "$lib"
	exit 0
fi

need npm "apt-get install npm"
need tar "apt-get install tar"
mkdir -p "$cache"
# Beside its destination, so that the last step is a rename on one file system.
work=$(mktemp -d "$cache/.fetch-XXXXXX")
trap 'rm -rf "$work"' EXIT INT TERM

say "downloading onnxruntime-node@$version (114 MB, once) …"
(cd "$work" && npm pack --ignore-scripts --loglevel=error "onnxruntime-node@$version" >/dev/null) ||
	die "npm could not download onnxruntime-node@$version; check the network or the registry and proxy in 'npm config list'"
tarball=$work/onnxruntime-node-$version.tgz
say "verifying …"
got=$(sha256 "$tarball")
[ "$got" = "$tarball_sha256" ] || die "the downloaded package has SHA-256 $got, expected $tarball_sha256"

say "extracting $arch …"
member=package/bin/napi-v6/linux/$arch/libonnxruntime.so.1
tar -xzf "$tarball" -C "$work" "$member" package/package.json
got=$(sha256 "$work/$member")
[ "$got" = "$want" ] || die "libonnxruntime.so.1 has SHA-256 $got, expected $want"

# The npm package names its licence but carries no licence text; the text travels with every copy of the library.
cat >"$work/LICENSE" <<'LICENSE'
MIT License

Copyright (c) 2018 - present Microsoft Corporation

Permission is hereby granted, free of charge, to any person obtaining a copy
of this software and associated documentation files (the "Software"), to deal
in the Software without restriction, including without limitation the rights
to use, copy, modify, merge, publish, distribute, sublicense, and/or sell
copies of the Software, and to permit persons to whom the Software is
furnished to do so, subject to the following conditions:

The above copyright notice and this permission notice shall be included in all
copies or substantial portions of the Software.

THE SOFTWARE IS PROVIDED "AS IS", WITHOUT WARRANTY OF ANY KIND, EXPRESS OR
IMPLIED, INCLUDING BUT NOT LIMITED TO THE WARRANTIES OF MERCHANTABILITY,
FITNESS FOR A PARTICULAR PURPOSE AND NONINFRINGEMENT. IN NO EVENT SHALL THE
AUTHORS OR COPYRIGHT HOLDERS BE LIABLE FOR ANY CLAIM, DAMAGES OR OTHER
LIABILITY, WHETHER IN AN ACTION OF CONTRACT, TORT OR OTHERWISE, ARISING FROM,
OUT OF OR IN CONNECTION WITH THE SOFTWARE OR THE USE OR OTHER DEALINGS IN THE
SOFTWARE.
LICENSE
cat >"$work/NOTICE" <<NOTICE
libonnxruntime.so.1 is ONNX Runtime $version for Linux $arch, taken unchanged from the npm package onnxruntime-node@$version.
SHA-256 $want
Source: https://github.com/microsoft/onnxruntime (tag v$version).
Notices of the third-party components compiled into it:
https://github.com/microsoft/onnxruntime/blob/v$version/ThirdPartyNotices.txt
NOTICE

mv -f "$work/LICENSE" "$work/NOTICE" "$cache/"
chmod 0755 "$work/$member"
mv -f "$work/$member" "$lib"
say "ready"
printf '%s\n' "$lib"
