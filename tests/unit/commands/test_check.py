"""`ltrun check`: its subjects, output and exit codes, and its message for a package that cannot be checked."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ltrun.cli import dispatch
from ltrun.commands.completion import candidates
from ltrun.contracts import guard
from tests.support.files import write_files
from tests.support.mypackage import FILES, INIT, OPTION, PART, PRESET

Check = Callable[..., tuple[int, str, str]]


@pytest.fixture
def check(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Iterator[Check]:
    """Runs the command in a folder with mypackage and its options. Returns the exit code, stdout and stderr."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setitem(os.environ, "CUDA_VISIBLE_DEVICES", "")
    write_files(tmp_path, FILES)
    importlib.invalidate_caches()

    def run(*argv: str) -> tuple[int, str, str]:
        capsys.readouterr()
        try:
            code = dispatch(["check", *argv])
        except SystemExit as left:
            code = int(str(left.code))
        found = capsys.readouterr()
        assert "Traceback" not in found.out + found.err
        return code, found.out, found.err

    yield run
    for name in [name for name in sys.modules if name.partition(".")[0] == "mypackage"]:
        del sys.modules[name]


WITH = ("mypackage", "--config-dir", "options")


@pytest.mark.slow
def test_all_contracts_of_the_package_in_contributing_hold(check: Check) -> None:
    code, out, err = check(*WITH)
    folder, *subjects, summary = out.splitlines()
    assert folder == "options are also read from options"
    assert code == 0 and err == ""
    assert [line.split()[0] for line in subjects] == [
        "mypackage", "mypackage.CDT", "logit_adjustment=temperatures", "method=temperatures",
    ]  # fmt: skip
    assert all(line.endswith("contracts hold") for line in subjects)
    assert summary.startswith("39 contracts of 4 subjects, in ") and summary.endswith(" s: all hold")


def test_a_broken_contract_prints_one_sentence_and_exits_with_1(check: Check) -> None:
    write_files(Path.cwd(), {OPTION: FILES[OPTION].replace("gamma", "gama").replace("2020, ", "")})
    code, out, _ = check(*WITH, "temperatures")
    assert code == 1
    said = "    options/logit_adjustment/temperatures.yaml: logit_adjustment.adjust.gama: mypackage.CDT takes no 'gama'"
    assert said in out and "logit_adjustment=temperatures  2 of 4 contracts broken" in out
    assert "\n  the second line of the header cites the paper, with its year\n    options/" in out
    assert out.splitlines()[-1].endswith("broken, of logit_adjustment=temperatures, method=temperatures")


def test_an_exception_in_the_package_is_reported_with_its_file_and_line(check: Check) -> None:
    write_files(Path.cwd(), {PART: FILES[PART].replace("        if gamma < 0:", "        1 / 0\n        if gamma < 0:")})
    code, out, _ = check(*WITH, "logit_adjustment=temperatures")
    line = FILES[PART].splitlines().index("        if gamma < 0:") + 1
    assert code == 1
    assert f"    ZeroDivisionError: division by zero ({Path.cwd() / PART}, line {line}, in __init__)" in out.splitlines()
    assert "its parts can be built" in out and "no step reads" not in out


@pytest.mark.parametrize(
    ("words", "found"),
    [
        (["CDT"], ["mypackage.CDT"]),
        (["mypackage.CDT"], ["mypackage.CDT"]),
        (["mypackage"], ["mypackage"]),
        (["mypackage", "CDT"], ["mypackage", "mypackage.CDT"]),
    ],
)
def test_names_select_the_subjects(check: Check, words: list[str], found: list[str]) -> None:
    code, out, _ = check("mypackage", words[0], "--config-dir", "options", *words[1:])
    assert code == 0
    assert [line.split()[0] for line in out.splitlines()[1:-1]] == found


