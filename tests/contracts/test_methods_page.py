"""METHODS.md says of every preset what its header says, and names only reference values that a test reads."""

import re
from pathlib import Path

import pytest

from tests.support.cases import CONF, METHODS, OPTIONS

REPOSITORY = Path(__file__).parents[2]
PAGE = (REPOSITORY / "METHODS.md").read_text()
COLUMNS = "| preset | what it does | citation | reference values | published, CIFAR100-LT |"


def rows() -> list[list[str]]:
    """The cells of all rows of the tables of presets."""
    found, inside = [], False
    for line in PAGE.splitlines():
        inside = line == COLUMNS or (inside and line.startswith("|"))
        if inside and line != COLUMNS and not line.startswith("| :--"):
            found.append([cell.strip() for cell in line.strip("|").split(" | ")])
    return found


def test_every_preset_has_one_row() -> None:
    assert sorted(row[0] for row in rows()) == sorted(METHODS)
    assert all(len(row) == len(COLUMNS.split(" | ")) for row in rows())


@pytest.mark.parametrize("method", METHODS)
def test_a_row_says_what_the_header_says(method: str) -> None:
    _, name, what, citation, *_, expected = [
        line.removeprefix("# ") for line in (CONF / "method" / f"{method}.yaml").read_text().splitlines() if line[0] == "#"
    ]
    (row,) = (row for row in rows() if row[0] == method)
    assert re.fullmatch(r"name: \S.*", name), "the name in papers, for tables"
    published = expected.removeprefix("expected: ")
    assert [row[1], row[2], row[4]] == [what.removesuffix("."), citation, published], "copy it from conf/method"


def test_reference_values_are_read_by_a_test() -> None:
    tests = "".join(path.read_text() for path in (REPOSITORY / "tests").rglob("*.py"))
    for method, _, _, status, *_ in rows():
        assert re.match(r"(matches: \w|implemented)", status), method
        for name in re.sub(r"\(.*?\)|[*]|^\w+[:;]?", "", status).split(","):
            assert not name.strip() or f'"{name.strip()}"' in tests, f"{method}: no test reads {name}"


def test_options_that_the_page_names_exist() -> None:
    for group, options in re.findall(r"\b([a-z_]+)=([a-z_0-9]+(?:, [a-z_0-9]+)*)", PAGE):
        if group in OPTIONS and group != "method":
            for option in options.split(", "):
                assert option in OPTIONS[group], f"{group}={option}"
