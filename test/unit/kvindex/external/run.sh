#!/bin/sh
# usage: run.sh BUILD_DIR CC SANITIZERS. Installs the library to a fresh place and builds main.c
# against it through pkg-config, shared and static.
set -eu
build=$1 cc=$2 sanitize=$3
here=$(dirname "$0")
[ -z "$sanitize" ] || { echo "skipped: an instrumented library is not what is installed"; exit 77; }
command -v pkg-config >/dev/null || { echo "skipped: no pkg-config"; exit 77; }
prefix=$build/test/kvindex-prefix
rm -rf "$prefix"
cmake --install "$build" --component kvindex --prefix "$prefix" >/dev/null
pc=$(find "$prefix" -name kvindex.pc)
export PKG_CONFIG_PATH=$(dirname "$pc")
libdir=$(pkg-config --variable=libdir kvindex)
$cc -std=c11 -Wall -Wextra -Werror "$here/main.c" $(pkg-config --cflags --libs kvindex) -o "$prefix/shared"
LD_LIBRARY_PATH=$libdir "$prefix/shared"
$cc -std=c11 "$here/main.c" $(pkg-config --cflags kvindex) "$libdir/libkvindex.a" -pthread -o "$prefix/static"
"$prefix/static"
# Nothing but the documented names may be visible.
nm -D --defined-only "$libdir/libkvindex.so" | awk '$2 ~ /[TDB]/ {print $3}' | sort > "$prefix/visible"
if grep -v '^kvi_' "$prefix/visible"; then echo "these names are not ours to export"; exit 1; fi
if grep -E '^kvi_(alloc|retire|trim|names_|child_|cover|node_)' "$prefix/visible"; then echo "private names are visible"; exit 1; fi
