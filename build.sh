#!/usr/bin/env bash
# Builds everything a fresh machine needs, inside this checkout. `./build.sh --help` says how.
set -euo pipefail

usage() {
  cat <<'TEXT'
usage: ./build.sh [options] [build]
       ./build.sh [options] test [pytest arguments]
       ./build.sh [options] conformance [arguments]
       ./build.sh [options] demo [odapi demo arguments]

  build   Python environment, patched tree, protobuf modules, then upstream's builder
          tests in TF2 and in TF1 behaviour (default)
  test    all of that, then the project's tests
  conformance
          all of that, then upstream's tests, each file in its own process: twenty minutes on
          two cores; `conformance --help` lists its arguments
  demo    all of that, then `odapi demo`: classifier to detector on handwritten digits

options:
  --no-validate   leave out the builder tests
  --archive FILE  take the snapshot from FILE instead of the package registry
  --gpu, --cpu    TensorFlow with or without CUDA; without either, what was built last, else cpu
  --system        use the interpreter at hand (python3, or PYTHON) instead of .venv
  -h, --help      this text

environment:
  PYTHON          interpreter to build .venv from: Python 3.11, 3.12 or 3.13

Needs bash, git and Python. Writes to .venv/ and third_party/ only (--system: to that
interpreter's site-packages as well). Run it again after an interruption or a git pull:
it does what is missing and nothing else.

exit codes: 0 done, 1 a step or a check failed, 2 wrong usage, 3 an archive or tree with the
wrong hash, 4 the tree has edits that would be lost, 5 another build is running, 130 interrupted
TEXT
}

# fail WHAT AT HINT [EXIT_CODE]
fail() {
  printf 'error: %s\n  at: %s\nhint: %s\n' "$1" "$2" "$3" >&2
  exit "${4:-1}"
}

step() { printf '==> %s\n' "$*"; }
say() { printf '    %s\n' "$*"; }

# Runs a command with its standard output set under the step's heading; keeps its exit code.
indented() { PYTHONUNBUFFERED=1 "$@" | sed 's/^/    /'; }

# --- arguments

command=build
validate=yes
system=no
accelerator=
archive=
while (($#)); do
  case $1 in
    build) shift ;;
    test | conformance | demo)
      command=$1
      shift
      break
      ;;
    --no-validate) validate=no && shift ;;
    --system) system=yes && shift ;;
    --gpu | --cpu) accelerator=${1#--} && shift ;;
    --archive)
      (($# > 1)) || fail "--archive needs a file" "./build.sh $*" "./build.sh --help" 2
      archive=$2
      shift 2
      ;;
    -h | --help) usage && exit 0 ;;
    *) fail "unknown argument: $1" "./build.sh $*" "./build.sh --help" 2 ;;
  esac
done

if [[ $archive ]]; then
  [[ -f $archive ]] || fail "no such file" "--archive $archive" "give the path of the archive" 2
  archive=$(cd "$(dirname "$archive")" && pwd)/$(basename "$archive")
fi
# The real place, whatever link led here: .venv belongs to a place and is made anew in another.
root=$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")
cd "$root"
logs=$root/third_party/logs
mkdir -p "$logs"
trap 'echo "interrupted: ./build.sh goes on from here" >&2; exit 130' INT TERM

command -v git >/dev/null || fail "git is not installed" "PATH" "install git and run again" 2

# Many an Object Detection API set-up has added its own models/research to PYTHONPATH; that
# would come before the tree built here, in the validation and for every later command.
IFS=: read -ra entries <<<"${PYTHONPATH:-}"
for entry in "${entries[@]}"; do
  if [[ -d $entry/object_detection && ! $entry -ef third_party/models/research ]]; then
    printf 'warning: PYTHONPATH holds another object_detection, ignored here but not later\n' >&2
    printf '  at: %s\nhint: unset PYTHONPATH in this shell and in its start-up files\n' "$entry" >&2
  fi
done
unset PYTHONPATH PYTHONHOME

# --- the Python to build from

# Prints three lines: version with prefix, the interpreter below any virtual environment, and
# the directory of pure-Python packages. Fails where the locks hold no packages for it.
describe() {
  "$1" - 2>/dev/null <<'PY'
import sys, sysconfig
if not (3, 11) <= sys.version_info[:2] <= (3, 13):
    raise SystemExit(1)
print("%d.%d.%d" % sys.version_info[:3], sys.base_prefix)
print(getattr(sys, "_base_executable", sys.executable))
print(sysconfig.get_path("purelib"))
PY
}

venv_state=$root/.venv/.build-state
choose_python() {
  local candidate candidates=(python3 python3.13 python3.12 python3.11)
  if [[ ${PYTHON:-} ]]; then
    candidates=("$PYTHON")
  elif [[ $system = no && -f $venv_state ]]; then
    # An environment that works is kept, whatever python3 means by now.
    candidates=("$root/.venv/bin/python" "${candidates[@]}")
  fi
  for candidate in "${candidates[@]}"; do
    if description=$(describe "$candidate"); then
      chosen=$candidate
      { read -r identity && read -r base && read -r site_packages; } <<<"$description"
      return
    fi
  done
  fail "no Python 3.11, 3.12 or 3.13" "${candidates[*]}" \
    "install one, or name it: PYTHON=/path/to/python3.11 ./build.sh" 2
}
choose_python

# The lock belongs to the open file, so it outlives the Python that takes it and ends with
# this script, however that ends.
exec 9>third_party/.build.lock
"$base" -c 'import fcntl; fcntl.flock(9, fcntl.LOCK_EX | fcntl.LOCK_NB)' 2>/dev/null ||
  fail "another ./build.sh is running in this checkout" "$root" "wait for it to end" 5

