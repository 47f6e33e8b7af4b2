"""One launched job in processes of its own: `python -m ltrun.sweep.launchers.one job.json RANKS PARENT`.

RANKS: processes that train it together; with several, this one is torchrun, whose ranks get the file alone. PARENT: the
number of the process that starts this one, with which it ends.

Exit code: 0 if the outcome lies in the folder, RESUMES if a signal stopped the run, which has saved its last epoch.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from ltrun import streams
from ltrun.config.job import Job
from ltrun.engine.progress import show_log
from ltrun.errors import LtrunError
from ltrun.machine import STOPS, WARNINGS, Lost, Terminated, end_with, processes, terminate
from ltrun.results.folder import has_begun
from ltrun.sweep.data_now import DataNow
from ltrun.sweep.jobs import done_before, train_here
from ltrun.sweep.outcome import tell
from ltrun.sweep.together import from_first

RESUMES = 128 + signal.SIGTERM


def train_file(file: Path) -> None:
    """Trains or resumes the job of a file, which a launcher has written; leaves the outcome in its folder. Raises DataError."""
    job = Job.load(file)
    if job.settings.force and from_first(lambda: has_begun(job.folder)):
        job = replace(job, config={**job.config, "force": False})  # a requeued run resumes
    if not from_first(lambda: done_before(job, DataNow())):  # by another sweep whose queue held the same job
        tell(train_here(job), named=True)


def main(argv: Sequence[str]) -> int:
    """Trains the job of a file and returns the exit code."""
    file, ranks, parent = [*argv, "1", ""][:3]
    if parent:
        end_with(int(parent))
    if int(ranks) > 1:
        return _start_ranks(file, ranks)
    for number in STOPS:
        signal.signal(number, terminate)
    try:
        show_log()
        if processes() == 1:
            train_file(Path(file))
        else:
            from ltrun.engine.group import joined

            with joined():
                train_file(Path(file))
    except (LtrunError, Lost) as error:
        print(f"ltrun: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt as stop:
        print("ltrun: stopped by a signal; the last finished epoch is saved", file=sys.stderr)
        return RESUMES if isinstance(stop, Terminated) else 128 + signal.SIGINT
    return 0


def _start_ranks(file: str, ranks: str) -> int:
    """Has this process be torchrun, and returns its exit code."""
    from torch.distributed.run import main as torchrun

    for number in WARNINGS:  # torchrun would die of them, and they are for the ranks
        signal.signal(number, signal.SIG_IGN)
    try:
        torchrun(["--standalone", "--nproc-per-node", ranks, "-m", "ltrun.sweep.launchers.one", file])
    except Exception as error:  # whatever ended the ranks: they have said so
        print(f"ltrun: {str(error).strip().splitlines()[0]}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    streams.guard()
    streams.outlive()
    if processes() > 1 and os.environ.get("RANK", "0") != "0":
        streams.mute()  # rank 0 speaks for all
    code = main(sys.argv[1:])
    if code and processes() > 1:
        os._exit(code)  # libraries of a GPU wait for a lost rank when Python ends
    sys.exit(code)
