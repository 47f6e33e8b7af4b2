"""One run from its configuration to its record: check, open the data, train, fit the post-hoc parts, write the result."""

from __future__ import annotations

import resource
import time
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import Any, cast

import torch
from torch import nn

from ltrun.config.job import Job
from ltrun.data.describe import describe
from ltrun.engine import accumulation, group, levers, teachers
from ltrun.engine.assembly import augments_of, own_augments
from ltrun.engine.checkpoint import Checkpoints, on_host
from ltrun.engine.context import RunContext
from ltrun.engine.cost import size_and_arithmetic
from ltrun.engine.device import check_decoder, device_of
from ltrun.engine.distributed import ALONE, Ranks
from ltrun.engine.predictors import PLAIN, Predictors, evaluate
from ltrun.engine.progress import Reporter
from ltrun.engine.rehearsal import check, predictors_of, refuse_without_validation, rehearse
from ltrun.engine.stage import Row
from ltrun.engine.step import own_stream
from ltrun.engine.trainer import Trainer
from ltrun.network import weights
from ltrun.parts import Network
from ltrun.recipe.stage import MAIN, Recipe
from ltrun.results.address import PREDICTIONS, RESULT
from ltrun.results.folder import drop_aside, locked, reset
from ltrun.results.history import History, save_arrays
from ltrun.results.model import Trained
from ltrun.results.provenance import provenance
from ltrun.results.record import RunRecord
from ltrun.tasks.base import Metrics


def run(job: Job, progress: Reporter, at_once: int = 1) -> RunRecord:
    """Trains or resumes one run, and returns its record after writing it. at_once: number of runs that share the machine.

    Raises LtrunError for anything the user can correct.
    """
    settings, ranks = job.settings, group.ranks()
    recipe = check(job)
    ranks.check(settings.batch_size, settings.runtime.compile)
    accumulation.check(settings, ranks)
    device = device_of(settings.runtime.device, ranks)
    levers.check(settings.runtime, device, ranks)
    check_decoder(settings.runtime.decode, device)
    if settings.runtime.threads is not None:
        torch.set_num_threads(settings.runtime.threads)
    for sentence in recipe.warnings:
        progress.warn(sentence)
    with ExitStack() as held:
        held_by = {"title": job.title, "stages": epochs_of(recipe)}
        ranks.from_first(lambda: held.enter_context(locked(job.folder, held_by)))
        if ranks.from_first(lambda: finished(job)):  # by another command, while this one prepared
            return RunRecord.load(job.folder / RESULT)
        held.enter_context(own_stream(device))
        held.enter_context(levers.searching(settings.runtime))
        opened = Run.open(job, recipe, device, progress, at_once, ranks)
        rehearse(opened.trainer())
        return opened.taught().result()


def finished(job: Job) -> bool:
    """Whether a run that is not forced has its result, with every row. Raises DataError for a damaged result."""
    if job.settings.force or not (job.folder / RESULT).exists():
        return False
    return not RunRecord.load(job.folder / RESULT).provenance.get("lost_rows")


