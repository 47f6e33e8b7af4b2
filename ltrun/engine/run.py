"""One run from its configuration to its record: check, open the data, train, fit the post-hoc parts, write the result."""

from __future__ import annotations

import fcntl
import resource
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ltrun.augmentation import Normalise
from ltrun.config.compose import Job
from ltrun.config.values import coerce
from ltrun.data.describe import describe
from ltrun.engine.checkpoint import Checkpoints
from ltrun.engine.device import device_of
from ltrun.engine.evidence import SplitEvidence, fit
from ltrun.engine.precision import Precision
from ltrun.engine.progress import Reporter
from ltrun.engine.step import own_stream
from ltrun.engine.trainer import Trainer
from ltrun.errors import ConfigError, TrainingError
from ltrun.loss import expect_shape
from ltrun.numerics import finite
from ltrun.parts import Evidence, Network, PostHoc, Store
from ltrun.recipe.read import recipe_of
from ltrun.recipe.stage import Recipe
from ltrun.results.address import reset
from ltrun.results.history import History, save_arrays
from ltrun.results.provenance import provenance
from ltrun.results.record import RunRecord
from ltrun.tasks.single_label import Metrics, measure, plain_scores
from ltrun.types import ClassStats, seed_of

ON_CPU, ON_GPU = 250, 2**23  # images, and numbers in images, that are evaluated at once


def run(job: Job, progress: Reporter, at_once: int = 1) -> RunRecord:
    """Trains, or goes on with, one run and writes its result; at_once: how many share the machine.

    Raises LtrunError for anything the user can mend.
    """
    recipe = recipe_of(job.config, job.choices, job.settings.plugins)
    recipe.check_settings()
    device, threads = device_of(job.settings.runtime.device), job.settings.runtime.threads
    if threads is not None:
        torch.set_num_threads(threads)
    for sentence in recipe.warnings:
        progress.warn(sentence)
    with locked(job.folder), own_stream(device):
        return Run(job, recipe, device, progress, at_once).result()


