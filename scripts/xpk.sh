#!/usr/bin/env bash
# A run on a slice of a GKE cluster that xpk made, which restarts it where it is interrupted:
#
#   pip install xpk
#   XPK_CLUSTER=mine BUCKET=gs://MINE/runs bash scripts/xpk.sh run --config=configs/quickstart.py
#
# XPK_WORKLOAD names the run (first), XPK_TYPE the slice (v5litepod-16), XPK_SLICES how many (1), XPK_IMAGE the image
# that the code is put into (python:3.12). Project and zone are gcloud's. For a study, `xling study --emit=xpk` writes
# such scripts.
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."
workload=${XPK_WORKLOAD:-first}
printf -v words '%q ' "$@" "--workdir=${BUCKET:?gs://NAME/FOLDER, which holds what runs make}/$workload/work"
exec xpk workload create \
  --cluster="${XPK_CLUSTER:?the name of a cluster, as xpk cluster create was given}" \
  --workload="$workload" \
  --tpu-type="${XPK_TYPE:-v5litepod-16}" \
  --num-slices="${XPK_SLICES:-1}" \
  --base-docker-image="${XPK_IMAGE:-python:3.12}" \
  --max-restarts=100 \
  --restart-on-exit-codes=75 \
  --termination-grace-period-seconds=120 \
  --command="python3 -m pip install --quiet -r requirements.lock --editable '.[tpu,gcs]' && xling $words"
