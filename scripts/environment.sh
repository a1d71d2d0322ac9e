# Sourced by train.sh and test.sh: a .venv with the project in it. Written for bash 3.2, which macOS has.

fail() {
    echo "$(basename "$0"): $1" >&2
    exit 2
}

# Whether the interpreter $1 runs and is a Python that the project works with.
suits() {
    "$1" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' >/dev/null 2>&1
}

version_of() {
    "$1" -c 'import sys; print("%d.%d.%d" % sys.version_info[:3])' 2>/dev/null
}

find_python() {
    local candidate found=""
    if [ -n "${PYTHON:-}" ]; then
        set -- "$PYTHON"
    else
        set -- python3 python3.13 python3.12 python3.11 python
    fi
    for candidate in "$@"; do
        if suits "$candidate"; then
            command -v "$candidate"
            return
        fi
        if [ -n "$(version_of "$candidate")" ]; then
            found="$found $candidate=$(version_of "$candidate")"
        fi
    done
    fail "Python 3.11, 3.12 or 3.13 is needed, found${found:- none}; install one, or name it: PYTHON=/path/to/python3.12 $0"
}

# prepare_environment EXTRA: the virtual environment with the project and the extra ("" for none), active.
# The mark is written last and names what was installed, so that neither a broken-off installation nor an old one is
# taken for a whole one; where it fits, nothing is installed.
prepare_environment() {
    local root=$1 extra=$2 venv python mark wanted
    venv=$root/.venv
    mark=$venv/.charrnn-installed-
    wanted=$(cat "$root/pyproject.toml" "$root/constraints.txt" | cksum)
    # An installation with an extra serves calls without one too.
    if [ -x "$venv/bin/python" ] && cat "$mark"${extra:-*} 2>/dev/null | grep -qxF "$wanted $root"; then
        return
    fi
    if [ -e "$venv" ] && [ ! -e "$venv/pyvenv.cfg" ] && [ -n "$(ls -A "$venv" 2>/dev/null)" ]; then
        fail "$venv is there but is no virtual environment; move it away"
    fi
    if [ -x "$venv/bin/python" ] && [ -n "$(version_of "$venv/bin/python")" ] && ! suits "$venv/bin/python"; then
        fail "$venv has Python $(version_of "$venv/bin/python"), 3.11 to 3.13 is needed; remove $venv and call again"
    fi
    rm -f "$venv"/.charrnn-installed*
    if ! "$venv/bin/python" -m pip --version >/dev/null 2>&1; then
        python=$(find_python) || exit $?
        echo "making $venv with Python $(version_of "$python")" >&2
        "$python" -m venv --clear "$venv" || fail "$python could not make a virtual environment in $venv"
    fi
    echo "installing the project and what it needs into $venv (once)" >&2
    (cd "$root" && "$venv/bin/python" -m pip install --quiet --disable-pip-version-check \
        -e ".${extra:+[$extra]}" -c constraints.txt >&2) \
        || fail "the installation did not succeed (see above); call again to go on with it"
    echo "$wanted $root" >"$mark${extra:-base}"
}
