#!/usr/bin/env bash
# Sets up, runs configs/quickstart.py, prints the table and where the report is.
#
#   bash scripts/quickstart.sh [WORKDIR] [flags of `xling run`]       WORKDIR is work/quickstart unless given
set -euo pipefail

workdir=work/quickstart
if [[ $# -gt 0 && $1 != -* ]]; then
  workdir=$1
  [[ $workdir == /* ]] || workdir=$PWD/$workdir
  shift
fi

# shellcheck source=scripts/setup.sh
source "$(dirname "${BASH_SOURCE[0]}")/setup.sh"
cd "$ROOT"

command=("$VENV/bin/xling" run --config=configs/quickstart.py --workdir="$workdir" "$@")
say "xling ${command[*]:1}"
exec "${command[@]}"
