#!/usr/bin/env bash
# Model tiny on mesh one: 5 stages, beginning with pretrain-1a nli_s0-2b.
# Exit code 75 means: run it again. It may be started several times at once, which divides the stages.
# When the jobs are done, the same --emit writes those for what is ready then.
# Needs XPK_CLUSTER, a cluster that has such slices and the shared disk, mounted as /xling.
# See `xpk storage attach`. Project and zone are taken from gcloud.
set -eu
cd /home/me/xling_jax
xpk workload create \
  --cluster="${XPK_CLUSTER:?the name of a cluster}" \
  --workload=mine-tiny-one \
  --tpu-type=v5litepod-64 \
  --num-slices=1 \
  --base-docker-image="${XPK_IMAGE:-python:3.12}" \
  --max-restarts=100 \
  --restart-on-exit-codes=75 \
  --termination-grace-period-seconds=120 \
  --command='python3 -m pip install --quiet -r requirements.lock '"'"'.[tpu]'"'"' && code=$PWD && cd /xling && xling study --config="$code"/configs/studies/mine.py:pod '"'"'--workdir=work/my study'"'"' '"'"'--config.experiments.far.seeds=(0, 1)'"'"' --only=far,near/nli_s0'
