#!/usr/bin/env bash
# Run the tests on a fresh machine: creates .venv on first use, then runs pytest with the given arguments.
# With -n 0, tests run one at a time; with -m slow, those that take long.
set -eu
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
. "$root/scripts/environment.sh"
prepare_environment "$root" test
cd "$root"
# One process more than CPU cores: some tests wait for other processes.
workers=$(($(getconf _NPROCESSORS_ONLN) + 1))
[ "$workers" -le 4 ] || workers=4
# Less than the 2000 of train.py: several tests run at a time, and waiting threads slow down the others.
export GOMP_SPINCOUNT=1000 OPENBLAS_NUM_THREADS=1
exec "$root/.venv/bin/python" -m pytest --numprocesses=$workers --dist=loadfile --no-loadscope-reorder "$@"