class Run:
    """The data of a run, its trainer and what is measured of it."""

    def __init__(self, job: Job, recipe: Recipe, device: torch.device, progress: Reporter, at_once: int = 1):
        self.job, self.recipe, self.device, self.progress, self.at_once = job, recipe, device, progress, at_once
        config = job.config
        self.splits = recipe.source.build({}).open(device)
        targets = self.splits.train.targets
        self.stats = ClassStats.of(targets, len(self.splits.names), self.splits.names)
        evaluation = config["evaluation"]
        describe(job.dataset, self.splits, progress.console, chart=False, many=evaluation["many"], few=evaluation["few"])
        if self.splits.val is None:
            self._refuse_without_validation()
        mean, std = (coerce(config["dataset"].get(key), list[float], f"dataset.{key}") for key in ("mean", "std"))
        self.shape = next(self.splits.train.open([torch.tensor([0])])).inputs.shape[1:]
        channels = self.shape[0]
        if not len(mean) == len(std) == channels:
            raise ConfigError(f"dataset.mean and dataset.std: expected one value for each of {channels} channels")
        runtime = config["runtime"]
        self.precision = Precision(runtime["precision"], device)
        self.normalise = Normalise(mean=mean, std=std, channels_last=runtime["channels_last"]).to(device)
        self.stores: dict[str, Store] = {"test": self.splits.test}
        if self.splits.val is not None:
            self.stores["val"] = self.splits.val

    def trainer(self) -> Trainer:
        """What trains the network of this run, or goes on with it."""
        job, evaluation, runtime = self.job, self.job.config["evaluation"], self.job.config["runtime"]
        return Trainer(
            recipe=self.recipe,
            train_set=self.splits.train,
            stats=self.stats,
            normalise=self.normalise,
            in_channels=self.shape[0],
            device=self.device,
            precision=self.precision,
            channels_last=runtime["channels_last"],
            compile=runtime["compile"],
            seed=job.seed,
            batch_size=job.config["batch_size"],
            evaluate=self._evaluate_plain,
            evaluate_every=evaluation["every"],
            checkpoints=Checkpoints(job.folder, resume=not job.config["force"]),
            checkpoint_seconds=runtime["checkpoint_seconds"],
            select_best=job.config["selection"] == "best_val",
            report=self._report,
            warn=self.progress.warn,
        )

    def result(self) -> RunRecord:
        """Trains, measures and writes the record."""
        job, trainer = self.job, self.trainer()
        if self.device.type == "cuda" and self.at_once == 1:
            torch.cuda.reset_peak_memory_stats(self.device)  # that of a run before this one in the same process
        self.history = History(job.folder, job.config["runtime"]["tensorboard"])
        self.progress.start(job.title, {stage.name: stage.epochs for stage in self.recipe.stages})
        begun = time.time()
        posthoc = {name: part.build(trainer.context()) for name, part in self.recipe.posthoc.items()}  # refused before training
        if job.config["force"]:
            reset(job.folder)
        network = trainer.run()
        predictors = self._predictors(network, trainer, posthoc)
        record = self._record(trainer, predictors, begun)
        self.history.close()
        record.save(job.folder)
        trainer.checkpoints.keep_last_only()
        self.progress.finish(record)
        return record

    def _refuse_without_validation(self) -> None:
        wanting = ["selection=best_val"] if self.job.config["selection"] == "best_val" else []
        wanting += [part.origin for part in self.recipe.posthoc.values() if "val" in part.target.sees]  # type: ignore[attr-defined]
        if wanting:
            raise ConfigError(f"{wanting[0]} needs a validation split; set dataset.validation_per_class above 0")

    def _report(self, row: dict[str, Any]) -> None:
        self.history.append(row)
        self.progress.epoch(row)

    def _measure(self, scores: torch.Tensor, store: Store) -> Metrics:
        evaluation = self.job.config["evaluation"]
        return measure(scores, store.targets.primary.cpu(), self.stats, evaluation["many"], evaluation["few"])

    def _evidence(
        self, network: Network, store: Store, augment: nn.Module | None = None, hidden: bool = False
    ) -> SplitEvidence:
        size, seed = self.job.config["evaluation"]["batch_size"], self.job.seed
        if size == "auto":
            size = max(1, ON_GPU // self.shape.numel()) if self.device.type == "cuda" else ON_CPU
        return SplitEvidence(network, self.normalise, augment, store, size, seed, self.precision, hidden)

    def _evaluate_plain(self, network: Network) -> dict[str, Metrics]:
        """The network's own accuracies on each split, without the per-class list, for the epoch's line."""
        found = {}
        for name, store in self.stores.items():
            metrics = self._measure(plain_scores(self._evidence(network, store).outputs()), store)
            found[name] = {key: metrics[key] for key in ("accuracy", "many", "medium", "few")}
        return found

    def _predictors(self, network: Network, trainer: Trainer, posthoc: Mapping[str, PostHoc]) -> dict[str, Any]:
        """Metrics of every predictor on every split; test scores go to predictions.npz."""
        context = trainer.context()
        augment = nn.Sequential(
            *(part.build(context) for part in (self.recipe.stages[0].streams["main"].augments or {}).values())
        )
        augment = augment.to(self.device)
        seen: dict[str, Evidence] = {"train": self._evidence(network, self.splits.train, augment)}
        seen["test_inputs"] = self._evidence(network, self.splits.test, augment, hidden=True)
        if self.splits.val is not None:
            seen["val"] = self._evidence(network, self.splits.val, augment)
        outputs = {name: self._evidence(network, store).outputs() for name, store in self.stores.items()}
        scores = {"plain": {name: plain_scores(output) for name, output in outputs.items()}}
        sees: dict[str, list[str]] = {"plain": []}
        for name, part in posthoc.items():
            torch.manual_seed(seed_of(self.job.seed, "posthoc", name))
            fit(part, seen)
            with torch.no_grad():
                scores[name] = {split: part(output) for split, output in outputs.items()}
            for split, found in scores[name].items():
                plain = scores["plain"][split]
                if not finite(expect_shape(part, found, plain.shape)) and finite(plain):
                    raise TrainingError(
                        f"{type(part).__name__} returns scores that are not finite, of logits that are; mend it"
                    )
            sees[name] = sorted(part.sees)
        arrays = {f"test_scores_{name}": found["test"].float().numpy() for name, found in scores.items()}
        save_arrays(self.job.folder / "predictions.npz", test_labels=self.splits.test.targets.primary.cpu().numpy(), **arrays)
        return {
            name: {"sees": sees[name], "splits": {split: self._measure(s, self.stores[split]) for split, s in found.items()}}
            for name, found in scores.items()
        }

    def _record(self, trainer: Trainer, predictors: dict[str, Any], begun: float) -> RunRecord:
        job, stages = self.job, self.recipe.stages
        seconds = sum(trainer.seconds)
        epochs = sum(stage.epochs for stage in stages)
        cuda = self.device.type == "cuda"
        peak = (
            torch.cuda.max_memory_allocated(self.device) if cuda else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        )
        measured = {
            "device": torch.cuda.get_device_name(self.device) if cuda else "cpu",
            "threads": torch.get_num_threads(),
            "precision": self.precision.name,
            "at_once": self.at_once,
            "started": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(begun)),
            "seconds": round(seconds, 3),
            "seconds_per_epoch": round(seconds / epochs, 4),
            "images_per_second": round(len(self.splits.train) * epochs / max(seconds, 1e-9), 1),
            "peak_memory_bytes": int(peak),
            "skipped_images": self.splits.skipped,
        }
        return RunRecord(
            dataset=job.dataset,
            method=job.method,
            changes=dict(job.changes),
            choices=dict(job.choices),
            config=dict(job.config),
            seed=job.seed,
            fingerprint=job.fingerprint,
            headline=job.headline,
            selection=job.config["selection"],
            predictors=predictors,
            classes={"names": list(self.splits.names), "counts": self.stats.counts.tolist()},
            stages=[
                {"name": s.name, "epochs": s.epochs, "seconds": round(t, 3)}
                for s, t in zip(stages, trainer.seconds, strict=True)
            ],
            provenance=provenance() | measured,
        )


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Makes the folder of a run and holds it: two processes never train the same run. The kernel frees the lock on a kill."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = (folder / ".lock").open("w")
    except OSError as error:
        raise ConfigError(
            f"outputs: cannot write to {folder} ({error.strerror}); give a folder of your own with outputs=DIR"
        ) from None
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise TrainingError(f"another process is training {folder}; wait for it, or stop it") from None
        yield
