"""Every test that docs/guarantees.md names as a witness exists:
test_guarantees.py ROOT"""

import glob
import os
import re
import sys

ROOT = sys.argv[1]
sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "support"))
from program import main

WITNESS = re.compile(r"`([a-z]+(?:_[a-z0-9]+)+)`")


def tests_there_are():
    found = set()
    for path in glob.glob(f"{ROOT}/tests/*/*.c"):
        with open(path) as file:
            found |= set(re.findall(r"^static void (\w+)\(void", file.read(), re.M))
    for path in glob.glob(f"{ROOT}/tests/*/*.py"):
        with open(path) as file:
            found |= set(re.findall(r"^def test_(\w+)\(", file.read(), re.M))
    return found


def rows(title):
    """The cells of a section's table."""
    with open(f"{ROOT}/docs/guarantees.md") as file:
        section = file.read().split(f"\n## {title}")[1].split("\n## ")[0]
    lines = [line for line in section.splitlines() if line.startswith("| ")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[1:]]


def check(title, least):
    there = tests_there_are()
    table = rows(title)
    assert len(table) > least, f"{len(table)} rows"
    for row in table:
        last = row[-1]
        named = WITNESS.findall(last)
        assert named or "the same" in last or last.startswith("no test"), row[0]
        missing = [name for name in named if name not in there]
        assert not missing, f"{row[0]}: no such test: {missing}"


def test_every_row_has_its_witnesses():
    check("What survives what", 20)


def test_every_row_about_rooms_has_its_witnesses():
    check("Rooms", 8)


if __name__ == "__main__":
    sys.exit(main(globals()))
