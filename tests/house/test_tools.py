"""What tools/ does where nobody looks: test_tools.py TOOLS [TEST]"""

import json
import os
import subprocess
import sys
import tempfile

TOOLS = sys.argv[1]

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "support"))
from program import equal, main


def write(path, text, mode=0o644):
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "w") as file:
        file.write(text)
    os.chmod(path, mode)


def entry(name, result, returncode=0, stdout="", **more):
    return {
        "name": f"muster:unit / {name}",
        "result": result,
        "returncode": returncode,
        "stdout": stdout,
        "duration": 1.5,
        **more,
    }


def summary(entries, protocol, expected=()):
    """The exit code, the lines before the last one, and the last one."""
    with tempfile.TemporaryDirectory() as folder:
        build = os.path.join(folder, "build")
        names = {e["name"].split(" / ")[1] for e in entries}
        tests = [{"name": name, "protocol": protocol} for name in names]
        write(f"{build}/meson-info/intro-tests.json", json.dumps(tests))
        lines = "".join(json.dumps(e) + "\n" for e in entries)
        write(f"{build}/meson-logs/testlog.json", lines)
        write(f"{build}/meson-logs/expected.txt", "\n".join(expected))
        done = subprocess.run(
            [os.path.join(TOOLS, "test-summary"), build],
            capture_output=True,
            text=True,
        )
    equal(done.stderr, "")
    *shown, last = done.stdout.splitlines()
    return done.returncode, shown, last


def test_cases_within_a_test_count_one_by_one():
    text = "1..3\nok 1 - a\nok 2 - b # SKIP no network\nok 3 - c\n"
    code, shown, last = summary([entry("x", "OK", stdout=text)], "tap")
    equal((code, last), (0, "2 passed, 0 failed"))
    equal(shown, ["skipped build: muster:unit / x: b # SKIP no network"])


def test_what_failed_is_named_with_its_output():
    text = "1..2\nok 1 - a\nnot ok 2 - b\n# 3 != 4\n"
    code, shown, last = summary([entry("x", "FAIL", 1, text)], "tap")
    equal((code, last), (1, "1 passed, 1 failed"))
    equal(shown[0], "FAILED build: muster:unit / x: b")
    equal(shown[1:], ["    # 3 != 4"])
    text = "1..1\nnot ok 1 - b\n"
    _, shown, _ = summary([entry("x", "FAIL", 1, text, stderr="why")], "tap")
    assert "    why" in shown, shown


def test_silence_is_a_failure():
    code, _, last = summary([entry("x", "SKIP")], "tap")
    equal((code, last), (1, "0 passed, 1 failed"))
    equal(summary([], "tap")[2], "0 passed, 1 failed")


def test_a_crash_is_a_failure_wherever_it_comes():
    half = "1..3\nok 1 - a\n"
    equal(summary([entry("x", "ERROR", -11, half)], "tap")[2], "1 passed, 1 failed")
    late = "1..1\nok 1 - a\n"
    _, shown, last = summary([entry("x", "ERROR", -11, late)], "tap")
    equal(last, "1 passed, 1 failed")
    assert "killed by signal 11" in shown[0], shown
    equal(summary([entry("x", "FAIL", -6)], "exitcode")[2], "0 passed, 1 failed")


def test_a_time_out_is_a_failure():
    text = "1..1\nok 1 - a\n"
    _, shown, last = summary([entry("x", "TIMEOUT", -15, text)], "tap")
    equal(last, "1 passed, 1 failed")
    assert "timed out" in shown[0], shown


def test_a_test_that_did_not_run_is_a_failure():
    expected = ["muster:unit / x", "muster:unit / y"]
    code, shown, last = summary([entry("x", "OK")], "exitcode", expected)
    equal((code, last), (1, "1 passed, 1 failed"))
    assert "y: did not run" in shown[0], shown


# ---- install-deps, with a package manager of our own -------------------------

