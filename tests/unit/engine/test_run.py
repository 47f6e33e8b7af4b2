"""One run from its job to its record: interrupted in any epoch, refused in a sentence, or with a part that fails."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import pytest
from torch import Tensor

from ltrun.config.job import Job
from ltrun.engine.progress import Bar
from ltrun.engine.run import run
from ltrun.errors import ConfigError
from ltrun.parts import Evidence, PostHoc
from ltrun.results.record import RunRecord
from ltrun.types import Outputs
from tests.support.cases import changed, composed, small
from tests.support.training import node


def job(folder: Path, *overrides: str, **changes: Any) -> Job:
    composition = changed(small(composed("dataset.validation_per_class=2", *overrides), epochs=2), **changes)
    config, choices = changed(composition, runtime__device="cpu")
    return Job(config, choices, {}, choices["method"], "digits_lt", "01234567", folder, "plain")


@pytest.mark.parametrize(
    ("overrides", "predictors"),
    [
        (("method=crt", "selection=best_val", "evaluation.every=1"), ["plain"]),
        (
            ("method=sade", "posthoc=[sade_aggregation,ncm,logit_adjustment]"),
            ["plain", "sade_aggregation", "ncm", "logit_adjustment"],
        ),
    ],
)
def test_a_run_interrupted_in_every_epoch_has_the_same_record(
    overrides: tuple[str, ...], predictors: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = run(job(tmp_path / "whole", *overrides), Bar())
    told = Bar.epoch
    stops = 0

    def interrupt(self: Bar, row: Mapping[str, Any]) -> None:
        nonlocal stops
        told(self, row)
        if (row["stage"], row["epoch"]) not in done:
            done.add((row["stage"], row["epoch"]))
            stops += 1
            raise KeyboardInterrupt

    done: set[tuple[str, int]] = set()
    monkeypatch.setattr(Bar, "epoch", interrupt)
    while True:
        try:
            broken = run(job(tmp_path / "broken", *overrides), Bar())
            break
        except KeyboardInterrupt:
            assert not (tmp_path / "broken" / "result.json").exists()
    assert stops == sum(stage["epochs"] for stage in whole.stages)
    assert list(whole.without_experts().predictors) == predictors and whole.predictors == broken.predictors
    assert set(whole.predictors["plain"]["splits"]) == {"test", "val"}
    files = [(tmp_path / name / "predictions.npz").read_bytes() for name in ("whole", "broken")]
    assert files[0] == files[1]
    lines = [len((tmp_path / name / "metrics.jsonl").read_text().splitlines()) for name in ("whole", "broken")]
    assert lines[0] == lines[1] == stops


@pytest.mark.parametrize(
    "changes",
    [
        {"dataset__prepare__mean": [0.3, 0.3], "dataset__prepare__std": [0.3, 0.3]},  # two channels for grey images
        {"dataset__prepare__mean": [0.3, 0.3]},
        {"dataset__prepare__mean": 0.3},
        {"dataset__prepare__mean": ["a"]},
        {"dataset__prepare__mean": [math.nan]},
        {"dataset__prepare__std": [0.0]},
        {"dataset__prepare__std": None},
    ],
    ids=str,
)
def test_a_normalisation_that_does_not_fit_the_images_is_refused(changes: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"mean|std"):
        run(job(tmp_path, "method=erm", **changes), Bar())
    assert not list(tmp_path.glob("*.pt"))


def test_the_last_line_of_the_metrics_has_the_accuracies_of_the_record(tmp_path: Path) -> None:
    record = run(job(tmp_path, "method=erm"), Bar())
    rows = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    for split in ("test", "val"):
        for name in ("accuracy", "many", "medium", "few"):
            assert rows[-1]["evaluation"][split][name] == record.predictors["plain"]["splits"][split][name]


@pytest.mark.parametrize("interrupted", [False, True])
def test_images_per_second_count_the_rows_drawn_in_every_epoch(
    interrupted: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Repeat-factor sampling draws three times the rows of the training set; a resumed run counts the earlier rows too."""
    repeated = ("method=erm", "resampling=repeat_factor", "resampling.sampler.threshold=1.0")
    told = Bar.epoch

    def interrupt(self: Bar, row: Mapping[str, Any]) -> None:
        told(self, row)
        if row["epoch"] == 2:
            monkeypatch.setattr(Bar, "epoch", told)
            raise KeyboardInterrupt

    if interrupted:
        monkeypatch.setattr(Bar, "epoch", interrupt)
        with pytest.raises(KeyboardInterrupt):
            run(job(tmp_path, *repeated, "runtime.checkpoint_seconds=0"), Bar())
    record = run(job(tmp_path, *repeated, "runtime.checkpoint_seconds=0"), Bar())
    rows = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    drawn, images = sum(row["images"] for row in rows), sum(record.classes["counts"])
    assert drawn > 2 * 2 * images
    assert record.provenance["images_per_second"] == pytest.approx(drawn / record.provenance["seconds"], rel=0.02)


class Unlucky(PostHoc):
    """Raises after training, while `fails` is true: only then does it see more than a hundred images."""

    fails: ClassVar[bool] = True
    sees = frozenset({"train"})

    def fit(self, splits: Mapping[str, Evidence]) -> None:
        if Unlucky.fails and len(splits["train"].outputs().need("logits")) > 100:
            raise ValueError("singular")

    def forward(self, outputs: Outputs) -> Tensor:
        return outputs.need("logits")


@pytest.mark.parametrize("own", [False, True])
def test_a_post_hoc_part_that_fails_after_training_leaves_a_complete_record_that_says_why(own: bool, tmp_path: Path) -> None:
    """Only its row is missing. If the part is the method's own, no other row stands in for the method."""
    both = {"predictors": {"unlucky": node(Unlucky), "ncm": {"_target_": "ltrun.posthoc.NCM"}}}
    made = job(tmp_path, "method=ncm", posthoc=both, plugins=["tests"])
    made = replace(made, headline="unlucky" if own else "ncm")
    Unlucky.fails = True
    bar = Bar()
    with bar.console.capture() as said:
        record = run(made, bar)
    assert list(record.predictors) == ["plain", "ncm"]
    assert "post-hoc row 'unlucky' is left out: ValueError: singular" in said.get() and "without row unlucky" in said.get()
    assert "ValueError: singular" in record.provenance["lost_rows"]["unlucky"]
    assert (record.headline, record.label) == (("plain", "ncm [posthoc=failed]") if own else ("ncm", "ncm"))
    assert RunRecord.load(tmp_path / "result.json").predictors == record.predictors
    Unlucky.fails = False
    again = run(made, Bar())
    assert list(again.predictors) == ["plain", "unlucky", "ncm"] and again.predictors["plain"] == record.predictors["plain"]
    assert "lost_rows" not in again.provenance and len((tmp_path / "metrics.jsonl").read_text().splitlines()) == 2
