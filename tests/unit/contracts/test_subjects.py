"""Subjects of contracts: the contracts of each kind of option, and the report of code that raises, exits or hangs."""

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
from tests.support.files import write_files
from tests.support.mypackage import option, sentence_of, target

HERE = Path(__file__)


def names(group: str, option: str) -> list[str]:
    file = File(LIBRARY, CONF / group / f"{option}.yaml")
    return [contract.name for contract in of_an_option(file, choice(group, option))]


def test_each_kind_of_option_has_the_contracts_of_its_roles() -> None:
    loss, sampler, head, row = (
        "the loss in bfloat16 is near",
        "drawing takes no loop",
        "logits and their gradients",
        "scores are",
    )
    first = {"margin=ldam": loss, "resampling=drs": sampler, "classifier=cosine": head, "posthoc=ncm": row}
    for word in first:
        found = " ".join(names(*word.split("=")))
        assert "trains and predicts" in found and "no step reads" in found and "_target_" in found
        expected = {loss, sampler} if word == "resampling=drs" else {first[word]}
        assert {said for said in (loss, sampler, head, row) if said in found} == expected
    preset = " ".join(names("method", "erm"))
    assert "bit for bit" in preset and "override lines" in preset and loss not in preset
    assert all("train" not in name for name in names("dataset", "cifar100_lt"))
    assert all("loss" not in name for name in names("margin", "none"))
    assert "trains and predicts" in " ".join(names("schedule", "cosine"))


def test_contracts_after_a_broken_decisive_one_are_skipped(tmp_path: Path) -> None:
    def fail() -> None:
        raise BrokenContract("it does not hold; correct it")

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
        (hangs, "it did not end within 0.2 seconds ("),
    ],
)
def test_code_that_raises_exits_asks_or_hangs_is_reported_with_its_line(
    check: Callable[[], None], said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(guard, "SECONDS", 0.2)
    sentence = broken(Contract("it works", check), HERE.parent)
    assert sentence.startswith(said) and f"{HERE}, line " in sentence and f"in {check.__name__})" in sentence


def test_a_broken_contract_names_the_line_that_raised_its_cause() -> None:
    def check() -> None:
        try:
            raises()
        except ZeroDivisionError as error:
            raise BrokenContract("a count is 0; use as_rarest") from error

    place = f"({HERE}, line {raises.__code__.co_firstlineno + 1}, in raises)"
    assert broken(Contract("it works", check), HERE.parent) == f"a count is 0; use as_rarest {place}"
    assert broken(Contract("it works", check), HERE.parent / "elsewhere") == "a count is 0; use as_rarest"


def test_ctrl_c_ends_the_check() -> None:
    def interrupted() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        broken(Contract("it works", interrupted))


def test_a_guard_captures_output_and_stops_its_timer(capsys: pytest.CaptureFixture[str]) -> None:
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
    write_files(folder, {"dataset/mine.yaml": f"# @package _global_\n{file.read_text()}"})
    return made


def test_the_contract_of_a_correct_data_set_holds(tmp_path: Path) -> None:
    is_a_dataset(a_dataset(tmp_path))


def test_a_data_set_with_another_name_than_its_file_is_reported(tmp_path: Path) -> None:
    sentence = sentence_of(is_a_dataset, a_dataset(tmp_path, name="yours"))
    assert "its file has 'name: yours', but results are filed under the name of the option; write name: mine" in sentence


def test_a_data_set_with_unequal_numbers_of_means_and_deviations_is_reported(tmp_path: Path) -> None:
    prepare = {"_target_": "ltrun.data.Normalise", "mean": [0.5, 0.5], "std": [0.5]}
    assert "has 2 means and 1 standard deviations; give one of each per channel" in sentence_of(
        is_a_dataset, a_dataset(tmp_path, prepare=prepare)
    )


def test_a_data_set_that_reads_files_in_its_constructor_raises_their_error(tmp_path: Path) -> None:
    made = a_dataset(tmp_path, **target(Reading))
    with pytest.raises(OSError, match="no such file"):
        is_a_dataset(made)
