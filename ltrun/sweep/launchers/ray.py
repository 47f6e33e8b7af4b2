"""Launcher `ray`: each run is a task of Ray, on this machine or on a cluster; outcomes are read from the runs' folders."""

from __future__ import annotations

import os
import re
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from ltrun import streams
from ltrun.config.job import Job
from ltrun.engine.progress import say
from ltrun.errors import ConfigError
from ltrun.machine import STOPS, cores
from ltrun.sweep.launchers.task import supervise
from ltrun.sweep.outcome import GOES_ON, STOPPED, Outcome, forget, outcome_of

ADDRESS = re.compile(r"(?P<host>[^/:\s]+):(?P<port>\d{1,5})")
LOOK = 0.5  # seconds between two looks for ended tasks
REACHED = 10  # seconds in which a cluster answers; Ray itself would try for minutes
PATIENCE = 60  # seconds in which stopped runs save their last epoch
Needs = dict[str, float]  # what a task asks of a node: CPU and GPU, as Ray names them


def train(jobs: Sequence[Job], total: int, note: Callable[[Outcome], None], settings: Mapping[str, Any]) -> None:
    """Trains the jobs as tasks of Ray, and notes the outcome of each. total: jobs of the sweep, also those done before.

    settings: the keys of conf/hydra/launcher/ray.yaml. Raises ConfigError if Ray is missing, cannot be reached or cannot place
    a run, and LtrunError if a job's folder cannot be written to.
    """
    _check(settings)
    with connected(settings["address"]) as (ray, logs):
        needs = needs_of(ray, settings, all(job.settings.runtime.device == "cpu" for job in jobs))
        for job in jobs:
            forget(job)
        console, ended = streams.console(), total - len(jobs)
        ranks = settings["ranks"] or max(1, int(needs["GPU"]))
        kept = {"num_cpus": needs["CPU"], "num_gpus": needs["GPU"], "max_retries": settings["retries"]}
        task = ray.remote(**kept, max_calls=1, retry_exceptions=[Unfinished])(trained)
        waiting = {task.options(name=job.title).remote(str(job.save().absolute()), ranks): job for job in jobs}
        say(console, f"{len(jobs)} runs in Ray's queue, {_words(needs)} each; what they print: {logs}")
        try:
            while waiting:
                ready, _ = ray.wait(list(waiting), timeout=0)
                if not ready:
                    time.sleep(LOOK)  # not in Ray, for which every signal is Ctrl-C
                for one in ready:
                    job = waiting.pop(one)
                    outcome = outcome_of(job, _why(ray, one, logs))
                    ended += 1
                    if outcome.state == "done":
                        say(console, f"{ended}/{total} {job.title} | done")
                    note(outcome)
        except KeyboardInterrupt:
            _stop(ray, list(waiting))
            raise


class Unfinished(Exception):
    """The reason why a run's process ended early; Ray trains the run again."""


def trained(file: str, ranks: int) -> None:
    """Trains the job of a file in processes of its own: the task of Ray. Raises Unfinished."""
    try:
        why = supervise(file, ranks)
    except SystemExit:  # after a signal; Ray would call it the death of a worker
        why = STOPPED
    if why:
        raise Unfinished(why)


def _check(settings: Mapping[str, Any]) -> None:
    """Raises ConfigError for a value that makes no sense."""
    for name, least in {"ranks": 1, "retries": 0}.items():
        value = settings[name]
        if (value is not None or name == "retries") and (type(value) is not int or value < least):
            raise ConfigError(f"hydra.launcher.{name}: expected a whole number of at least {least}, got {value}")
    for name, whole in {"gpus": 1, "cpus": 0}.items():
        value = settings[name]
        if value is None:
            continue
        if type(value) not in (int, float) or not 0 <= value < 1e6 or (value > whole and value % 1):
            raise ConfigError(f"hydra.launcher.{name}: expected a whole number{', or a share of one' * whole}, got {value}")
    if settings["cpus"] == 0:
        raise ConfigError("hydra.launcher.cpus: expected a whole number of at least 1, got 0")
    address = settings["address"]
    if address not in (None, "auto") and not (isinstance(address, str) and ADDRESS.fullmatch(address)):
        raise ConfigError(f"hydra.launcher.address: expected HOST:PORT or auto, got {address}")