DPKG = """#!/bin/sh
for package; do :; done
case " $INSTALLED " in *" $package "*) printf installed ;; *) exit 1 ;; esac
"""
APT = """#!/bin/sh
echo "$0 $*" >>"$CALLS"
case "$*" in *install*) exit "${APT_FAILS:-0}" ;; esac
"""


def install_deps(installed, *sections, fails=0, listed="gcc-13 curl", wish=""):
    with tempfile.TemporaryDirectory() as folder:
        with open(os.path.join(TOOLS, "install-deps")) as file:
            write(f"{folder}/tools/install-deps", file.read(), 0o755)
        write(
            f"{folder}/tools/debian-packages.txt",
            f"# == build\ngcc-12 | gcc-13\n\n# == tests\n# why\ncurl\n{wish}",
        )
        write(f"{folder}/bin/dpkg-query", DPKG, 0o755)
        write(f"{folder}/bin/apt-get", APT, 0o755)
        write(f"{folder}/bin/sudo", '#!/bin/sh\nexec "$@"\n', 0o755)
        write(
            f"{folder}/bin/apt-cache",
            f'#!/bin/sh\ncase " {listed} " in *" $2 "*) ;; *) exit 1 ;; esac\n',
            0o755,
        )
        write(f"{folder}/calls", "")
        done = subprocess.run(
            [f"{folder}/tools/install-deps", *sections],
            capture_output=True,
            text=True,
            env={
                "PATH": f"{folder}/bin:/usr/bin:/bin",
                "INSTALLED": installed,
                "CALLS": f"{folder}/calls",
                "APT_FAILS": str(fails),
            },
        )
        with open(f"{folder}/calls") as file:
            calls = file.read()
    return done, calls


def test_install_deps_does_nothing_where_all_is_there():
    done, calls = install_deps("gcc-13 curl")
    equal((done.returncode, calls), (0, ""))
    equal(done.stdout, "deps: everything is there\n")


def test_install_deps_installs_what_is_missing_and_no_more():
    done, calls = install_deps("gcc-12")
    equal((done.returncode, done.stderr), (0, ""))
    equal(done.stdout, "deps: installing curl\n")
    assert calls.endswith("install -y --no-install-recommends curl\n"), calls


def test_install_deps_takes_the_alternative_that_is_listed():
    done, calls = install_deps("curl")
    equal(done.stdout, "deps: installing gcc-12 | gcc-13\n")
    assert calls.endswith(" gcc-13\n"), calls


def test_install_deps_is_limited_to_sections():
    done, calls = install_deps("gcc-12", "build")
    equal((done.returncode, calls), (0, ""))


def test_install_deps_does_without_what_is_only_wished():
    # Nobody has it, or it cannot be had: no failure.
    done, calls = install_deps("gcc-12 curl", wish="?browser\n")
    equal((done.returncode, done.stdout, calls), (0, "deps: everything is there\n", ""))
    have = {"listed": "gcc-13 curl browser", "wish": "?browser\n"}
    done, calls = install_deps("gcc-12 curl", fails=100, **have)
    equal((done.returncode, done.stderr), (0, ""))
    assert "browser cannot be installed" in done.stdout, done.stdout
    done, calls = install_deps("gcc-12 curl", **have)
    equal((done.returncode, done.stdout), (0, "deps: installing browser\n"))
    assert calls.endswith("install -y --no-install-recommends browser\n"), calls
    done, calls = install_deps("gcc-12 curl browser", **have)
    equal((done.stdout, calls), ("deps: everything is there\n", ""))
    # What is needed is installed all the same.
    done, calls = install_deps("gcc-12", wish="?browser\n")
    equal(done.stdout, "deps: installing curl\n")
    assert "browser" not in calls, calls


def test_install_deps_says_why_it_cannot():
    done, _ = install_deps("gcc-12", fails=100)
    equal(done.returncode, 1)
    last = done.stderr.splitlines()[-1]
    assert last.startswith("deps: cannot install curl: apt-get failed"), last


if __name__ == "__main__":
    sys.exit(main(globals()))
