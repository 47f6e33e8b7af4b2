"""References that a sweep trains beside its own jobs: their words, each once, and the sweeps that have none."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import pytest

from ltrun.config.compose import compose_job, hydra_ready
from ltrun.errors import ConfigError
from ltrun.results.references import is_reference
from ltrun.sweep.combinations import combinations
from ltrun.sweep.jobs import compose_jobs
from ltrun.sweep.queue import Budget, Queue
from ltrun.sweep.references import once, refuse_alone, with_references, words_of_reference

WORDS = ("dataset=digits_lt", "sweep.references=true")
BALANCED = "dataset.profile=balanced"


@pytest.fixture(autouse=True)
def ready() -> Iterator[None]:
    with hydra_ready():
        yield


@pytest.mark.parametrize(
    ("more", "kept"),
    [
        ([], []),
        (["epochs=5", "network=resnet20", "optimizer.lr=0.2"], ["epochs=5", "network=resnet20", "optimizer.lr=0.2"]),
        (["reweighting=none", "++margin.scale=3", "posthoc=[ncm]", "stages.classifier.epochs=3"], []),
        (["dataset.profile=step", "seed=4", "runtime.pack=1"], ["seed=4", "runtime.pack=1"]),
    ],
)
def test_plain_training_leaves_out_the_method_and_its_slots(more: list[str], kept: list[str]) -> None:
    words = ["method=crt", "dataset=digits_lt", *more]
    assert words_of_reference(words, plain=True) == ("method=erm", "dataset=digits_lt", *kept, BALANCED)
    same = (*(word for word in words if word != "dataset.profile=step"), BALANCED)
    assert words_of_reference(words, plain=False) == same


def test_each_reference_is_one_ordinary_job_after_the_long_tailed_ones() -> None:
    compose = once()
    commands = combinations(["method=crt,erm", "seed=0,1", "reweighting=drw", *WORDS])
    found = with_references(commands, compose)
    own, more = [compose(words) for words in commands], [compose(words) for words in found[len(commands) :]]
    assert list(found[: len(commands)]) == commands
    assert [(job.method, job.changes.get("reweighting"), job.seed) for job in more] == [
        (method, reweighting, seed)
        for method, reweighting in (("crt", "drw"), ("erm", "drw"), ("erm", None))
        for seed in (0, 1)
    ]
    for job in own:
        for plain in (True, False):
            assert job.seed in [each.seed for each in more if is_reference(each, job, plain)]
    alone = compose_job(["method=erm", "dataset=digits_lt", "seed=1", BALANCED])
    assert alone.folder == more[-1].folder, "the address of a run that was trained without the key"
    assert not any("sweep.references" in word for job in (*own, *more) for word in job.command)


@pytest.mark.parametrize(("schedule", "of_method"), [("four_hundred_epochs", True), ("sade", False)])
def test_a_word_that_changes_one_preset_alone_leads_to_references_all_the_same(schedule: str, of_method: bool) -> None:
    """The presets of manifold_mixup and of the digits have these schedules already."""
    commands = [["method=manifold_mixup", f"schedule={schedule}", *WORDS]]
    own, same, plain = map(compose_job, with_references(commands))
    assert ("schedule" in own.changes, "schedule" in plain.changes) == (not of_method, of_method)
    assert is_reference(same, own, plain=False) and is_reference(plain, own, plain=True)


def test_words_that_do_not_compose_are_left_to_their_turn_and_without_the_key_nothing_is_added() -> None:
    commands = [["method=erm", *WORDS], ["method=erm", "epochs=none", *WORDS]]
    assert with_references(commands) == [*commands, ("method=erm", *WORDS, BALANCED)]
    plain = [["method=erm", "dataset=digits_lt"]]
    assert with_references(plain) is plain and with_references([["method=none"]]) == [["method=none"]]


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (["dataset=digits_multi_lt"], "one label per image, and digits_multi_lt has several"),
        (["dataset=digits_lt", "~dataset.profile"], "digits_lt keeps its images as they are; give dataset.profile=exponential"),
        (["dataset=digits_lt", "dataset.profile=as_is"], "digits_lt keeps its images as they are"),
        (["dataset=digits_lt", "dataset.profile=step"], "digits_lt with dataset.profile=step has no balanced set of its size"),
        (["dataset=digits_lt", "dataset.shots=5"], "digits_lt has a tail of dataset.shots=5, and no balanced set of that size"),
        (["dataset=digits_lt", BALANCED], f"leave {BALANCED} out"),
    ],
)
def test_data_without_references_are_refused(words: list[str], why: str) -> None:
    with pytest.raises(ConfigError, match=rf"^sweep\.references: .*{why}"):
        with_references([["method=erm", *words, "sweep.references=true"]])


def test_an_experiment_that_chooses_a_slot_leaves_no_plain_training(tmp_path: Path) -> None:
    (tmp_path / "experiment").mkdir()
    text = "# @package _global_\ndefaults:\n  - override /margin: ldam\n"
    (tmp_path / "experiment" / "mine.yaml").write_text(text)
    words = [f"hydra.searchpath=[file://{tmp_path}]", "method=crt", "experiment=mine", *WORDS]
    with pytest.raises(ConfigError, match=r"no plain training belongs to crt .* sets margin; leave it out"):
        with_references([words])


@pytest.mark.parametrize(
    ("several", "search", "why"), [(False, False, "this command trains one run"), (True, True, "a search compares its runs")]
)
def test_a_single_run_and_a_search_have_none(several: bool, search: bool, why: str) -> None:
    with pytest.raises(ConfigError, match=why):
        refuse_alone(["method=erm", "+sweep.references=true"], several, search)
    refuse_alone(["method=erm", "sweep.references=false"], several, search)


def test_a_budget_trains_the_references_of_a_seed_after_its_jobs_and_before_the_next_seed(tmp_path: Path) -> None:
    commands = combinations(["method=crt,erm", "seed=0,1", f"outputs={tmp_path}", *WORDS])
    jobs = compose_jobs(with_references(commands), lambda outcome: None)
    queue = Queue(jobs, lambda outcome: None, cast(Any, Budget)("1h", 3600, None))
    order = [(job.seed, "dataset.profile" in job.changes) for job in queue.waiting]
    assert order == [(seed, balanced) for seed in (0, 1) for balanced in (False, False, True, True)]
