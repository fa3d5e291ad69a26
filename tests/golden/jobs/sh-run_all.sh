#!/usr/bin/env bash
# Runs the jobs of this folder one after another, and leaves with the first exit code that is not 0.
# With AT_ONCE=1 they run at the same time, each on devices of its own.
# When the jobs are done, the same --emit writes those for what is ready then.
set -u
here=$(cd "$(dirname "$0")" && pwd)
names=(
  mine-xlmr-xl-1x32x2
  mine-tiny-one
)
first=0 running=()
stopped=''
trap 'stopped=1; kill -TERM $(jobs -p) 2>/dev/null' INT TERM
finish() {
  wait "$1"
  code=$?
  while [ -n "$stopped" ] && kill -0 "$1" 2>/dev/null; do sleep 0.2; done
  if [ -n "$stopped" ]; then
    wait "$1"
    code=$?
  fi
  if [ "$first" -eq 0 ]; then first=$code; fi
}
for job in "${names[@]}"; do
  bash "$here/$job.sh" &
  running+=("$!")
  if [ -z "${AT_ONCE:-}" ]; then
    finish "$!"
    running=()
    if [ "$first" -eq 75 ]; then break; fi
  fi
done
for process in ${running[@]+"${running[@]}"}; do finish "$process"; done
exit "$first"
