#!/bin/sh
# kazoo 2.11's own test suite against real keepright servers, three or more at a time, which it starts and stops as it likes.
#   tests/kazoo/run.sh [BINARY [ARGUMENT OF PYTEST...]]     the release build if none is given
#   tests/kazoo/run.sh target/release/keepright -k 'watch or lock'
# kazoo and what its suite needs come from PyPI by pip, into the user's cache directory; there is also what pytest and the
# servers have said. Takes some minutes.
set -eu
BINARY="${1:-}"
shift $(($# < 1 ? $# : 1))
. "$(dirname "$0")/setup.sh"
here="$(cd "$(dirname "$0")" && pwd)"
KEEPRIGHT="$(realpath "$BINARY")"
suite="${XDG_CACHE_HOME:-$HOME/.cache}/keepright/kazoo-suite"
if ! "$suite/venv/bin/python" -c 'import jks, OpenSSL, gevent, eventlet, objgraph, pytest_timeout' 2> /dev/null; then
    echo "installing kazoo 2.11.0 and what its suite needs into $suite/venv"
    python3 -m venv "$suite/venv"
    "$suite/venv/bin/python" -m pip install --quiet --disable-pip-version-check kazoo==2.11.0 'pytest<9' pytest-timeout \
        objgraph gevent eventlet pyjks 'pyOpenSSL<24' 'pure_sasl>=0.5.1'
fi
# The suite starts servers as `java`: that is a program of ours.
mkdir -p "$suite/bin"
printf '#!/bin/sh\nexec "%s" "%s" "$@"\n' "$suite/venv/bin/python" "$here/suite_java.py" > "$suite/bin/java"
chmod +x "$suite/bin/java"
PATH="$suite/bin:$PATH"
# Which tests there are depends on the version; of the class path nothing is used.
ZOOKEEPER_VERSION="${ZOOKEEPER_VERSION:-3.8.0}"
ZOOKEEPER_CLASSPATH=none
SUITE_LOGS="$suite/servers"
export PATH KEEPRIGHT ZOOKEEPER_VERSION ZOOKEEPER_CLASSPATH SUITE_LOGS
rm -rf "$SUITE_LOGS"
mkdir -p "$SUITE_LOGS"
tests="$("$suite/venv/bin/python" -c 'import kazoo.tests, os; print(os.path.dirname(kazoo.tests.__file__))')"
cd "$suite"
status=0
"$suite/venv/bin/python" -m pytest -p no:cacheprovider -ra -q --timeout=180 --timeout-method=thread "$@" "$tests" \
    > "$suite/pytest.txt" 2>&1 || status=$?
grep -aE '^(FAILED|ERROR|SKIPPED)' "$suite/pytest.txt" | sed "s|[^ ]*/kazoo/tests/||" || true
grep -aE '^=* ?[0-9]+ (passed|failed|skipped|error)' "$suite/pytest.txt" | tail -1 || tail -5 "$suite/pytest.txt"
echo "what was said is in $suite/pytest.txt and $SUITE_LOGS"
exit $status
