"""A project to start from: test_new.py MUSTER BUILD [TEST]

BUILD is where the library was built, which need not be installed.
"""

import os
import re
import subprocess
import sys
import tempfile

MUSTER, BUILD = (os.path.abspath(path) for path in sys.argv[1:3])
del sys.argv[2:3]

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "support"))
from program import DEADLINE_S, equal, main

OWN = {
    name: value
    for name, value in os.environ.items()
    if name not in ("PORT", "TCP_PORT", "WORKERS", "STORE", "MAKEFLAGS", "CFLAGS")
    and not name.startswith("MUSTER_")
}


def run(path, *command, **environment):
    done = subprocess.run(
        command,
        cwd=path,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=4 * DEADLINE_S,
        env={
            **OWN,
            "PKG_CONFIG_PATH": os.path.join(BUILD, "meson-uninstalled"),
            **environment,
        },
    )
    return done.returncode, done.stdout


def made(folder, name):
    code, printed = run(folder, MUSTER, "new", name)
    equal(code, 0)
    return os.path.join(folder, name), printed


def refused(folder, name, why):
    code, printed = run(folder, MUSTER, "new", name)
    equal((code, printed.count("\n")), (1, 1))
    assert why in printed, printed


def test_it_builds_and_passes_its_test_as_it_is():
    with tempfile.TemporaryDirectory() as folder:
        path, printed = made(folder, "shop")
        assert "  cd shop\n  make  " in printed, printed
        strict = "-O1 -std=gnu11 -Wall -Wextra -Wshadow -Wconversion -Werror"
        code, printed = run(path, "make", "test", f"CFLAGS={strict}")
        assert code == 0, printed
        equal(len(re.findall("^ok - ", printed, re.M)), 5)
        assert "not ok" not in printed, printed
        code, printed = run(path, "make")
        equal((code, "up to date" in printed), (0, True))
        code, printed = run(path, "make", "clean")
        equal((code, os.path.exists(os.path.join(path, "shop"))), (0, False))


def test_its_test_fails_where_the_server_does():
    with tempfile.TemporaryDirectory() as folder:
        path, _ = made(folder, "shop")
        actions = os.path.join(path, "src", "actions.c")
        with open(actions) as file:
            text = file.read()
        with open(actions, "w") as file:
            file.write(text.replace('"visits"', '"visit"'))
        code, printed = run(path, "make", "test")
        assert code != 0, printed
        assert "not ok - greet?name=Ann" in printed, printed
        with open(os.path.join(path, "shop.yml"), "a") as file:
            file.write("nonsense\n")
        code, printed = run(path, "make", "test")
        assert code != 0 and "shop: shop.yml:" in printed, printed


def test_no_mark_is_left_and_git_ignores_what_is_built():
    with tempfile.TemporaryDirectory() as folder:
        path, _ = made(folder, "my-shop.2")
        found = []
        for place, _, names in os.walk(path):
            for name in names:
                with open(os.path.join(place, name)) as file:
                    assert "@NAME@" not in file.read(), name
                found.append(os.path.relpath(os.path.join(place, name), path))
        for name in (".gitignore", "Makefile", "README.md", "my-shop.2.yml", "src/main.c", "test/test.sh"):
            assert name in found, found
        with open(os.path.join(path, ".gitignore")) as file:
            equal(file.read(), "/my-shop.2\n")
        assert os.access(os.path.join(path, "test/test.sh"), os.X_OK)


def test_a_folder_that_is_there():
    with tempfile.TemporaryDirectory() as folder:
        os.mkdir(os.path.join(folder, "empty"))
        path, _ = made(folder, "empty")
        refused(folder, "empty", "'empty' is not empty")
        os.mkdir(os.path.join(folder, "here"))
        code, printed = run(os.path.join(folder, "here"), MUSTER, "new", ".")
        equal(code, 0)
        assert "cd " not in printed, printed
        assert os.path.exists(os.path.join(folder, "here", "here.yml"))
        with open(os.path.join(folder, "file"), "w") as file:
            file.write("kept")
        refused(folder, "file", "Not a directory")
        with open(os.path.join(folder, "file")) as file:
            equal(file.read(), "kept")


def test_what_cannot_be_a_project():
    with tempfile.TemporaryDirectory() as folder:
        refused(folder, "a b", "'a b' cannot be the name of a project")
        refused(folder, "test", "'test' cannot be the name of a project")
        refused(folder, "x" * 41, "cannot be the name of a project")
        refused(folder, "no/such", "No such file or directory")
        equal(os.listdir(folder), [])


def test_without_the_library_make_says_what_to_do():
    with tempfile.TemporaryDirectory() as folder:
        path, _ = made(folder, "shop")
        code, printed = run(path, "make", PKG_CONFIG="false")
        assert code != 0 and "set PKG_CONFIG_PATH" in printed, printed


sys.exit(main(globals()))
