"""`ltrun completion`: candidates for the last word of a command line, and the scripts of the shells."""

import argparse
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from ltrun.cli import COMMANDS
from ltrun.commands import completion
from ltrun.commands.completion import SCRIPTS, candidates


@pytest.mark.parametrize(
    ("words", "found"),
    [
        (["rep"], ["report", "representation="]),
        (["sho"], ["show"]),
        (["marg"], ["margin="]),
        (["margin=ldam", "marg"], ["margin.", "margin="]),
        (["method=ldam"], ["method=ldam", "method=ldam_drw"]),
        (["-m", "method=erm,ldam_"], ["method=erm,ldam_drw"]),
        (["posthoc=[ncm,tau_norm_"], ["posthoc=[ncm,tau_norm_sweep"]),
        (["margin=ldam", "margin."], ["margin.adjust."]),
        (["margin=ldam", "margin.adjust.m"], ["margin.adjust.max_margin="]),
        (["method=ldam", "margin.adjust.m"], ["margin.adjust.max_margin="]),
        (["method=crt", "stages.classifier.f"], ["stages.classifier.fraction="]),
        (["optimizer.l"], ["optimizer.lr="]),
        (["runtime.th"], ["runtime.threads="]),
        (["--cf"], ["--cfg"]),
        (["method=erm", "--cfg", "j"], ["job"]),
        (["show", "ldam_d"], ["ldam_drw"]),
        (["methods", "marg"], ["margin"]),
        (["data", "dataset=digits_l"], ["dataset=digits_lt"]),
        (["data", "ex"], ["experiment=", "export"]),
        (["report", "--mark"], ["--markdown"]),
        (["compare", "ldam_d"], ["ldam_drw"]),
        (["compare", "erm", "--dataset", "digits_l"], ["digits_lt"]),
        (["compare", "--res"], ["--resamples"]),
        (["completion", "z"], ["zsh"]),
        (["dataset.root=/et"], []),
        (["--config-dir", "/is/not/there", "m"], []),
        (["seed=1", "rep"], ["representation="]),
        ([], sorted(COMMANDS)),
    ],
)
def test_the_last_word_is_completed(words: list[str], found: list[str]) -> None:
    offered = candidates(words)
    assert [text for text in offered if words or text in COMMANDS] == found


def test_a_users_options_are_offered(tmp_path: Path) -> None:
    (tmp_path / "margin").mkdir()
    (tmp_path / "margin" / "mine.yaml").write_text("adjust:\n  _target_: mine.Margin\n  width: 3\n")
    assert candidates(["--config-dir", str(tmp_path), "margin=mi"]) == ["margin=mine"]
    assert candidates(["--config-dir", str(tmp_path), "margin=mine", "margin.adjust."]) == ["margin.adjust.width="]


def test_every_command_and_every_flag_of_ltrun_report_is_offered(monkeypatch: pytest.MonkeyPatch) -> None:
    assert completion.commands() == sorted(COMMANDS)
    from ltrun.commands import report

    flags: set[str] = set()

    def parsed(parser: argparse.ArgumentParser, _: object) -> None:
        flags.update(flag for flag in parser._option_string_actions if flag.startswith("--"))
        sys.exit(0)

    monkeypatch.setattr(argparse.ArgumentParser, "parse_args", parsed)
    with pytest.raises(SystemExit):
        report.main([])
    assert flags == set(candidates(["report", "--"]))


DRIVERS = {
    "bash": """
        eval "$(ltrun completion bash)"
        complete -p ltrun >/dev/null || exit 1
        compopt() { :; }
        COMP_LINE="ltrun $1"; COMP_POINT=${#COMP_LINE}; spaced="${COMP_LINE//=/ = }"
        read -ra COMP_WORDS <<< "$spaced"; COMP_CWORD=$(( ${#COMP_WORDS[@]} - 1 ))
        _ltrun; [[ ${#COMPREPLY[@]} -eq 0 ]] || printf '%s\\n' "${COMPREPLY[@]}"
    """,
    "fish": "ltrun completion fish | source; complete -C \"ltrun $argv[1]\"",
    "zsh": """
        compadd() { while [[ $1 != -- ]]; do shift; done; shift; (( $# )) && print -l -- "$@"; true }
        compset() { true }; _files() { true }
        eval "$(ltrun completion zsh)"
        words=(ltrun ${(z)1}); CURRENT=${#words}; _ltrun
    """,
}  # fmt: skip


@pytest.mark.parametrize("shell", SCRIPTS)
def test_a_shell_completes_with_its_script(shell: str, tmp_path: Path) -> None:
    if not shutil.which(shell):
        pytest.skip(f"{shell} is not on this machine")
    (tmp_path / "ltrun").write_text(f'#!/bin/sh\nexec {sys.executable} -m ltrun "$@"\n')
    (tmp_path / "ltrun").chmod(0o755)
    environment = os.environ | {"PATH": f"{tmp_path}:{os.environ['PATH']}", "HOME": str(tmp_path)}
    before = "" if shell == "bash" else "method="  # bash completes only the text after the =
    offered = {"rep": ["report", "representation="], "method=ldam": [f"{before}ldam", f"{before}ldam_drw"], "xyz": []}
    for typed, found in offered.items():
        options = ["-c", DRIVERS[shell], *(["driver"] if shell != "fish" else []), typed]
        done = subprocess.run([shell, *options], env=environment, cwd=tmp_path, capture_output=True, text=True, check=True)
        assert sorted(done.stdout.splitlines()) == found, done.stderr


def test_an_unknown_shell_is_a_usage_error(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        completion.main(["tcsh"])
    assert left.value.code == 2 and "invalid choice: 'tcsh'" in capsys.readouterr().err
