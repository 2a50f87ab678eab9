#!/bin/sh
# Make .venv with a suitable Python and install the lock into it. Safe to repeat.
set -eu
cd "$(dirname "$0")"
wanted=$(cat .python-version)

suits() { # PyMC 6 needs Python 3.12; a Python without venv and ensurepip cannot make .venv
    "$@" -c 'import sys, venv, ensurepip; sys.exit(not (3, 12) <= sys.version_info[:2] <= (3, 14))' \
        >/dev/null 2>&1
}

find_python() {
    if command -v pyenv >/dev/null 2>&1; then
        prefix=$(pyenv prefix "$wanted" 2>/dev/null ||
            pyenv prefix "$(pyenv latest "$wanted" 2>/dev/null)" 2>/dev/null || true)
        if [ -n "$prefix" ] && suits "$prefix/bin/python"; then echo "$prefix/bin/python"; return; fi
    fi
    if command -v uv >/dev/null 2>&1; then
        found=$(uv python find --no-python-downloads "$wanted" 2>/dev/null || true)
        if [ -n "$found" ] && suits "$found"; then echo "$found"; return; fi
    fi
    for name in python3.14 python3.13 python3.12 python3; do
        if suits "$name"; then command -v "$name"; return; fi
    done
    if command -v uv >/dev/null 2>&1 && uv python install "$wanted" >&2; then
        uv python find "$wanted"
    fi
}

if ! suits .venv/bin/python || ! .venv/bin/python -m pip --version >/dev/null 2>&1; then
    python=$(find_python)
    if [ -z "$python" ]; then
        echo "This book needs Python 3.12, 3.13 or 3.14 with its venv module, and none was found:" \
            "install Python $wanted (python.org, pyenv, uv, or your system's python3-venv) and run make again." >&2
        exit 1
    fi
    echo "Making .venv with $python"
    rm -rf .venv
    "$python" -m venv .venv
fi
echo "Installing the packages of requirements.txt (one to three minutes the first time)"
.venv/bin/python -m pip install --quiet --disable-pip-version-check -r requirements.txt
touch .venv/installed
