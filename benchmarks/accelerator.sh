#!/usr/bin/env bash
# Measures on a machine with an accelerator and no network what benchmarks/finetuning.py and trials.py measure.
#
#   bash benchmarks/accelerator.sh --make FOLDER     beforehand, with XLING_DATA and network: inputs, and wheels
#   bash benchmarks/accelerator.sh FOLDER            there, from a copy of this repository and of FOLDER
#
# PYTHON names the interpreter: beforehand one that has this package; there one that has jax for the device, flax, optax,
# orbax-checkpoint and torch, and is of VERSION. Packages that are missing there go to FOLDER/site, and nothing else on the
# machine is changed. Results: FOLDER/finetuning.json, FOLDER/trials.json.
set -euo pipefail

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
PYTHON=${PYTHON:-python3}
VERSION=${VERSION:-3.11}
BASE=${BASE:-xlmr_base}
LARGE=${LARGE:-xlmr_large} # "tiny" for both, and DTYPE=float32, tries the script itself on a CPU
DTYPE=${DTYPE:-bfloat16}

if [[ ${1:-} == --make ]]; then
  FOLDER=${2:?'--make FOLDER'}
  "$PYTHON" "$ROOT/benchmarks/finetuning.py" "$FOLDER" --make
  mkdir -p "$FOLDER/wheels"
  "$PYTHON" "$ROOT/benchmarks/wheels.py" "$FOLDER/wheels" "$VERSION"
  du -sh "$FOLDER"
  exit
fi

FOLDER=$(cd "${1:?'FOLDER, made by --make'}" && pwd)
export PYTHONPATH="$ROOT:$FOLDER/site${PYTHONPATH:+:$PYTHONPATH}"
for wheel in "$FOLDER"/wheels/*.whl; do
  name=$(basename "$wheel" | cut -d- -f1)
  "$PYTHON" -m pip show --quiet "$name" 2>/dev/null ||
    "$PYTHON" -m pip install --quiet --no-index --no-deps --target "$FOLDER/site" "$wheel"
done
export XLA_PYTHON_CLIENT_PREALLOCATE=false # two programs share the device
cd "$ROOT"
measure() {
  "$PYTHON" benchmarks/finetuning.py "$FOLDER" --peer="$PYTHON" --dtype="$DTYPE" --out="$FOLDER/finetuning.json" "$@"
}
measure --model="$LARGE" --jobs=mnli --pairs=packed:grouped,packed:compiled,packed:default --steps=20
measure --model="$LARGE" --jobs=xnli,xquad --pairs=packed:grouped,packed:compiled --eval_batch=512
measure --model="$BASE" --jobs=mnli,squad,udpos,mlm --pairs=packed:grouped --steps=20
"$PYTHON" benchmarks/trials.py
cp benchmarks/trials.json "$FOLDER/"
