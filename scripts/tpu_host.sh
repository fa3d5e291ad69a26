#!/usr/bin/env bash
# One host of a run on a TPU slice. `tpu.sh` calls it there by ssh, on all hosts at once.
#
#   tpu_host.sh install [gs://FOLDER=FOLDER ...]    makes the environment from requirements.lock; fetches folders
#   tpu_host.sh start --id=ID --bucket=gs://FOLDER --every=SECONDS [--sync=WORKDIR] -- COMMAND...
#   tpu_host.sh status                              "xling-host NAME ID running|ended|absent CODE the log's last line"
#   tpu_host.sh stop                                SIGTERM, after which the command saves; returns when it has ended
#
# Beside the code, which lies in RUN/code: venv, log, and of the command id, pid, ended (its exit code) and lock, which
# is held as long as it lives. A work folder on this disk is kept in the bucket (push).
set -uo pipefail

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)
RUN=$(dirname "$ROOT")
VENV=$RUN/venv
UV_RELEASE='uv==0.13.8' # as in setup.sh
LONGEST_STOP=600        # seconds

die() {
  printf 'error: %s\n' "$*" >&2
  exit 2
}

say() { printf '[host] %s\n' "$*"; }

# Everything that decides what the environment holds.
recipe() { cat "$ROOT/requirements.lock" "$ROOT/setup.py"; }

install() {
  local pair python=$VENV/bin/python
  cd "$ROOT" || exit 2
  if ! cmp -s <(recipe) "$RUN/installed"; then
    python3 -m pip install --quiet --user "$UV_RELEASE" || die "pip could not install $UV_RELEASE on $(hostname)."
    python3 -m uv venv --quiet --allow-existing --python 3.12 "$VENV" || die "no Python 3.12 on $(hostname)."
    python3 -m uv pip install --quiet --python "$python" -r requirements.lock --editable '.[tpu,gcs]' ||
      die "uv could not install requirements.lock on $(hostname); its own words are above."
    recipe >"$RUN/installed"
  fi
  for pair in "$@"; do
    mkdir -p "${pair#*=}"
    gcloud storage rsync --recursive "${pair%%=*}" "${pair#*=}" || die "could not fetch ${pair%%=*} on $(hostname)."
  done
}

is_held() { [[ -e $RUN/lock ]] && ! flock --nonblock "$RUN/lock" true; }

status() {
  local state=absent code=0
  if is_held; then
    state=running
  elif [[ -s $RUN/ended ]]; then
    state=ended code=$(<"$RUN/ended")
  fi
  printf 'xling-host %s %s %s %s %s\n' "$(hostname)" "$(cat "$RUN/id" 2>/dev/null || echo -)" "$state" "$code" \
    "$(tail -c 4000 "$RUN/log" 2>/dev/null | tr '\r' '\n' | grep -v '^ *$' | tail -n 1 | cut -c 1-200)"
}

stop() {
  local second
  is_held || return 0
  for ((second = 0; second < LONGEST_STOP; second++)); do
    if ((second % 60 == 0)); then kill -TERM "$(<"$RUN/pid")" 2>/dev/null; fi
    for _ in {1..5}; do
      sleep 0.2
      is_held || return 0
    done
  done
  die "the command on $(hostname) did not end within $LONGEST_STOP s."
}

id='' bucket='' every=300 sync=''
parse() {
  while (($#)); do
    case $1 in
      --id=*) id=${1#*=} ;;
      --bucket=*) bucket=${1#*=} ;;
      --every=*) every=${1#*=} ;;
      --sync=*) sync=${1#*=} ;;
      --)
        words=("${@:2}")
        return
        ;;
      *) die "unknown flag $1 of tpu_host.sh" ;;
    esac
    shift
  done
}

start() {
  parse "$@"
  if is_held; then
    [[ $(<"$RUN/id") == "$id" ]] || die "another command runs on $(hostname): scripts/tpu.sh stop ends it."
    say "it runs already"
    return
  fi
  rm -f "$RUN/pid" "$RUN/ended"
  printf '%s\n' "$id" >"$RUN/id"
  # A session of its own: the end of the connection ends nothing here.
  setsid nohup bash "${BASH_SOURCE[0]}" hold "$@" >>"$RUN/log" 2>&1 </dev/null &
  for _ in {1..300}; do
    if [[ -s $RUN/pid || -s $RUN/ended ]]; then return; fi
    sleep 0.1
  done
  is_held || die "the command did not begin on $(hostname): $(tail -n 1 "$RUN/log")"
}

