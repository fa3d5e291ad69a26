# shellcheck shell=bash
# Makes the virtual environment that quickstart.sh and test.sh run in. Sourced by them; sets ROOT and VENV.
#
# The first call installs requirements.lock and this package (editable); later calls find the stamp and return at once.
# The stamp holds everything the environment was made from, and is written last: an environment without it was
# interrupted and is made again.
#
#   XLING_PYTHON  the interpreter to use; otherwise the first of CANDIDATES that fits
#   XLING_VENV    where the environment lies; otherwise .venv in the repository root
#
# Package indexes are those pip is configured for (PIP_INDEX_URL, PIP_FIND_LINKS, pip.conf and so on).

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)
VENV=${XLING_VENV:-$ROOT/.venv}
[[ $VENV == /* ]] || VENV=$PWD/$VENV

CANDIDATES=(python3 python3.12 python3.13 python3.11)
ALLOWED='3.11, 3.12 or 3.13'
UV_RELEASE='uv==0.13.8'
MARK=.xling  # in an environment made by this file, so that no other folder is ever removed

say() { printf '[%4ds] %s\n' "$SECONDS" "$*"; }

die() {
  printf 'error: %s\n' "$*" >&2
  exit 2
}

# Prints "3.12.1 yes /usr/bin/python3.12": version, whether it can make environments, and the interpreter itself
# where the name leads into an active virtual environment.
probe() {
  "$1" -c '
import sys
try:
    import ensurepip, venv
    able = "yes"
except ImportError:
    able = "no"
print("%d.%d.%d %s %s" % (sys.version_info[:3] + (able, getattr(sys, "_base_executable", sys.executable))))
' 2>/dev/null
}

# Sets PYTHON and PYTHON_VERSION, or ends with a line that names what was found and what is allowed.
find_python() {
  local name answer version able path found='' unable=''
  local names=("${CANDIDATES[@]}")
  [[ -z ${XLING_PYTHON:-} ]] || names=("$XLING_PYTHON")
  for name in "${names[@]}"; do
    if ! answer=$(probe "$name"); then
      [[ -z ${XLING_PYTHON:-} ]] || found="$name, which does not run"
      continue
    fi
    read -r version able path <<<"$answer"
    case $version in
      3.11.* | 3.12.* | 3.13.*) ;;
      *)
        found+="${found:+, }$name is $version"
        continue
        ;;
    esac
    if [[ $able == no ]]; then
      unable=${unable:-"$name ($version) cannot make virtual environments; install python3-venv (Debian, Ubuntu: apt-get install python${version%.*}-venv)"}
      continue
    fi
    PYTHON=$path PYTHON_VERSION=$version
    return
  done
  [[ -z $unable ]] || die "$unable."
  die "no suitable Python; found: ${found:-none}; allowed: $ALLOWED, named by XLING_PYTHON or on PATH."
}

# Everything that decides what the environment holds.
recipe() {
  cat "$ROOT/requirements.lock" "$ROOT/setup.py" "$ROOT/scripts/setup.sh"
  printf '%s %s\n' "$PYTHON_VERSION" "$ROOT"
}

is_ready() {
  [[ -x $VENV/bin/python && -f $VENV/$MARK/stamp && $(<"$VENV/$MARK/stamp") == "$(recipe)" ]]
}

# Prints uv's settings, one NAME=value per line, that say what pip's configuration says. What is set for uv already stays.
uv_settings() {
  "$VENV/bin/python" -m pip config list | "$VENV/bin/python" -c '
import ast, os, sys
pip = {}
for line in sys.stdin:  # files first, then the environment: the later one wins, as in pip
    key, found, value = line.partition("=")
    if found and key.split(".")[0] in ("global", "install", ":env:"):
        pip[key.split(".")[-1]] = str(ast.literal_eval(value.strip()))
ours = {
    "UV_DEFAULT_INDEX": pip.get("index-url"),
    "UV_INDEX": " ".join(pip.get("extra-index-url", "").split()),
    "UV_INDEX_STRATEGY": "unsafe-best-match" if "extra-index-url" in pip else None,
    "UV_FIND_LINKS": ",".join(pip.get("find-links", "").split()),
    "UV_NO_INDEX": "1" if pip.get("no-index", "0").lower() in ("1", "true", "yes", "on") else None,
    "UV_INSECURE_HOST": " ".join(pip.get("trusted-host", "").split()),
    "SSL_CERT_FILE": pip.get("cert"),
}
for name, value in ours.items():
    if value and name not in os.environ:
        print(name + "=" + value)
'
}

install_with_uv() {
  local setting uv=(env)
  "$VENV/bin/python" -m pip install --quiet --disable-pip-version-check "$UV_RELEASE" || return 1
  while read -r setting; do uv+=("$setting"); done < <(uv_settings)
  uv+=("$VENV/bin/uv" pip install --python "$VENV/bin/python" --no-deps)
  [[ -t 2 ]] || uv+=(--quiet)
  "${uv[@]}" -r "$ROOT/requirements.lock" && "${uv[@]}" -e "$ROOT"
}

install_with_pip() {
  local pip=("$VENV/bin/python" -m pip install --quiet --disable-pip-version-check --no-deps)
  "${pip[@]}" -r "$ROOT/requirements.lock" && "${pip[@]}" -e "$ROOT"
}

make_venv() {
  if [[ -e $VENV && ! -d $VENV/$MARK && $VENV != "$ROOT/.venv" && -n $(ls -A "$VENV") ]]; then
    die "XLING_VENV=$VENV was not made by scripts/setup.sh; remove it or name another place."
  fi
  say "making $VENV with Python $PYTHON_VERSION"
  rm -rf "$VENV"
  mkdir -p "$VENV/$MARK"
  "$PYTHON" -m venv "$VENV"
  say "installing requirements.lock (about 3 GB on disk; one to ten minutes)"
  if ! install_with_uv; then
    say "uv could not install it; trying pip (slower)"
    install_with_pip || die "could not install requirements.lock; pip's own message is above."
  fi
  recipe >"$VENV/$MARK/stamp"
  say "environment ready"
}

set_up() {
  find_python
  is_ready && return
  mkdir -p "$(dirname "$VENV")"
  (
    # The lock lives as long as descriptor 9 is open: two calls at once make one environment.
    "$PYTHON" -c 'import fcntl; fcntl.flock(9, fcntl.LOCK_EX)'
    is_ready || make_venv
  ) 9>"$VENV.lock"
}

set_up
