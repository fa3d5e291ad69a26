#!/usr/bin/env bash
# Sets up, checks style and types, runs the tests on two processes.
#
#   bash scripts/test.sh [arguments of pytest]       XLING_LINT=0 leaves style and types out
set -euo pipefail

# shellcheck source=scripts/setup.sh
source "$(dirname "${BASH_SOURCE[0]}")/setup.sh"
cd "$ROOT"

run() {
  say "$*"
  "$VENV/bin/$1" "${@:2}"
}

if [[ ${XLING_LINT:-1} != 0 ]]; then
  run ruff check --quiet
  run ruff format --check --quiet
  run ty check --quiet --python "$VENV"
fi
run pytest -n 2 --dist loadfile --no-loadscope-reorder "$@"
say "all passed"