def test_options_are_read_from_the_search_path_and_from_the_package(check: Check, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "no option uses mypackage.CDT" in check("mypackage", "mypackage")[1]
    monkeypatch.setenv("LTRUN_SEARCHPATH", "options")
    assert check("mypackage", "mypackage")[0] == 0
    monkeypatch.delenv("LTRUN_SEARCHPATH")
    Path("options").rename("mypackage/conf")
    assert check("mypackage", "mypackage")[0] == 0


def test_an_unknown_name_is_refused_with_the_nearest_one(check: Check) -> None:
    assert check(*WITH, "CTD")[0::2] == (1, "ltrun: check: there is no part or option 'CTD'; did you mean 'CDT'?\n")


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["zzqqxx"], "check: there is no package 'zzqqxx'; install it, or add the folder that holds it to PYTHONPATH"),
        (["./mypackage"], "check: expected the name of a package, such as mypackage, got './mypackage'"),
        (["mypackage", "--config-dir", "optins"], "options are read from optins, which is not a folder"),
    ],
)
def test_a_missing_package_or_folder_is_refused_by_name(check: Check, argv: list[str], said: str) -> None:
    code, _, err = check(*argv)
    assert code == 1 and err.startswith(f"ltrun: {said}") and err.count("\n") == 1


def test_a_package_of_this_folder_outside_pythonpath_is_refused_with_the_command(check: Check) -> None:
    write_files(Path.cwd(), {"elsewhere/nearby/__init__.py": ""})
    os.chdir("elsewhere")
    assert check("nearby")[2].rstrip().endswith("to PYTHONPATH: it is in this folder, so put PYTHONPATH=. before the command")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("import nowhere\n", "ModuleNotFoundError: No module named 'nowhere' ({file}, line 1, in <module>); correct it there"),
        ("def f(:\n", "SyntaxError: invalid syntax ({file}, line 1); correct it there"),
        ("import sys; sys.exit(3)\n", "SystemExit: 3 ({file}, line 1, in <module>); correct it there"),
        ("input('? ')\n", "EOFError: EOF when reading a line ({file}, line 1, in <module>); correct it there"),
        ("import time; time.sleep(60)\n", "it did not end within 0.2 seconds ({file}, line 1, in <module>); correct it there"),
    ],
)
def test_a_package_whose_import_fails_is_refused_with_the_line(
    check: Check, text: str, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(guard, "SECONDS", 0.2)
    write_files(Path.cwd(), {INIT: text})
    code, _, err = check("mypackage")
    assert (code, err) == (1, f"ltrun: mypackage cannot be imported: {said.format(file=Path.cwd() / INIT)}\n")


def test_a_package_without_parts_is_told_to_export_them(check: Check) -> None:
    code, out, _ = check("json")
    assert code == 1 and "json exports no part; write __all__ = [...] with the names of its parts into" in out


def test_a_file_with_a_yaml_error_is_named(check: Check) -> None:
    write_files(Path.cwd(), {OPTION: "adjust: ["})
    code, _, err = check(*WITH)
    assert code == 1 and err.startswith("ltrun: options/logit_adjustment/temperatures.yaml cannot be read as YAML: ")


def test_a_repeated_key_is_named_with_its_line(check: Check) -> None:
    write_files(Path.cwd(), {OPTION: FILES[OPTION] + "  gamma: 0.4\n"})
    code, out, _ = check(*WITH, "logit_adjustment=temperatures")
    assert (
        code == 1 and "options/logit_adjustment/temperatures.yaml cannot be read as YAML: while constructing a mapping" in out
    )
    assert "found duplicate key gamma" in out


def test_a_missing_package_or_an_unknown_flag_exits_with_2(check: Check) -> None:
    assert check()[0] == 2 and check("mypackage", "--colour")[0] == 2


def test_the_help_names_the_folders_of_options(check: Check) -> None:
    code, out, _ = check("--help")
    assert code == 0
    for said in (
        "--config-dir DIR",
        "LTRUN_SEARCHPATH",
        "PACKAGE/conf",
        "plugins=[PACKAGE]",
        "exit code: 0 if all contracts hold",
    ):
        assert said in out


def test_package_flags_and_options_are_completed(tmp_path: Path) -> None:
    write_files(tmp_path, {"margin/mine.yaml": FILES[PRESET]})
    assert candidates(["chec"]) == ["check"]
    assert candidates(["check", "--con"]) == ["--config-dir"]
    assert candidates(["check", "mypackage", "--config-dir", str(tmp_path), "margin=mi"]) == ["margin=mine"]
    assert candidates(["check", "mypackage", "--config-dir", str(tmp_path), "min"]) == ["mine"]
