"""Pool of processes: the processes that get no further jobs."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, cast
from unittest.mock import MagicMock

import pytest

from ltrun.config.compose import compose_job, hydra_ready
from ltrun.engine.step import Step
from ltrun.results.address import RESULT
from ltrun.sweep.messages import Ended
from ltrun.sweep.outcome import Outcome
from ltrun.sweep.pool import Pool, Worker, _work
from ltrun.sweep.queue import Budget, Queue
from ltrun.sweep.server import CONTEXT


@pytest.mark.parametrize(("spoilt", "done"), [(False, True), (True, True), (False, False)])
def test_a_process_gets_no_further_jobs_after_a_failed_job_or_capture(spoilt: bool, done: bool, tmp_path: Path) -> None:
    """The two jobs of the process go on, and the next job gets a process of its own."""
    jobs: list[Any] = [MagicMock(folder=tmp_path / name, title=name) for name in "ab"]
    for job in jobs:
        job.folder.mkdir()
    if done:
        (tmp_path / "a" / RESULT).touch()
    ours, theirs = CONTEXT.Pipe()
    worker = Worker(cast(Any, MagicMock()), ours, {str(job.folder): job for job in jobs})
    notes: list[Outcome] = []
    pool = Pool(2, 2, MagicMock(), notes.append)
    pool.running.append(worker)
    theirs.send((str(jobs[0].folder), Ended(None, spoilt)))
    pool._receive(worker)
    assert [(outcome.title, outcome.state == "done") for outcome in notes] == [("a", done)]
    assert list(worker.jobs) == [str(jobs[1].folder)]
    assert worker.open is (done and not spoilt)
    assert theirs.poll(0) is not worker.open and (worker.open or theirs.recv() is None), "a closed process is told so"


def test_the_end_of_the_time_stops_what_trains(tmp_path: Path) -> None:
    job: Any = MagicMock(folder=tmp_path / "a", title="a", seed=0)
    queue = Queue([job], (notes := list[Outcome]()).append, Budget("1s", 0.0, MagicMock()))
    ours, theirs = CONTEXT.Pipe()
    worker = Worker(cast(Any, MagicMock(exitcode=-15)), ours, {str(job.folder): job}, open=False)
    pool = Pool(1, 1, MagicMock(), notes.append)
    pool.running.append(worker)
    cast(Any, worker.process).terminate.side_effect = theirs.close
    pool.train(queue)
    assert [(note.title, note.state) for note in notes] == [("a", "stopped")]
    assert notes[0].reason.startswith("sweep.budget=1s ended, and its last epoch is kept")


def spoilt_work(channel: Connection) -> None:
    Step.spoilt = True
    _work(channel, 1)


@pytest.mark.parametrize("work", [spoilt_work, partial(_work, at_once=1)], ids=["spoilt", "usual"])
def test_a_process_says_whether_a_capture_failed_in_it(work: Callable[[Connection], None], tmp_path: Path) -> None:
    with hydra_ready():
        job = compose_job(["dataset=digits_lt", "epochs=1", "network.depth=8", "runtime.device=cpu", f"outputs={tmp_path}"])
    ours, theirs = CONTEXT.Pipe()
    process = CONTEXT.Process(target=work, args=(theirs,))
    process.start()
    theirs.close()
    ours.send(job)
    ours.send(None)
    ended = [message for _, message in iter(lambda: received(ours), None) if isinstance(message, Ended)]
    process.join()
    assert ended == [Ended(None, spoilt=work is spoilt_work)]


def received(channel: Connection) -> Any:
    try:
        return channel.recv()
    except EOFError:
        return None