@contextmanager
def connected(address: str | None) -> Iterator[tuple[Any, Path]]:
    """Connects this process to a cluster, or starts Ray on this machine, and gives the module `ray` and the folder of its logs.

    Ray ends with the block, and the cluster's tasks of this process with it.

    Raises ConfigError if Ray is not installed, or refuses.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # Ray would report its use to its makers
    try:
        import ray
    except ImportError:
        raise ConfigError("hydra/launcher=ray needs Ray: pip install 'ltrun[ray]'") from None
    here: dict[str, Any] = {} if address else {"num_cpus": cores(), "include_dashboard": False}
    before = {number: signal.getsignal(number) for number in STOPS}
    try:
        if address and (found := ADDRESS.fullmatch(address)):
            socket.create_connection((found["host"], int(found["port"])), REACHED).close()
        context = ray.init(address or "local", log_to_driver=False, logging_level="ERROR", **here)
    except (OSError, OverflowError, RuntimeError, ValueError) as error:
        reason = str(error).strip().partition("\n")[0]
        way_out = "start a cluster with 'ray start --head', set RAY_AUTH_MODE=token if it has tokens, or leave the address out"
        told = f"; hydra.launcher.address={address}: {way_out}" if address else ""
        raise ConfigError(f"hydra/launcher=ray: Ray refuses ({reason}){told}") from None
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)  # Ray's own would exit at once
    try:
        yield ray, Path(context.address_info["session_dir"]) / "logs"
    finally:
        ray.shutdown()


def needs_of(ray: Any, settings: Mapping[str, Any], on_cpu: bool) -> Needs:
    """Returns what each run needs. on_cpu: whether no run uses a GPU. Raises ConfigError if Ray on this machine lacks it."""
    nodes = [{kind: node["Resources"].get(kind, 0.0) for kind in ("CPU", "GPU")} for node in ray.nodes() if node["Alive"]]
    gpus = settings["gpus"]
    if gpus is None:
        gpus = int(not on_cpu and any(node["GPU"] for node in nodes))
    shares = [max(1, int(node["CPU"] / node["GPU"] * gpus)) for node in nodes if node["GPU"]] if gpus else []
    needs = {"CPU": settings["cpus"] or min(shares, default=1), "GPU": gpus}
    if any(all(node[kind] >= needs[kind] for kind in needs) for node in nodes):
        return needs
    most = {kind: max((node[kind] for node in nodes), default=0) for kind in needs}
    told = f"no node has {_words(needs)} for a run; the most of each are {_words(most)}"
    if settings["address"] is None:
        raise ConfigError(f"hydra/launcher=ray: {told}: give hydra.launcher.cpus and hydra.launcher.gpus")
    print(f"ltrun: {told}; the runs wait for such a node", file=sys.stderr)
    return needs


def _words(needs: Needs) -> str:
    """Returns `4 cores and 0.5 GPU`."""
    cpus, gpus = needs["CPU"], needs["GPU"]
    return f"{cpus:g} core{'s' * (cpus > 1)} and {f'{gpus:g}' if gpus else 'no'} GPU{'s' * (gpus > 1)}"


def _why(ray: Any, task: Any, logs: Path) -> str:
    """Returns why a task ended without an outcome in its folder."""
    try:
        ray.get(task)
    except Unfinished as error:
        return f"{error.cause} (see {logs})"  # type: ignore[attr-defined]  # of ray.exceptions.RayTaskError
    except ray.exceptions.RayError as error:
        return f"its process or its node was lost ({type(error).__name__}; see {logs}); {GOES_ON}"
    return STOPPED


def _stop(ray: Any, tasks: Sequence[Any]) -> None:
    """Has the tasks save their last epoch and end."""
    print("ltrun: the runs save their last epoch", file=sys.stderr)
    with suppress(KeyboardInterrupt):  # a second one ends the runs at once
        for task in tasks:
            ray.cancel(task)
        ray.wait(tasks, num_returns=len(tasks), timeout=PATIENCE)