changed=no

# --- dependencies

# A state file says what an environment holds. It begins with "incomplete" from before the
# first change until after the last, so an environment left half-made is known as such.
# set_state FILE TEXT
set_state() {
  printf '%s\n' "$2" >"$1.new"
  mv "$1.new" "$1"
}
hash_of() { sha256sum "requirements/$1.lock" | cut -d' ' -f1; }
recorded_line() { sed -n "s/^$1 //p" "$state" 2>/dev/null || true; }

# install_lock NAME
install_lock() {
  local count started=$SECONDS log=$logs/pip-$1.log
  count=$(grep -c '^[a-z]' "requirements/$1.lock")
  say "installing $count packages of requirements/$1.lock, each checked against its hash$2"
  # --no-deps: the lock is complete, and leaves out what is asked for and never imported
  # (requirements/excludes.txt), which pip would go and look for.
  if ! "$python" -m pip install --disable-pip-version-check --no-input --no-deps \
    --only-binary :all: --require-hashes -r "requirements/$1.lock" >"$log" 2>&1; then
    grep -v '^WARNING: Location' "$log" | tail -n 15 >&2
    fail "pip could not install requirements/$1.lock" "$log" \
      "see the lines above; ./build.sh again starts this step over"
  fi
  say "installed in $((SECONDS - started)) s"
  changed=yes
}

if [[ $system = yes ]]; then
  python=$chosen
  state=$site_packages/.odapi-build-state
  step "Python environment (system, Python $identity)"
  [[ -w $site_packages ]] || fail "not writable" "$site_packages" "leave out --system" 2
else
  python=$root/.venv/bin/python
  state=$venv_state
  step "Python environment (.venv, Python ${identity%% *})"
  if [[ -e .venv && ! -f $state ]]; then
    fail "a .venv is here that build.sh did not make" "$root/.venv" "move it away, or --system" 2
  fi
fi
: "${accelerator:=$(recorded_line accelerator)}"
: "${accelerator:=cpu}"
wanted="python $identity
checkout $root
accelerator $accelerator
packages $(hash_of "$accelerator")"
incomplete="incomplete
accelerator $accelerator"
# Locks that only some commands need, on top of the first.
extras=()
case $command in
  test) extras=(dev onnx) ;;
  conformance) extras=(beam) ;;
esac
have=$(cat "$state" 2>/dev/null || true)

if [[ $have != "$wanted" && $have != "$wanted"$'\n'* ]]; then
  if [[ $system = no ]]; then
    case $have in
      '') ;;
      incomplete*) say "the last run was interrupted while installing: starting over" ;;
      *) say "made for another Python, place or lock: starting over" ;;
    esac
    # Moved aside and into place, so that no moment has a .venv of ours without its state.
    rm -rf third_party/.venv-*
    [[ ! -e .venv ]] || mv .venv third_party/.venv-old
    mkdir third_party/.venv-new
    printf '%s\n' "$incomplete" >third_party/.venv-new/.build-state
    mv third_party/.venv-new .venv
    rm -rf third_party/.venv-old
    "$base" -m venv .venv >"$logs/venv.log" 2>&1 || {
      cat "$logs/venv.log" >&2
      fail "$base cannot make a virtual environment" "$logs/venv.log" \
        "install its venv module (Debian, Ubuntu: apt install python3-venv)" 2
    }
  fi
  set_state "$state" "$incomplete"
  note=" (about a minute, 2 GB)"
  [[ $accelerator = cpu ]] || note=" (some minutes, 7 GB)"
  install_lock "$accelerator" "$note"
  set_state "$state" "$wanted"
  have=$wanted
else
  say "up to date"
fi
for extra in "${extras[@]}"; do
  line="$extra $(hash_of "$extra")"
  if ! grep -qxF "$line" "$state"; then
    set_state "$state" "$incomplete"
    install_lock "$extra" ""
    have=$(grep -v "^$extra " <<<"$have")$'\n'$line
    set_state "$state" "$have"
  fi
done

# --- tree, protobuf modules, import path

# The engine swaps a new directory into place: another inode is another tree.
tree_id() { stat -c %i third_party/models 2>/dev/null || true; }

step "patched tree (third_party/models)"
before=$(tree_id)
indented "$python" apply_patches.py apply ${archive:+--archive "$archive"} || exit $?
[[ $before = "$(tree_id)" ]] || changed=yes

# run_module MODULE : a step that prints "up to date" when it had nothing to do.
run_module() {
  local output
  output=$("$python" -m "$1") || exit $?
  say "${output//$'\n'/$'\n    '}"
  [[ $output = "up to date" ]] || changed=yes
}
step "protobuf modules"
run_module bootstrap.protos
step "import path"
run_module bootstrap.environment

# --- what it was for

if [[ $validate = yes ]]; then
  step "builder tests in TF2 and in TF1 behaviour (about a minute)"
  "$python" -m bootstrap.validate || exit $?
elif [[ $changed = yes ]]; then
  printf 'OK: built, not validated\n'
else
  printf 'OK: nothing changed\n'
fi

exec 9>&-
case $command in
  test)
    step "tests"
    exec "$python" -m pytest "$@"
    ;;
  conformance)
    step "upstream's tests"
    exec "$python" -m tests.conformance "$@"
    ;;
  demo)
    step "demo"
    exec "$python" -m odapi demo "$@"
    ;;
esac
