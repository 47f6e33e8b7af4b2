"""Which contracts fit which option, and what is told of code that raises, ends or hangs."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest

from ltrun.contracts import guard
from ltrun.contracts.contract import BrokenContract, Contract
from ltrun.contracts.files import File
from ltrun.contracts.library import Choice
from ltrun.contracts.subjects import Subject, broken, broken_of, is_a_dataset, of_an_option
from ltrun.data import DigitsLT
from tests.support.cases import CONF, LIBRARY, choice
from tests.support.mypackage import option, sentence_of, target, write

HERE = Path(__file__)


def names(group: str, option: str) -> list[str]:
    file = File(LIBRARY, CONF / group / f"{option}.yaml")
    return [contract.name for contract in of_an_option(file, choice(group, option))]


def test_contracts_are_yielded_by_what_an_option_is() -> None:
    loss, sampler, head, row = (
        "the loss in bfloat16 is near",
        "drawing takes no loop",
        "logits and their gradients",
        "scores are",
    )
    first = {"margin=ldam": loss, "resampling=drs": sampler, "classifier=cosine": head, "posthoc=ncm": row}
    for word in first:
        found = " ".join(names(*word.split("=")))
        assert "trains and predicts" in found and "no step looks" in found and "_target_" in found
        expected = {loss, sampler} if word == "resampling=drs" else {first[word]}
        assert {said for said in (loss, sampler, head, row) if said in found} == expected
    preset = " ".join(names("method", "erm"))
    assert "bit for bit" in preset and "override lines" in preset and loss not in preset
    assert all("train" not in name for name in names("dataset", "cifar100_lt"))
    assert all("loss" not in name for name in names("margin", "none"))
    assert "trains and predicts" in " ".join(names("schedule", "cosine"))


def test_nothing_is_tried_behind_a_decisive_contract(tmp_path: Path) -> None:
    def fail() -> None:
        raise BrokenContract("it does not hold; mend it")

    contracts = [Contract("a", fail), Contract("b", fail, decisive=True), Contract("c", fail)]
    found = list(broken_of(Subject("mine", contracts, tmp_path)))
    assert [each.contract for each in found if each] == ["a", "b"]


def raises() -> None:
    raise ZeroDivisionError("division\nby zero")


def leaves() -> None:
    raise SystemExit(3)


def asks() -> None:
    input("? ")


def hangs() -> None:
    time.sleep(60)


@pytest.mark.parametrize(
    ("check", "said"),
    [
        (raises, "ZeroDivisionError: division by zero ("),
        (leaves, "SystemExit: 3 ("),
        (asks, "EOFError: EOF when reading a line ("),
        (hangs, "it does not end within 0.2 seconds ("),
    ],
)
def test_code_of_the_users_that_goes_wrong_is_a_sentence_with_its_line(
    check: Callable[[], None], said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(guard, "SECONDS", 0.2)
    sentence = broken(Contract("it works", check), HERE.parent)
    assert sentence.startswith(said) and f"{HERE}, line " in sentence and f"in {check.__name__})" in sentence


def test_an_interruption_ends_the_check() -> None:
    def interrupted() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        broken(Contract("it works", interrupted))


def test_a_guard_keeps_what_is_printed_and_lets_go_of_the_clock(capsys: pytest.CaptureFixture[str]) -> None:
    with guard.guarded(0.05) as printed:
        print("to myself")
    time.sleep(0.1)
    assert printed.getvalue() == "to myself\n" and capsys.readouterr().out == ""


class Reading(DigitsLT):
    def __init__(self) -> None:
        raise OSError("no such file")


DATASET = {"name": "mine", "prepare": {"_target_": "ltrun.data.Normalise", "mean": [0.5], "std": [0.5]}}


def a_dataset(folder: Path, **changes: object) -> Choice:
    made = option(folder, "dataset", {"dataset": {**target(DigitsLT), "_target_": "ltrun.data.DigitsLT", **DATASET, **changes}})
    file = folder / "dataset" / "mine.yaml"
    write(folder, {"dataset/mine.yaml": f"# @package _global_\n{file.read_text()}"})
    return made


def test_a_data_set_keeps_its_contract(tmp_path: Path) -> None:
    is_a_dataset(a_dataset(tmp_path))


def test_a_data_set_of_another_name_is_told_so(tmp_path: Path) -> None:
    sentence = sentence_of(is_a_dataset, a_dataset(tmp_path, name="yours"))
    assert "its file has 'name: yours', under which results are filed; write name: mine" in sentence


def test_a_data_set_with_other_numbers_of_means_is_told_so(tmp_path: Path) -> None:
    prepare = {"_target_": "ltrun.data.Normalise", "mean": [0.5, 0.5], "std": [0.5]}
    assert "has 2 means and 1 deviations; give one a channel" in sentence_of(is_a_dataset, a_dataset(tmp_path, prepare=prepare))


def test_a_data_set_that_reads_in_its_constructor_says_where(tmp_path: Path) -> None:
    made = a_dataset(tmp_path, **target(Reading))
    with pytest.raises(OSError, match="no such file"):
        is_a_dataset(made)