# Waits for a process that signals do not end; they only end `wait`.
finish() {
  while kill -0 "$1" 2>/dev/null; do wait "$1"; done
  wait "$1" # again: what it ended with, and not what ended the waiting
}

names() { find "$1" -printf '%P\n' 2>/dev/null | sort; }

# What the work folder holds at a moment: a look at it before and after must find the same names. Files have their name
# when they are whole, so links do; what is added to in place is copied, and last, so that it is never behind a
# checkpoint.
snapshot() {
  local before
  for _ in {1..20}; do
    rm -rf "$RUN/snapshot"
    before=$(names "$sync")
    if cp -al "$sync" "$RUN/snapshot" 2>/dev/null && [[ $before == "$(names "$sync")" ]]; then
      find "$RUN/snapshot" -type f \( -name '*.jsonl' -o -name '*tfevents*' \) \
        -exec sh -c 'for file; do cp -p "$file" "$file.copy" && mv -f "$file.copy" "$file"; done' - {} +
      return
    fi
    sleep 0.5
  done
  return 1
}

# Prints which of the two folders of the bucket is whole: a, b or none. Fails if the bucket does not answer.
whole() {
  local said
  if said=$(gcloud storage cat "$bucket/workdir/whole" 2>&1); then
    printf '%s' "$said"
  elif grep -qiE 'not found|no objects|404' <<<"$said"; then
    printf none
  else
    say "the bucket does not answer: $said" >&2
    return 1
  fi
}

# Puts the work folder into the other of these two, and then says that this one is whole. So one of them always is, also
# where the machine is taken away in the middle.
push() {
  local side other=a
  [[ -n $sync && -d $sync ]] || return 0
  side=$(whole) && snapshot || return
  [[ $side != a ]] || other=b
  gcloud storage rsync --recursive --delete-unmatched-destination-objects --quiet "$RUN/snapshot" \
    "$bucket/workdir/$other" && printf '%s' "$other" | gcloud storage cp - "$bucket/workdir/whole" --quiet
}

# Gets what is whole.
pull() {
  local side
  [[ -n $sync ]] || return 0
  mkdir -p "$sync"
  side=$(whole) || return
  [[ $side == none ]] || gcloud storage rsync --recursive --quiet "$bucket/workdir/$side" "$sync"
}

keep_log() { gcloud storage cp "$RUN/log" "$bucket/logs/$began-$(hostname).log" --quiet >/dev/null 2>&1; }

hold() {
  local code=75 child='' began
  began=$(date -u +%Y%m%d-%H%M%S)
  parse "$@"
  exec 9>"$RUN/lock"
  flock --timeout 10 9 || exit 0 # a look at it holds it for a moment
  cd "$ROOT" || exit 2
  trap '[[ -z $child ]] || kill -TERM "$child" 2>/dev/null' TERM INT HUP
  say "$began ${words[*]}"
  if ! pull; then
    say "the work folder could not be fetched"
  else
    PATH=$VENV/bin:$PATH "${words[@]}" &
    child=$!
    printf '%s\n' "$child" >"$RUN/pid"
    while kill -0 "$child" 2>/dev/null; do
      sleep "$every" 9>&- &
      wait -n "$child" $! # whichever ends first; or a signal does
      if kill $! 2>/dev/null; then continue; fi
      push 9>&- &
      finish $! || say "the work folder could not be kept now"
      keep_log
    done
    finish "$child"
    code=$?
    if ! { push || push || push; }; then # the machine must not be deleted as one whose work is done
      say "the work folder could not be kept after the command ended with $code"
      code=75
    fi
  fi
  say "ended with $code"
  keep_log
  printf '%s\n' "$code" >"$RUN/ended"
}

words=()
case ${1:-} in
  install | status | stop | start | hold) "$@" ;;
  *) die "tpu_host.sh takes install, start, status or stop." ;;
esac
