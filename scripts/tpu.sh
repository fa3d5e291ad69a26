#!/usr/bin/env bash
# TPU slices by gcloud: made, used, watched over, deleted. `bash scripts/tpu.sh --help` lists the verbs; docs/tpu.md
# leads from nothing to a finished run. Nothing has to be installed but gcloud and Python 3.11 or newer.
#
#   XLING_PYTHON  the interpreter to use; otherwise python3
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)
python=${XLING_PYTHON:-python3}
if ! "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
  echo "error: $python is not Python 3.11 or newer. Name one by XLING_PYTHON." >&2
  exit 2
fi
PYTHONPATH=$root${PYTHONPATH:+:$PYTHONPATH} exec "$python" -m xling_jax.launch "$@"
