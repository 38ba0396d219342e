#!/usr/bin/env bash
# Plants each mistake of this folder into a copy of the tracked tree and runs the fuzz on it: the fuzz
# must find every one. Prints a table; exits with 1 if a mutation survives or cannot be judged.
# Deliberately changes nothing in the working tree, and builds all copies into one target folder.
#
#   executor/mutations/run.sh [NAME...]      all patches, or those named (without .patch)
#   BLOCKS=20000 SEED=1 THREADS=2            how long the fuzz looks, and where
#   CARGO_FLAGS, CARGO_TARGET_DIR            as for every build
set -euo pipefail

here="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
root="$(git -C "$here" rev-parse --show-toplevel)"
blocks="${BLOCKS:-20000}"
seed="${SEED:-1}"
threads="${THREADS:-2}"
# Not the tree's own folder: the copies would make its next build start over.
export CARGO_TARGET_DIR="${CARGO_TARGET_DIR:-$root/target}/mutations"

shopt -s nullglob
patches=("$here"/*.patch)
if [ $# -gt 0 ]; then
    patches=()
    for name in "$@"; do patches+=("$here/$name.patch"); done
fi
if [ ${#patches[@]} -eq 0 ]; then
    echo "no mutations in $here"
    exit 0
fi

work="$(mktemp -d "${TMPDIR:-/tmp}/mutations.XXXXXX")"
trap 'rm -rf "$work"' EXIT
# One place for every copy and run, so that the paths in the build stay and only what changed is
# built again.
copy="$CARGO_TARGET_DIR/tree"
export CARGO_INCREMENTAL=1

# Prints what became of one mutation; fails unless it was found.
judge() {
    local patch="$1" log="$work/log" binary="$CARGO_TARGET_DIR/release/examples/fuzz" status=0
    rm -rf "$copy"
    mkdir -p "$copy"
    # The tree as git tracks it, with changes not yet committed.
    git -C "$root" ls-files -z | (cd "$root" && tar --null --ignore-failed-read -cf - -T -) |
        tar -xmf - -C "$copy"
    if ! patch -s -f -p1 -d "$copy" <"$patch" >"$log" 2>&1; then
        echo "DOES NOT APPLY"
        return 1
    fi
    # shellcheck disable=SC2086
    if ! (cd "$copy" && cargo build -q --release -p executor --example fuzz ${CARGO_FLAGS:-}) \
        >"$log" 2>&1 </dev/null; then
        echo "DOES NOT BUILD"
        return 1
    fi
    "$binary" --blocks "$blocks" --seed "$seed" --threads "$threads" >"$log" 2>&1 || status=$?
    local found
    found="$(grep -m1 '^difference at block' "$log" || true)"
    if [ "$status" -ne 0 ] && [ -n "$found" ]; then
        echo "found: $found"
        return 0
    fi
    if [ "$status" -eq 0 ]; then echo "SURVIVED $blocks blocks"; else echo "FAILED with $status"; fi
    return 1
}

survived=0
for patch in "${patches[@]}"; do
    name="$(basename "$patch" .patch)"
    verdict="$(judge "$patch")" || survived=1
    printf '%-40s %s\n' "$name" "$verdict"
done
exit "$survived"
