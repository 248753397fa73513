#!/bin/sh
# usage: run.sh BENCH_PROGRAM ARGUMENTS. Adds --peer when the peer program is there or can be built.
set -eu
bench=$1
shift
here=$(cd "$(dirname "$0")" && pwd)
target=${CARGO_TARGET_DIR:-$(dirname "$bench")/peers_kvindex}
mkdir -p "$target"
if ! command -v cargo >/dev/null; then
  echo "skipped the peer: no cargo" >&2
elif ! nice -n 19 cargo build --quiet --release -j1 --manifest-path "$here/Cargo.toml" --target-dir "$target" >&2; then
  echo "skipped the peer: its crates cannot be had" >&2
else
  set -- "$@" --peer "$target/release/peers_kvindex"
fi
exec "$bench" "$@"
