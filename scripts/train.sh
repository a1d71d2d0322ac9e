#!/usr/bin/env bash
# Train a character RNN on a fresh machine: creates .venv on first use, then runs train.py with the given overrides.
#   scripts/train.sh model.hidden=512 data=text data.path=my_book.txt
set -eu
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
. "$root/scripts/environment.sh"
prepare_environment "$root" plots test
exec "$root/.venv/bin/python" "$root/train.py" "$@"
