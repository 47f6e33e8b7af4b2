"""Reproduction of published numbers: rows of methods, verdicts, the queue of missing trainings, records, the page."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from reproduction.literature import literature
from reproduction.page import page
from reproduction.queue import missing
from reproduction.records import Records
from reproduction.rows import Row, checks_of, recipes_in, rows_of

from ltrun.config import catalogue, presets
from ltrun.config.compose import compose_job
from ltrun.config.job import Job
from ltrun.config.presets import composing
from ltrun.config.rows import rows_of as posthoc_rows
from ltrun.errors import DataError
from ltrun.results.record import RunRecord
from tests.support.recorded import record
from tests.support.tree import ROOT

PUBLISHED = literature()
FURTHER = ("drs", "ncm", "tau_norm", "posthoc_logit_adjustment")  # methods of the tests, beside the best-known
FEW = replace(PUBLISHED, methods={name: PUBLISHED.methods[name] for name in {*PUBLISHED.best_known, *FURTHER}})
RUNS = ROOT / "benchmarks" / "results" / "reproduction.json"
PAGE = ROOT / "docs" / "reproduction.md"


@cache
def job_of(*words: str) -> Job:
    return compose_job(words)


@pytest.fixture(autouse=True, scope="module")
def _composing() -> Iterator[None]:
    """One Hydra for the module, and one job for each command, so that no test composes again what another has composed."""
    with composing(), pytest.MonkeyPatch.context() as patch:
        patch.setattr(presets, "compose_job", lambda words: job_of(*words))
        yield


def ran(*words: str, percent: float | dict[str, float], seed: int = 0, date: str = "2026-01-01", **more: Any) -> RunRecord:
    """Returns the record of a command. percent: accuracy of its headline, or of each predictor."""
    job = job_of("dataset=cifar100_lt", *words, f"seed={seed}")
    scores = percent if isinstance(percent, dict) else {job.headline: percent}
    made = record(
        job.method, seed, dataset=job.dataset, date=date, changes=dict(job.changes), predictors={n: [] for n in scores}
    )
    for name, score in scores.items():
        made.predictors[name]["splits"]["test"] |= {"accuracy": score / 100, "error": 1 - score / 100}
    assert set(scores) <= {"plain", *posthoc_rows(job.config.get("posthoc"))}
    return replace(made, config=job.config, fingerprint=job.fingerprint, headline=job.headline, choices=job.choices, **more)


def row(records: list[RunRecord], method: str, *recipe: str) -> Row:
    (found,) = (row for row in rows_of(FEW, records, recipe) if row.published.method == method)
    return found


# ------------------------------------------------------------------------------------------------------------ literature


def test_published_numbers_and_bands_come_from_the_headers_of_presets() -> None:
    known = {option.name: option for option in catalogue.options("method")}
    assert set(PUBLISHED.methods) <= set(known) and set(PUBLISHED.best_known) <= set(PUBLISHED.methods)
    assert len(PUBLISHED.best_known) == 12
    for one, relation, other in PUBLISHED.checks:
        assert {one, other} <= set(PUBLISHED.best_known) and relation in ("<", "<=", "~"), (
            "best_known has all methods of the checks"
        )
    assert PUBLISHED.methods["ldam_drw"].band == (41, 43), "as in conf/method/ldam_drw.yaml"
    assert PUBLISHED.methods["ldam_drw"].said == "42.0 (paper), 42.5 (Bag of Tricks, best epoch on test)"
    assert {name for name, option in known.items() if option.band} - set(PUBLISHED.methods) <= {"inverse_frequency_drw"}


# ------------------------------------------------------------------------------------------------------------------ rows


@pytest.mark.parametrize(
    ("percents", "verdict"),
    [
        ([38.0], "1 of 3, inside"),
        ([36.0, 36.4], "2 of 3, 1.3 below"),
        ([37.46, 37.46, 37.46], "reproduced"),  # a band includes its ends, and the printed mean counts
        ([39.6, 39.6, 39.6], "outside, 0.1 above"),
    ],
)
def test_the_verdict_needs_three_seeds(percents: list[float], verdict: str) -> None:
    found = row([ran("method=erm", percent=percent, seed=seed) for seed, percent in enumerate(percents)], "erm")
    assert (found.n, found.verdict) == (len(percents), verdict)


def test_a_method_without_runs_or_without_a_band_is_not_judged() -> None:
    assert row([], "erm").verdict == "not yet run"
    records = [ran("method=drs", percent=40, seed=seed) for seed in range(3)]
    assert (row(records[:1], "drs").verdict, row(records, "drs").verdict) == ("1 of 3", "no band")


def test_one_training_gives_the_rows_of_its_posthoc_parts() -> None:
    both = ran("method=erm", "posthoc=[logit_adjustment,ncm]", percent={"plain": 38, "logit_adjustment": 42, "ncm": 41})
    alone = ran("method=posthoc_logit_adjustment", percent=43, seed=1)
    assert [run.seed for run, _ in row([both, alone], "posthoc_logit_adjustment").runs] == [0, 1]
    assert row([both, alone], "posthoc_logit_adjustment").mean == pytest.approx(42.5)
    assert row([both, alone], "ncm").mean == pytest.approx(41) and row([both, alone], "tau_norm").n == 0
    other = ran("posthoc=logit_adjustment", "posthoc.predictors.logit_adjustment.tau=2", percent={"logit_adjustment": 30})
    assert row([other], "posthoc_logit_adjustment").n == 0, "a part with the same name and another tau"


def test_the_earliest_run_of_a_seed_counts_whatever_its_arithmetic() -> None:
    first = ran("method=erm", "runtime.precision=bf16", percent=38, date="2026-01-01")
    later = ran("method=erm", "runtime.precision=tf32", percent=30, date="2026-01-02")
    found = row([later, first], "erm")
    assert (found.n, found.mean, len(found.further)) == (1, pytest.approx(38), 1)


def test_another_recipe_has_a_separate_table_without_a_band() -> None:
    short = ran("method=erm", "epochs=20", percent=24)
    other = ran("method=erm", "optimizer.weight_decay=0.0005", percent=40)
    elsewhere = ran("method=erm", "dataset=cifar10_lt", percent=70)
    records = [other, short, elsewhere]
    assert row(records, "erm").n == 0
    assert row(records, "erm", "epochs=20").mean == pytest.approx(24)
    assert recipes_in(FEW, records) == [(), ("dataset=cifar10_lt",), ("epochs=20",), ("optimizer.weight_decay=0.0005",)]
    text = page(FEW, records)
    assert "## Short form: `epochs=20`" in text and "## Another recipe: `optimizer.weight_decay=0.0005`" in text


def test_a_run_of_an_older_definition_of_a_method_is_not_averaged_in() -> None:
    old = ran("method=erm", percent=30)
    old = replace(old, config={**old.config, "optimizer": {**old.config["optimizer"], "lr": 0.2}})
    assert row([old, ran("method=erm", percent=38, seed=1)], "erm").mean == pytest.approx(38)


def test_orders_of_methods_in_the_literature_hold_fail_or_wait_for_runs() -> None:
    means = {"erm": 38, "inverse_frequency": 38.6, "class_balanced_sampling": 36, "drs": 40.6, "ce_drw": 43, "ldam_drw": 43}
    means |= {"logit_adjustment": 44, "posthoc_logit_adjustment": 42.4}
    records = [ran(f"method={method}", percent=percent) for method, percent in means.items()]
    verdicts = {check.said: check.verdict for check in checks_of(FEW, rows_of(FEW, records, ()))}
    fails = [said for said, verdict in verdicts.items() if verdict == "fails"]
    assert fails == ["inverse_frequency < erm", "posthoc_logit_adjustment ~ logit_adjustment"]
    assert list(verdicts.values()).count("holds") == 5
    assert all(check.verdict == "not yet run" for check in checks_of(FEW, rows_of(FEW, records[:1], ())))


# ----------------------------------------------------------------------------------------------------------------- queue


def asked(*methods: str, seeds: tuple[int, ...] = (0, 1), runs: tuple[RunRecord, ...] = ()) -> list[str]:
    jobs = {name: job_of(f"method={name}", "dataset=cifar100_lt") for name in methods}
    banded = {name for name in methods if PUBLISHED.methods[name].band}
    found = missing(jobs, seeds, runs, banded)
    return [" ".join(word for word in words if word != "dataset=cifar100_lt") for words in found]


def test_the_first_seed_of_every_method_comes_before_the_second() -> None:
    assert asked("ldam_drw", "crt") == [f"method={name} seed={seed}" for seed in (0, 1) for name in ("ldam_drw", "crt")]


def test_posthoc_methods_are_rows_of_one_training() -> None:
    assert asked("erm", "ldam_drw", "tau_norm", "ncm", seeds=(0,)) == [
        "method=erm posthoc=[tau_norm,ncm] seed=0",
        "method=ldam_drw seed=0",
    ]
    assert asked("tau_norm", seeds=(0,)) == ["method=tau_norm seed=0"]
    assert asked("sade", seeds=(0,)) == ["method=sade seed=0"]


def test_finished_runs_are_not_trained_again() -> None:
    rows = {"plain": 38.0, "tau_norm": 41.0}
    done = (ran("method=erm", "posthoc=[tau_norm]", "runtime.precision=bf16", percent=rows), ran("method=crt", percent=41))
    assert asked("erm", "tau_norm", "ncm", "crt", runs=done) == [
        "method=erm posthoc=[tau_norm,ncm] seed=1",
        "method=crt seed=1",
    ], "a row without a band calls for no training"
    assert asked("erm", "tau_norm", "posthoc_logit_adjustment", seeds=(0,), runs=done) == [
        "method=erm posthoc=[tau_norm,logit_adjustment] seed=0"
    ]
    assert asked("erm", seeds=(0,), runs=(ran("method=erm", "epochs=20", percent=24),)) == ["method=erm seed=0"]


# --------------------------------------------------------------------------------------------------------------- records


def test_a_run_is_kept_once_and_without_the_folders_of_its_machine(tmp_path: Path) -> None:
    kept = Records(tmp_path / "into" / "reproduction.json")
    run = ran("method=erm", "dataset.root=/home/somebody/data", "outputs=/scratch/somebody", percent=38)
    run = replace(run, command=["method=erm", "dataset.root=/home/somebody/data", "outputs=/scratch/somebody"])
    again = replace(run, provenance={"date": "2026-01-02"})
    assert (kept.take([run]), kept.take([again, ran("method=crt", percent=41)])) == (1, 1)
    assert "somebody" not in kept.file.read_text()
    lines = kept.file.read_text().splitlines()
    assert [json.loads(line.rstrip(","))["method"] for line in lines[1:-1]] == ["crt", "erm"], "one line per run"
    assert [found.fingerprint for found in kept.runs()][1] == run.fingerprint


def test_runs_of_other_data_are_refused(tmp_path: Path) -> None:
    def identity(pixels: str) -> dict[str, Any]:
        split = {"images": 5, "labels": 16 * "a", "files": 16 * "b", "sizes": None, "pixels": 16 * pixels}
        return {"digest": 16 * pixels, "classes": 16 * "c", "splits": {"train": split, "test": split | {"pixels": 16 * "f"}}}

    kept = Records(tmp_path / "reproduction.json")
    kept.take([ran("method=erm", percent=38, data=identity("d"))])
    with pytest.raises(DataError, match=r"erm, seed 1, was trained on other data .* the pixels of the training images differ"):
        kept.take([ran("method=erm", percent=38, seed=1, data=identity("e"))])
    assert len(kept.runs()) == 1


@pytest.mark.parametrize("content", ["", "[]", '{"runs": [{}]}', '{"runs": 5}', '{"runs": [5]}', "\xff"])
def test_a_malformed_file_of_records_is_named(tmp_path: Path, content: str) -> None:
    file = tmp_path / "reproduction.json"
    file.write_bytes(content.encode("latin-1"))
    with pytest.raises(
        DataError, match=r"reproduction\.json is no reproduction\.json \(.*\): name one, a result\.json or a folder"
    ):
        Records(file).runs()


# ------------------------------------------------------------------------------------------------------------------ page


def test_docs_reproduction_is_written_from_the_records() -> None:
    written = page(PUBLISHED, Records(RUNS).runs())
    way_out = "make reproduce TAKE=benchmarks/results/reproduction.json"
    assert written == PAGE.read_text(), f"docs/reproduction.md is not of the records of today; write it anew: {way_out}"


def test_every_recorded_run_counts_in_a_current_recipe() -> None:
    runs = Records(RUNS).runs()
    rows = [found for recipe in recipes_in(PUBLISHED, runs) for found in rows_of(PUBLISHED, runs, recipe)]
    counted = {id(run) for found in rows for run, _ in (*found.runs, *found.further)}
    assert runs and not [f"{run.label}, seed {run.seed}: has its preset changed?" for run in runs if id(run) not in counted]