@dataclass(frozen=True)
class Run:
    """A job whose data are open."""

    job: Job
    recipe: Recipe
    context: RunContext
    progress: Reporter
    at_once: int

    @classmethod
    def open(
        cls, job: Job, recipe: Recipe, device: torch.device, progress: Reporter, at_once: int = 1, ranks: Ranks = ALONE
    ) -> Run:
        """Opens the data and prints their description. Raises LtrunError."""
        context = RunContext.open(job.settings, recipe, device, progress.warn, ranks)
        evaluation = job.settings.evaluation
        describe(job.dataset, context.splits, progress.console, chart=False, many=evaluation.many, few=evaluation.few)
        if context.splits.val is None:
            refuse_without_validation(job.settings, recipe)
        context = replace(context, teach=teachers.untrained(recipe, job.teachers))
        return cls(job, recipe, context, progress, at_once)

    def taught(self) -> Run:
        """Trains the teachers that are missing; returns the run with their trained networks. Raises LtrunError."""
        jobs = teachers.on_demand(self.recipe, self.job)
        teachers.trained(jobs, self.context, lambda job: run(job, self.progress, self.at_once))
        return replace(self, context=replace(self.context, teach=teachers.taught(self.recipe, jobs)))

    def trainer(self, report: Any = lambda row: None, step: Any = lambda *_: None) -> Trainer:
        """Returns the trainer that trains or resumes this run. report: takes a row per epoch. step: see `Reporter.step`."""
        checkpoints = Checkpoints(self.job.folder, resume=not self.job.settings.force)
        return Trainer(self.recipe, self.context, checkpoints, self._evaluate, report, step)

    def result(self) -> RunRecord:
        """Trains and measures the network; writes the record and returns it. Rank 0 alone writes to the folder."""
        job, context = self.job, self.context
        ranks = context.ranks
        if context.device.type == "cuda" and self.at_once == 1:
            torch.cuda.reset_peak_memory_stats(context.device)  # an earlier run in this process left its own peak
        history = History(job.folder, job.settings.runtime.tensorboard) if ranks.first else None
        self.progress.start(job.title, epochs_of(self.recipe), context.task.metrics[0])
        begun = time.time()

        def report(row: Row) -> None:
            if history is not None:
                history.append(row)
                self.progress.epoch(row)

        trainer = self.trainer(report, self.progress.step)
        posthoc = predictors_of(self.recipe, context)
        ranks.from_first(lambda: self._begin(trainer))
        network = trainer.run()
        augments = nn.ModuleList(augments_of(self.recipe.stages[0], MAIN, context.injected())).to(context.device)
        own = own_augments(self.recipe.stages[0], context.injected())
        predictors = Predictors(network, context, posthoc, list(augments), [part.to(context.device) for part in own])  # type: ignore[arg-type]
        predictors.fit()
        found, scores = predictors.measure()
        size = size_and_arithmetic(network, context)

        def written() -> RunRecord:
            test = context.splits.test
            arrays = {f"test_scores_{name}": tensor.numpy() for name, tensor in scores.items()}
            labels = test.targets.labels.cpu().numpy()
            files = test.files.text()
            save_arrays(job.folder / PREDICTIONS, test_labels=labels, test_files=files, **arrays)
            self._keep(network, predictors)
            context.splits.check_files()
            record = self._record(trainer, found, begun, predictors.lost, size)
            record.save(job.folder)
            drop_aside(job.folder)
            trainer.checkpoints.keep_last_only()
            return record

        record = ranks.from_first(written)
        self.progress.finish(record)
        return record

    def _begin(self, trainer: Trainer) -> None:
        """Readies the folder for the first epoch."""
        if self.job.settings.force:
            reset(self.job.folder)
        if not trainer.checkpoints.entries:
            self.context.listing.save(self.job.folder)

    def _keep(self, network: Network, predictors: Predictors) -> None:
        """Writes what `ltrun predict` and `ltrun export` use: the network, and the post-hoc parts that have a row."""
        kept = {name: part for name, part in predictors.posthoc.items() if name not in predictors.lost}
        trained = Trained(
            fingerprint=self.job.fingerprint,
            seed=self.job.seed,
            input_shape=tuple(self.context.input_shape),
            network=on_host(cast(nn.Module, network).state_dict()),
            posthoc={name: on_host(dict([*part.named_buffers(), *part.named_parameters()])) for name, part in kept.items()},
        )
        trained.save(self.job.folder)

    def _evaluate(self, network: Network) -> dict[str, Metrics]:
        """Returns split -> the task's first metric and its shot groups, by the network's own scores, for an epoch's row."""
        found, shown = evaluate(network, self.context), self.context.task.metrics[0].columns
        return {split: {name: metrics[name] for name in shown} for split, metrics in found.items()}

    def _record(
        self,
        trainer: Trainer,
        predictors: dict[str, Any],
        begun: float,
        lost: Mapping[str, str],
        size: Mapping[str, float],
    ) -> RunRecord:
        """Returns the record. lost: post-hoc part -> why it has no row. A lost headline row is marked in the run's label. size:
        parameters and arithmetic of the network.
        """
        job, context = self.job, self.context
        file = weights.file_for(self.recipe.backbone.target, self.recipe.backbone.arguments)
        loaded = {"weights": {"file": file.name, "sha256": weights.sha256(file)}} if file else {}
        cost = provenance() | loaded | self._cost(trainer, begun) | dict(size) | ({"lost_rows": dict(lost)} if lost else {})
        stands = job.headline in predictors
        return RunRecord(
            task=context.task.name,
            dataset=job.dataset,
            method=job.method,
            changes=dict(job.changes) | ({} if stands else {"posthoc": "failed"}),
            choices=dict(job.choices),
            config=dict(job.config),
            seed=job.seed,
            fingerprint=job.fingerprint,
            headline=job.headline if stands else PLAIN,
            selection=job.settings.selection,
            predictors=predictors,
            classes={"names": list(context.splits.names), "counts": context.stats.counts.tolist()},
            stages=[
                {"name": s.name, "epochs": s.epochs, "seconds": round(t, 3)}
                for s, t in zip(self.recipe.stages, trainer.seconds, strict=True)
            ],
            provenance=cost,
            command=list(job.command),
            data=context.listing.data,
        )

    def _cost(self, trainer: Trainer, begun: float) -> dict[str, Any]:
        """Returns the time and memory that the run took, and on which device. begun: seconds since 1970."""
        on = levers.chosen(self.context.settings.runtime)
        context, epochs, seconds = self.context, sum(stage.epochs for stage in self.recipe.stages), sum(trainer.seconds)
        cuda, device = context.device.type == "cuda", context.device
        peak = torch.cuda.max_memory_allocated(device) if cuda else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        return {
            "device": torch.cuda.get_device_name(device) if cuda else "cpu",
            "threads": torch.get_num_threads(),
            "devices": context.ranks.world,
            "images_per_device": self.job.settings.batch_size // context.ranks.world,
            "precision": context.precision.name,
            **({"levers": on} if on else {}),
            "at_once": self.at_once,
            "started": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(begun)),
            "seconds": round(seconds, 3),
            "seconds_per_epoch": round(seconds / epochs, 4),
            "images_per_second": round(trainer.images / max(seconds, 1e-9), 1),
            "peak_memory_bytes": int(peak),
            "skipped_images": context.splits.skipped,
        }


def epochs_of(recipe: Recipe) -> dict[str, int]:
    """Returns stage -> its epochs, in order."""
    return {stage.name: stage.epochs for stage in recipe.stages}
