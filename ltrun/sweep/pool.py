"""Processes that train the jobs of a sweep, several at once."""

from __future__ import annotations

import logging
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing import connection
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerProcess

from ltrun.config.job import Job
from ltrun.machine import STOPS, end, end_with_parent
from ltrun.sweep.messages import Ended, LogRelay, Message, Relay
from ltrun.sweep.outcome import STOPPED, Outcome, attempt, cause_of_death, outcome_of
from ltrun.sweep.overview import Overview
from ltrun.sweep.server import CONTEXT


def nothing() -> None:
    """Readies a process that needs nothing before its first job."""


@dataclass
class Worker:
    """A process that trains jobs. jobs: folder -> job that has not ended yet. open: whether it may get further jobs."""

    process: ForkServerProcess
    channel: Connection
    jobs: dict[str, Job] = field(default_factory=dict)
    open: bool = True

    def close(self) -> None:
        """Ends the process after its present jobs."""
        if self.open:
            self.open = False
            with suppress(OSError):  # the process is dead
                self.channel.send(None)


class Pool:
    """Trains `size` jobs at once, `lanes` of them in each process. Leaving the context stops running jobs.

    at_once: number of jobs that share a device; `size` unless given. ready: what a process does before its first job.
    """

    def __init__(
        self,
        size: int,
        lanes: int,
        overview: Overview,
        note: Callable[[Outcome], None],
        at_once: int | None = None,
        ready: Callable[[], object] = nothing,
    ) -> None:
        self.size, self.lanes, self.overview, self.note = size, lanes, overview, note
        self.at_once, self.ready = size if at_once is None else at_once, ready
        self.waiting: deque[Job] = deque()
        self.running: list[Worker] = []

    def __enter__(self) -> Pool:
        self.overview.__enter__()
        return self

    def __exit__(self, *exception: object) -> None:
        for worker in self.running:
            worker.process.terminate()
        self.overview.__exit__()
        for worker in self.running:
            worker.process.join()

    def train(self, jobs: Iterable[Job]) -> None:
        self.waiting.extend(jobs)
        while self.waiting or self.running:
            self._fill()
            self._poll()

    def _fill(self) -> None:
        """Starts waiting jobs in the free places."""
        places = self.size - sum(len(worker.jobs) for worker in self.running)
        for job in [self.waiting.popleft() for _ in range(min(places, len(self.waiting)))]:
            free = (worker for worker in self.running if worker.open and len(worker.jobs) < self.lanes)
            worker = next(free, None) or self._start()
            worker.jobs[str(job.folder)] = job
            self.overview.begin(job)
            with suppress(OSError):  # the process has just died, which the next poll finds
                worker.channel.send(job)
            if self.lanes == 1:
                worker.close()
        if not self.waiting:
            for worker in self.running:
                worker.close()

    def _start(self) -> Worker:
        ours, theirs = CONTEXT.Pipe()
        process = CONTEXT.Process(target=_work, args=(theirs, self.at_once, self.ready))
        process.start()
        theirs.close()  # from now on the channel ends when the process ends
        self.running.append(Worker(process, ours))
        return self.running[-1]

    def _poll(self) -> None:
        """Waits until processes have sent messages or died, and handles that."""
        channels = {worker.channel: worker for worker in self.running}
        for channel in connection.wait(list(channels)):
            self._receive(channels[channel])  # type: ignore[index]

    def _receive(self, worker: Worker) -> None:
        try:
            folder, message = worker.channel.recv()
        except (EOFError, OSError):
            self._reap(worker)
            return
        match message:
            case Ended(failure, spoilt):
                outcome = self._end(worker.jobs.pop(folder), failure or STOPPED)
                if outcome.state != "done" or spoilt:
                    # Give this process no further jobs: after a crash its GPU memory and libraries are in an unknown state,
                    # and after a failed capture it may keep memory that no job uses.
                    worker.close()
            case _:
                self.overview.show(worker.jobs[folder], message)

    def _reap(self, worker: Worker) -> None:
        worker.process.join()
        worker.channel.close()
        self.running.remove(worker)
        for job in worker.jobs.values():
            self._end(job, cause_of_death(worker.process.exitcode))

    def _end(self, job: Job, unfinished: str) -> Outcome:
        outcome = outcome_of(job, unfinished)
        self.overview.end(job, outcome.state == "done")
        self.note(outcome)
        return outcome


def _work(channel: Connection, at_once: int, ready: Callable[[], object] = nothing) -> None:
    """Main function of a process of the pool: trains each job that it receives in a thread named by the job's folder."""
    end_with_parent()
    import torch

    from ltrun.engine.step import Step
    from ltrun.engine.trainer import rescue_all
    from ltrun.engine.turns import Turns

    def leave(*_: object) -> None:
        for number in STOPS:
            signal.signal(number, signal.SIG_IGN)
        rescue_all()
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        signal.raise_signal(signal.SIGTERM)

    for number in STOPS:
        signal.signal(number, leave)
    ready()
    torch.set_num_threads(1)  # the run itself sets runtime.threads, if given
    turns, sending = Turns(), threading.Lock()

    def send(message: Message) -> None:
        try:
            with sending:
                channel.send((threading.current_thread().name, message))
        except OSError:  # nobody listens any more
            end()

    logger = logging.getLogger("ltrun")
    logger.handlers, logger.propagate = [LogRelay(send)], False
    logger.setLevel(logging.INFO)

    def train(job: Job) -> None:
        with turns.taken_by_a_run():
            failure = attempt(job, Relay(send), at_once)
        send(Ended(failure, Step.spoilt))

    threads = []
    with suppress(EOFError):
        while (job := channel.recv()) is not None:
            threads.append(threading.Thread(target=train, args=(job,), name=str(job.folder)))
            threads[-1].start()
    for thread in threads:  # Join here: importing a library for the first time during interpreter shutdown raises.
        thread.join()
