"""Processes that train the jobs of a sweep, several at once."""

from __future__ import annotations

import logging
import signal
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing import connection
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerProcess

from ltrun.config.job import Job
from ltrun.machine import STOPS, end, end_with_parent
from ltrun.sweep.messages import Advanced, Ended, LogRelay, Message, Relay
from ltrun.sweep.outcome import STOPPED, Outcome, attempt, cause_of_death, outcome_of
from ltrun.sweep.overview import Overview
from ltrun.sweep.queue import Queue
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
        self.size, self.lanes, self.overview = size, lanes, overview
        self.at_once, self.ready = size if at_once is None else at_once, ready
        self.queue = Queue([], note)
        self.running: list[Worker] = []
        self.stopped = False  # whether the sweep's time has ended

    def __enter__(self) -> Pool:
        self.overview.__enter__()
        return self

    def __exit__(self, *exception: object) -> None:
        for worker in self.running:
            worker.process.terminate()
        self.overview.__exit__()
        for worker in self.running:
            worker.process.join()

    def train(self, queue: Queue) -> None:
        """Trains the jobs of a queue until none may begin any more. When the queue's time ends, stops the running ones."""
        self.queue = queue
        self._fill()
        while self.running:
            self._poll()
            self._fill()

    def _fill(self) -> None:
        """Starts waiting jobs in the free places."""
        for _ in range(self.size - sum(len(worker.jobs) for worker in self.running)):
            job = None if self.stopped else self.queue.next()
            if job is None:
                break
            free = (worker for worker in self.running if worker.open and len(worker.jobs) < self.lanes)
            worker = next(free, None) or self._start()
            worker.jobs[str(job.folder)] = job
            self.overview.begin(job)
            with suppress(OSError):  # the process has just died, which the next poll finds
                worker.channel.send(job)
            if self.lanes == 1:
                worker.close()
        if not self.queue.waiting or not any(worker.jobs for worker in self.running):
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
        """Waits until processes have sent messages or died, or the time has ended, and handles that."""
        channels = {worker.channel: worker for worker in self.running}
        for channel in connection.wait(list(channels), None if self.stopped else self.queue.left()):
            self._receive(channels[channel])  # type: ignore[index]
        if not self.stopped and self.queue.left() == 0:
            self.stopped = True
            for worker in self.running:
                worker.process.terminate()

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
            case Advanced(done, total, left):
                self.queue.advance(worker.jobs[folder], done, total, left)
                self.overview.show(worker.jobs[folder], message)
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
        if self.stopped and outcome.state == "unfinished":
            outcome = self.queue.stopped(job)
        self.overview.end(job, outcome.state == "done")
        self.queue.end(job, outcome)
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
