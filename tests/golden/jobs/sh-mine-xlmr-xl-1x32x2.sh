#!/usr/bin/env bash
# Model xlmr_xl on mesh 1x32x2: 5 stages, beginning with pretrain-1a nli_s0-2b.
# Exit code 75 means: run it again. It may be started several times at once, which divides the stages.
# When the jobs are done, the same --emit writes those for what is ready then.
# TRIES says how often it is begun at most.
set -u
cd /home/me/xling_jax || exit 2
child='' stopped='' code=0
trap 'stopped=1; [ -z "$child" ] || kill -TERM "$child" 2>/dev/null' INT TERM
for try in $(seq "${TRIES:-100}"); do
  xling study --config=configs/studies/mine.py:pod '--workdir=work/my study' '--config.experiments.far.seeds=(0, 1)' --only=far,near/nli_s0 &
  child=$!
  wait "$child"
  code=$?
  while [ -n "$stopped" ] && kill -0 "$child" 2>/dev/null; do sleep 0.2; done # a signal ends the waiting; it saves
  if [ -n "$stopped" ]; then
    wait "$child"
    code=$?
  fi
  if [ "$code" -ne 75 ] || [ -n "$stopped" ]; then break; fi
  echo "mine-xlmr-xl-1x32x2: interrupted ($try), running it again" >&2
done
exit "$code"
