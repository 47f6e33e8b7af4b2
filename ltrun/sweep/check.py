"""Check of a sweep's jobs before the first one trains, for the errors that can be found without data."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from multiprocessing.connection import Connection
from pathlib import Path

from ltrun.config.job import Job
from ltrun.errors import LtrunError
from ltrun.machine import end_with_parent
from ltrun.sweep.server import CONTEXT, start_server


def refusals(jobs: Sequence[Job]) -> dict[Path, str]:
    """Returns folder -> sentence for jobs that will be refused. Asks a new process, so that this one need not import torch."""
    if len(jobs) < 2:  # a single job is checked when it begins
        return {}
    try:
        start_server()
    except OSError:  # no process can be started, so this one trains, too
        return {Path(folder): sentence for folder, sentence in _refused(jobs)}
    ours, theirs = CONTEXT.Pipe(duplex=False)
    process = CONTEXT.Process(target=_check, args=(theirs, list(jobs)))
    process.start()
    theirs.close()
    found = {}
    with suppress(EOFError):  # also if a plugin ends the process: its job will report that when it trains
        while True:
            folder, sentence = ours.recv()
            found[Path(folder)] = sentence
    process.join()
    return found


def _check(channel: Connection, jobs: Sequence[Job]) -> None:
    end_with_parent()
    import torch

    torch.set_num_threads(1)
    with suppress(OSError):
        for refused in _refused(jobs):
            channel.send(refused)


def _refused(jobs: Sequence[Job]) -> Iterator[tuple[str, str]]:
    """Yields (folder, sentence) of each job that will be refused."""
    from ltrun.engine.rehearsal import check

    sentences: dict[str, str | None] = {}  # by fingerprint: seeds do not matter
    for job in jobs:
        if job.fingerprint not in sentences:
            sentences[job.fingerprint] = None
            try:
                check(job)
            except LtrunError as error:
                sentences[job.fingerprint] = " ".join(str(error).splitlines())
            except Exception:  # a defect, reported with its traceback when the job begins
                continue
        sentence = sentences[job.fingerprint]
        if sentence is not None:
            yield str(job.folder), sentence
