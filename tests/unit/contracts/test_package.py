"""Contracts of a package: for each a package that breaks it, and the sentence that reports it."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ltrun.contracts import package
from ltrun.contracts.package import Package
from tests.support.files import write_files
from tests.support.mypackage import FILES, INIT, OPTION, PART, sentence_of

TARGETS = {"mypackage.CDT"}
Opened = Callable[[dict[str, str]], Package]


@pytest.fixture
def opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Opened]:
    """Writes mypackage with the changes, and imports it."""
    monkeypatch.syspath_prepend(tmp_path)

    def one(changes: dict[str, str]) -> Package:
        write_files(tmp_path, {name: FILES[name] for name in (INIT, PART)} | changes)
        importlib.invalidate_caches()
        return Package.opened("mypackage")

    yield one
    for name in [name for name in sys.modules if name.partition(".")[0] in ("mypackage", "single")]:
        del sys.modules[name]


def test_all_contracts_of_a_correct_package_hold(opened: Opened, tmp_path: Path) -> None:
    found = opened({OPTION: FILES[OPTION]})
    assert list(found.parts) == ["mypackage.CDT"] and found.hidden == {} and found.options is None
    contracts = list(package.of_a_package(found, TARGETS, [tmp_path / "options"]))
    assert len(contracts) == 6
    for contract in contracts:
        contract.check()


def test_parts_of_subpackages_are_found_by_their_shortest_name(opened: Opened) -> None:
    inner = "from mypackage.cdt import CDT\nfrom mypackage.inner.own import Own\n\n__all__ = ['CDT', 'Own']\n"
    own = "from ltrun.parts import Weigh\n\n\nclass Own(Weigh):\n    pass\n"
    found = opened({"mypackage/inner/__init__.py": inner, "mypackage/inner/own.py": own})
    assert list(found.parts) == ["mypackage.CDT", "mypackage.inner.Own"] and found.hidden == {}


def test_a_single_module_is_opened_as_a_package(tmp_path: Path, opened: Opened, monkeypatch: pytest.MonkeyPatch) -> None:
    write_files(tmp_path, {"single.py": FILES[PART] + '\n\n__all__ = ["CDT"]\n'})
    importlib.invalidate_caches()
    found = Package.opened("single")
    assert list(found.parts) == ["single.CDT"] and found.hidden == {} and found.options is None
    monkeypatch.delattr(found.modules[0], "__all__")
    unlisted = Package("single", found.modules)
    assert "single.CDT is not in any __all__" in sentence_of(package.exports_every_part, unlisted)
    assert f"write __all__ = [...] with the names of its parts into {tmp_path / 'single.py'}" in sentence_of(
        package.has_something, unlisted, set()
    )


def test_tests_scripts_and_modules_without_ltrun_are_not_imported(opened: Opened) -> None:
    refusing = "raise RuntimeError('ltrun imports this')\n"
    names = ("__main__.py", "tests/__init__.py", "test_cdt.py", "conftest.py", "conf/__init__.py", "no-module.py")
    opened({f"mypackage/{name}": refusing for name in names} | {"mypackage/plots.py": "import nothing.at.all\n"})


def test_the_folder_conf_of_a_package_has_its_options(opened: Opened, tmp_path: Path) -> None:
    found = opened({"mypackage/conf/margin/mine.yaml": "{}"})
    assert found.options == tmp_path / "mypackage" / "conf"


def test_a_print_at_import_is_reported(opened: Opened, capsys: pytest.CaptureFixture[str]) -> None:
    found = opened({INIT: FILES[INIT] + "print('hello')\n"})
    assert capsys.readouterr().out == ""
    assert "mypackage prints 'hello' when it is imported" in sentence_of(package.imports_quietly, found)


def test_a_package_without_parts_is_told_to_export_them(opened: Opened) -> None:
    sentence = sentence_of(package.has_something, opened({INIT: "", PART: ""}), set())
    assert "mypackage exports no part; write __all__ = [...] with the names of its parts into" in sentence
    assert sentence.endswith("__init__.py")


def test_a_part_outside_all_is_reported_with_its_import(opened: Opened) -> None:
    found = opened({INIT: ""})
    assert "mypackage exports no part, and defines mypackage.cdt.CDT; write" in sentence_of(package.has_something, found, set())
    sentence = sentence_of(package.exports_every_part, found)
    assert "mypackage.cdt.CDT is not in any __all__" in sentence
    assert "import it in mypackage/__init__.py and add 'CDT' to mypackage.__all__" in sentence


@pytest.mark.parametrize(
    ("names", "said"),
    [
        ('["CTD"]', "mypackage.__all__ names 'CTD', which it does not define; import it, or remove the name"),
        ('"CDT"', "mypackage.__all__ is one string; write a list, __all__ = ['CDT']"),
        ('["CDT", "CDT"]', "mypackage.__all__ names 'CDT' twice; remove one"),
    ],
)
def test_a_missing_or_repeated_name_in_all_is_reported(opened: Opened, names: str, said: str) -> None:
    assert said in sentence_of(package.exports_what_is_there, opened({INIT: FILES[INIT].replace('["CDT"]', names)}))


def test_a_part_without_an_option_is_reported(opened: Opened) -> None:
    sentence = sentence_of(package.uses_every_part, opened({}), {"mypackage.Other"})
    assert "no option uses mypackage.CDT, so no command line can choose it; write DIR/GROUP/NAME.yaml with" in sentence


@pytest.mark.parametrize(
    ("file", "said"),
    [
        ("mine.yaml", "mine.yaml is not in a group; move it into"),
        ("margins/mine.yaml", "the folder 'margins' is not a group of ltrun; did you mean 'margin'?"),
        ("margin/mine.yml", "mine.yml is not read; rename it to mine.yaml"),
    ],
)
def test_a_file_outside_the_groups_or_with_another_ending_is_reported(tmp_path: Path, file: str, said: str) -> None:
    write_files(tmp_path, {file: "{}"})
    assert said in sentence_of(package.lies_in_groups, [tmp_path])
