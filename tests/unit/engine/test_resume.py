"""Resuming a run: stopped at any moment, it goes on from its checkpoint and ends bit-equal to an uninterrupted run."""

from __future__ import annotations

import time
from contextlib import suppress
from itertools import count
from pathlib import Path
from types import SimpleNamespace

import pytest

from ltrun.engine.checkpoint import Checkpoints
from ltrun.engine.stage import Row
from ltrun.engine.trainer import UNDER_WAY, rescue_all
from ltrun.errors import TrainingError
from ltrun.types import Clock
from tests.support.cases import bound, changed, composed, differing, small, snapshot, trainer
from tests.support.checkpoints import DAMAGES, harm
from tests.support.interrupted import Fragile, Stop, comparable, stopped_at_every_epoch, trained


@pytest.mark.parametrize("method", ["erm", "ldam_drw", "crt", "lws", "cmo", "paco", "sade", "bbn"])
def test_a_preset_ends_bit_equal_when_stopped_before_every_checkpoint(method: str, tmp_path: Path) -> None:
    composition = small(composed(f"method={method}"))
    (whole, rows), (broken, again) = (
        trained(composition, tmp_path / "whole"),
        stopped_at_every_epoch(composition, tmp_path / "broken", report=True),
    )
    assert differing(snapshot(whole), snapshot(broken)) == set()
    assert comparable(rows) == comparable(again)


@pytest.mark.parametrize("every", [2, 100])
def test_a_run_with_rare_checkpoints_ends_bit_equal(every: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It resumes from the last checkpoint that was due; a checkpoint is always due after the last epoch of a stage."""
    composition = changed(small(composed("method=crt")), stages__classifier__fraction=0.7)  # three epochs, then two
    ticks = count()  # one second per epoch: the trainer reads the clock after an epoch, and after a save
    monkeypatch.setattr(
        "ltrun.engine.trainer.time", SimpleNamespace(perf_counter=time.perf_counter, monotonic=lambda: next(ticks))
    )
    whole, rows = trained(composition, tmp_path / "whole", checkpoint_seconds=every)
    due = {2: {2, 3, 5}, 100: {3, 5}}[every]
    for stop_at in (1, 2, 3, 4, 5) if every == 2 else (3, 4):
        folder, seen = tmp_path / str(stop_at), list[Row]()

        def tell(row: Row, seen: list[Row] = seen, stop_at: int = stop_at) -> None:
            seen.append(row)
            if len(seen) == stop_at:
                raise Stop  # before this epoch's checkpoint

        with pytest.raises(Stop):
            trainer(bound(composition), folder, report=tell, checkpoint_seconds=every).run()
        again, rest = trained(composition, folder, checkpoint_seconds=every)
        assert differing(snapshot(whole), snapshot(again)) == set()
        assert len(rest) == 5 - max({0, *due} & set(range(stop_at)))
        assert comparable(rest) == comparable(rows)[-len(rest) :]


def test_a_finished_run_is_not_trained_again(tmp_path: Path) -> None:
    composition = small(composed("method=crt"))
    first, rows = trained(composition, tmp_path)
    second, none = trained(composition, tmp_path)
    assert len(rows) == 4 and none == []
    assert differing(snapshot(first), snapshot(second)) == set()


@pytest.mark.parametrize("damage", ["middle bit", "half", "gone"])
def test_a_run_whose_newest_checkpoint_is_damaged_ends_bit_equal(damage: str, tmp_path: Path) -> None:
    composition = small(composed("method=crt"))
    whole, _ = trained(composition, tmp_path / "whole")
    for stop_at in (2, 3, 4):  # of four epochs; the last is the second stage's
        folder, warnings = tmp_path / str(stop_at), list[str]()
        for _ in range(stop_at):
            with suppress(Stop):
                trainer(bound(composition), folder, checkpoints=Fragile(folder)).run()
        checkpoints = Checkpoints(folder)
        harm(folder / checkpoints.entries[0]["file"], DAMAGES[damage])
        again, rows = trained(composition, folder, warn=warnings.append)
        assert differing(snapshot(whole), snapshot(again)) == set()
        assert len(warnings) == 1 and len(rows) == 4 - (stop_at - 1)


class Interrupting:
    """Raises at the last step of epoch number `epochs`, as a signal handler does."""

    def __init__(self, epochs: int, error: BaseException) -> None:
        self.left, self.error = epochs, error

    def __call__(self, clock: object, batch: int, batches: int) -> None:
        self.left -= batch == batches
        if self.left == 0:
            raise self.error


@pytest.fixture
def kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keeps every epoch in memory, although the epochs of a test are too short for it."""
    monkeypatch.setattr("ltrun.engine.trainer.SHARE", 0)


@pytest.mark.usefixtures("kept")
def test_an_interrupt_loses_no_more_than_the_epoch_under_way(tmp_path: Path) -> None:
    """The next checkpoint would be due only after a thousand seconds."""
    composition = small(composed("method=erm"), epochs=5)
    whole, rows = trained(composition, tmp_path / "whole")
    broken = tmp_path / "broken"
    one = trainer(bound(composition), broken, checkpoint_seconds=1000)
    one.step = Interrupting(4, KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt):
        one.run()
    assert [entry["file"] for entry in Checkpoints(broken).entries] == ["0-train-3.pt"]
    again, later = trained(composition, broken)
    assert differing(snapshot(whole), snapshot(again)) == set()
    assert comparable(rows)[3:] == comparable(later)


@pytest.mark.usefixtures("kept")
def test_a_process_that_ends_writes_the_pending_checkpoint_of_each_run(tmp_path: Path) -> None:
    composition = small(composed("method=erm"), epochs=2)
    one = trainer(bound(composition), tmp_path, checkpoint_seconds=1000)
    seen: list[list[dict[str, str]]] = []

    def terminated(clock: Clock, batch: int, batches: int) -> None:
        if clock.epoch == 1 and not seen:
            rescue_all()  # as the main thread does, while this thread trains
            seen.append(Checkpoints(tmp_path).entries)

    one.step = terminated
    one.run()
    assert [[entry["file"] for entry in entries] for entries in seen] == [["0-train-1.pt"]]
    assert not UNDER_WAY


def test_an_interrupt_on_a_full_disk_is_still_an_interrupt(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def full(*_: object) -> None:
        raise TrainingError("the disk is full")

    one = trainer(bound(small(composed("method=erm"))), tmp_path, checkpoint_seconds=1000)
    one.step = Interrupting(2, KeyboardInterrupt())
    monkeypatch.setattr(one.checkpoints, "save", full)
    with pytest.raises(KeyboardInterrupt):
        one.run()
    assert [record.message for record in caplog.records] == ["the disk is full"]


@pytest.mark.usefixtures("kept")
@pytest.mark.parametrize(("epochs", "named"), [(1, None), (3, "the checkpoint 0-train-2.pt is kept")])
def test_a_failed_run_names_its_checkpoint_if_there_is_one(epochs: int, named: str | None, tmp_path: Path) -> None:
    one = trainer(bound(small(composed("method=erm"))), tmp_path, checkpoint_seconds=1000)
    one.step = Interrupting(epochs, TrainingError("the loss is not finite"))
    with pytest.raises(TrainingError) as caught:
        one.run()
    assert str(caught.value) == "; ".join(filter(None, ["the loss is not finite", named]))
