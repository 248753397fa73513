#!/bin/sh
# usage: run.sh [--rounds N] BENCH_PROGRAM ARGUMENTS. Adds --peer when the peer program is there or can be built.
# With --rounds both sides take turns N times; then one JSON line a cell gives the medians of the rounds' ratios and their quartiles.
set -eu
rounds=1
if [ "$1" = --rounds ]; then
  rounds=$2
  shift 2
fi
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
if [ "$rounds" -le 1 ]; then
  exec "$bench" "$@"
fi
lines=$(mktemp)
trap 'rm -f "$lines"' EXIT
i=0
while [ "$i" -lt "$rounds" ]; do
  "$bench" "$@" | tee -a "$lines" >&2
  i=$((i + 1))
done
python3 "$here/rounds.py" "$lines"
