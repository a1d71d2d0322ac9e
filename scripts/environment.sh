# Sourced by train.sh and test.sh: creates a .venv with the project in it. Works in bash 3.2, the version of macOS.

fail() {
    echo "$(basename "$0"): $1" >&2
    exit 2
}

# Succeed if the interpreter $1 runs and its Python version is supported.
is_supported() {
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
        if is_supported "$candidate"; then
            command -v "$candidate"
            return
        fi
        if [ -n "$(version_of "$candidate")" ]; then
            found="$found $candidate=$(version_of "$candidate")"
        fi
    done
    fail "Python 3.11, 3.12 or 3.13 is needed, found${found:- none}. Install one, or set PYTHON=/path/to/python3.12"
}

# prepare_environment ROOT EXTRA [LARGER]: create ROOT/.venv with the project and the optional dependencies EXTRA.
# An environment with LARGER, which includes EXTRA, is used as it is.
# A marker file with a checksum of the requirements is written last, so that an interrupted or outdated installation
# is repeated. If the marker is up to date, nothing is installed.
prepare_environment() {
    local root=$1 extra=$2 larger=${3:-$2} venv python marker checksum
    case "$(uname -s)" in
        MINGW* | MSYS* | CYGWIN*) fail "Windows is not supported; use WSL, Linux or macOS" ;;
    esac
    venv=$root/.venv
    marker=$venv/.charrnn-installed-
    checksum=$(cat "$root/pyproject.toml" "$root/constraints.txt" | cksum)
    if [ -x "$venv/bin/python" ] && cat "$marker$extra" "$marker$larger" 2>/dev/null | grep -qxF "$checksum $root"; then
        return
    fi
    if [ -e "$venv" ] && [ ! -e "$venv/pyvenv.cfg" ] && [ -n "$(ls -A "$venv" 2>/dev/null)" ]; then
        fail "$venv exists but is not a virtual environment; move it away"
    fi
    if [ -x "$venv/bin/python" ] && [ -n "$(version_of "$venv/bin/python")" ] && ! is_supported "$venv/bin/python"; then
        fail "$venv has Python $(version_of "$venv/bin/python"), but 3.11 to 3.13 is needed; remove $venv and run this again"
    fi
    rm -f "$venv"/.charrnn-installed*
    if ! "$venv/bin/python" -m pip --version >/dev/null 2>&1; then
        python=$(find_python) || exit $?
        echo "creating $venv with Python $(version_of "$python")" >&2
        "$python" -m venv --clear "$venv" || fail "$python could not create a virtual environment in $venv"
    fi
    echo "installing the project and its dependencies into $venv (only once)" >&2
    (cd "$root" && "$venv/bin/python" -m pip install --quiet --disable-pip-version-check \
        -e ".[$extra]" -c constraints.txt >&2) \
        || fail "the installation failed (see above); run this again to retry"
    echo "$checksum $root" >"$marker$extra"
}
