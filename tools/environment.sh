# shellcheck shell=bash
# Sourced by tools/demo, tools/test and tools/docs, from the root of the repository.

# environment EXTRA: puts first on PATH a virtual environment that holds lm_lab with an extra ("", "tests" or "docs") at the
# releases of constraints.txt. It is made on first use, and again when an input changed, the folder moved or the making
# was interrupted. PYTHON=python3.12 chooses another interpreter, which gets an environment of its own.
environment() {
    local python=${PYTHON:-python3} venv=.venv home packages
    "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null ||
        fail "$python is missing or older than 3.11; name a newer one, as in PYTHON=python3.12 $0"
    "$python" -c 'import venv, ensurepip' 2>/dev/null ||
        fail "$python cannot make environments; install its venv module (Debian and Ubuntu: python3-venv)"
    [[ -z ${PYTHON:-} ]] || venv=.venv-$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')

    exec 9>"$venv.lock" # two commands that start at once make it one after the other
    "$python" -c 'import fcntl; fcntl.flock(9, fcntl.LOCK_EX)'
    home="$PWD $("$python" -VV)"
    packages=$(cat setup.cfg pyproject.toml constraints.txt)
    [[ -x $venv/bin/python && $(cat "$venv/home" 2>/dev/null) == "$home" ]] || rm -rf "$venv"
    [[ $(cat "$venv/packages-$1" 2>/dev/null) == "$packages" ]] || install "$python" "$venv" "$1"
    exec 9>&-
    export PATH="$PWD/$venv/bin:$PATH" VIRTUAL_ENV="$PWD/$venv"
}

# install PYTHON VENV EXTRA: the file `home` is absent while anything is half made, and written last.
install() {
    local python=$1 venv=$2 extra=$3
    echo "Installing lm_lab into $venv ($("$python" -V)); the first time takes a minute" >&2
    rm -f "$venv/home"
    [[ -d $venv ]] || "$python" -m venv "$venv" || fail "cannot make $venv"
    # The variables hold what builds packages (setuptools) to the same releases; newer pips read the second one.
    PIP_CONSTRAINT=constraints.txt PIP_BUILD_CONSTRAINT=constraints.txt PIP_DISABLE_PIP_VERSION_CHECK=1 \
        "$venv/bin/python" -m pip install --quiet --no-compile -c constraints.txt -e ".${extra:+[$extra]}" ||
        fail "pip could not install lm_lab (its message is above); run $0 again once that is mended"
    # pip compiles to bytecode on one core, this does on all; files of other Pythons do not compile, and need not
    "$venv/bin/python" -m compileall -q -j 0 "$venv/lib" >/dev/null || true
    echo "$packages" >"$venv/packages-$extra"
    echo "$home" >"$venv/home"
}

fail() {
    echo "$0: $1" >&2
    exit 1
}
