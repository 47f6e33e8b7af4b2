"""What the tests of the core share: composed configurations, combinations of options, a small data set and a trainer on it."""

from __future__ import annotations

import copy
import hashlib
import json
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import fields, replace
from functools import cache, partial
from itertools import combinations
from pathlib import Path
from typing import Any

import torch
from hydra import compose, initialize_config_module
from hydra.core.global_hydra import GlobalHydra
from omegaconf import OmegaConf
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from ltrun.config import catalogue
from ltrun.config.settings import Settings
from ltrun.data import DigitsLT, Normalise, Resident, Splits
from ltrun.data.stores import Store
from ltrun.engine.checkpoint import Checkpoints
from ltrun.engine.context import RunContext
from ltrun.engine.precision import Precision
from ltrun.engine.predictors import evaluate
from ltrun.engine.stage import Row
from ltrun.engine.trainer import Trainer
from ltrun.parts import Network, Prepare
from ltrun.recipe.read import recipe_of
from ltrun.recipe.stage import Recipe
from ltrun.results.atomic import write_atomically
from ltrun.tasks.single_label import SingleLabel
from ltrun.taxonomy import SLOTS, STAGE_SLOTS
from ltrun.types import ClassStats, Clock, Labels, View

Config = dict[str, Any]
Composed = tuple[Config, dict[str, str]]

CONF = Path(str(catalogue.folders()[0])).resolve()  # conf/, which ltrun/conf is a link to
OPTIONS = {group: [option.name for option in catalogue.options(group)] for group in catalogue.groups()}
METHODS = OPTIONS["method"]
STAGE_OPTIONS = {slot: OPTIONS[slot] for slot in STAGE_SLOTS}
CPU = torch.device("cpu")
FP32 = Precision("fp32", CPU)
COUNTS = torch.tensor([20, 14, 10, 8, 6, 4, 3, 2, 2, 1])  # of the small set: 70 images, a class of one
LISTS = ("augmentation", "posthoc")  # groups that merge several options


# -------------------------------------------------------------------------------------------------------- configurations


@cache
def _composed(overrides: tuple[str, ...]) -> Composed:
    """Hydra composes a command line once a session: the workers that test at once share what one of them composed."""
    if "LTRUN_COMPOSED" not in os.environ:  # no session of tests, but a script that uses what they share
        return _compose(overrides)
    name = hashlib.sha256(json.dumps(overrides).encode()).hexdigest()
    shared = Path(os.environ["LTRUN_COMPOSED"], f"{name}.json")
    if not shared.exists():
        write_atomically(shared, json.dumps(_compose(overrides)).encode())
    config, choices = json.loads(shared.read_bytes())
    return config, choices


def _compose(overrides: tuple[str, ...]) -> Composed:
    GlobalHydra.instance().clear()
    with initialize_config_module("ltrun.conf", version_base="1.3"):
        cfg = compose("config", list(overrides), return_hydra_config=True)
    choices = {k: v for k, v in cfg.hydra.runtime.choices.items() if isinstance(v, str) and not k.startswith("hydra/")}
    raw = OmegaConf.to_container(cfg)
    assert isinstance(raw, dict)
    del raw["hydra"]
    config = OmegaConf.to_container(OmegaConf.create(raw), resolve=True)
    return config, choices  # type: ignore[return-value]


def composed(*overrides: str) -> Composed:
    """The resolved configuration of a command line, on digits_lt unless it says otherwise, and Hydra's choices."""
    given = overrides if any(o.startswith("dataset=") for o in overrides) else ("dataset=digits_lt", *overrides)
    return copy.deepcopy(_composed(given))


@cache
def nodes() -> dict[str, dict[str, Composed]]:
    """slot -> option -> (what the option writes into the configuration, its choices), for every option of every slot.

    Hydra composes one option of every slot at a time, so that the longest slot decides how often.
    """
    found: dict[str, dict[str, Composed]] = {slot: {} for slot in SLOTS}
    for turn in range(max(len(OPTIONS[slot]) for slot in SLOTS)):
        picked = {slot: OPTIONS[slot][turn % len(OPTIONS[slot])] for slot in SLOTS}
        config, choices = composed(*(f"{slot}={option}" for slot, option in picked.items()))
        for slot, option in picked.items():
            written = {"plan": config["plan"], "stages": config["stages"]} if slot == "decoupling" else {slot: config.get(slot)}
            own = {k: v for k, v in choices.items() if k == slot or (slot == "decoupling" and "@stages." in k)}
            found[slot][option] = written, own
    return found


def assembled(picked: Mapping[str, str | Sequence[str]]) -> Composed:
    """`composed` without Hydra: slot -> option, or options, put into the defaults for digits_lt. For reading only."""
    config, choices = (dict(shared) for shared in _composed(("dataset=digits_lt",)))
    for slot, options in picked.items():
        many = [options] if isinstance(options, str) else list(options)
        merged: Config = {}
        for option in many:
            written, own = nodes()[slot][option]
            if slot in LISTS and len(many) > 1:
                for role, content in (written[slot] or {}).items():
                    merged[role] = merged.get(role, {}) | content
                written = {slot: merged}
            config |= written
            choices |= own
        if len(many) > 1:
            del choices[slot]  # as Hydra does
    return config, choices


def bound(composition: Composed, plugins: Sequence[str] = ()) -> Recipe:
    return recipe_of(*composition, plugins)


def changed(composition: Composed, **changes: Any) -> Composed:
    """A copy with values set by path: stages__classifier__norm="hold"."""
    config, choices = copy.deepcopy(composition)
    for path, value in changes.items():
        *steps, last = path.split("__")
        node = config
        for step in steps:
            node = node.setdefault(step, {})
        node[last] = value
    return config, choices


def covering(levels: Mapping[str, Sequence[str]], allowed: Callable[[dict[str, str]], bool]) -> list[dict[str, str]]:
    """Few combinations that hold every pair of options of two slots that some allowed combination holds with the defaults.

    Greedy: starts from a pair not yet covered and adds, slot by slot, the option that covers most new pairs.
    """
    pairs = {
        frozenset([(a, x), (b, y)])
        for a, b in combinations(levels, 2)
        for x in levels[a]
        for y in levels[b]
        if allowed({a: x, b: y})
    }
    rows: list[dict[str, str]] = []
    while pairs:
        row = dict(sorted(min(pairs, key=sorted)))
        for slot in sorted(levels, key=lambda name: -len(levels[name])):
            if slot in row:
                continue
            gains = {
                option: sum(frozenset([(slot, option), other]) in pairs for other in row.items()) for option in levels[slot]
            }
            for option in sorted(gains, key=lambda name: -gains[name]):
                if allowed(row | {slot: option}):
                    row[slot] = option
                    break
        rows.append(row)
        pairs -= {frozenset(pair) for pair in combinations(row.items(), 2)}
    return rows


# -------------------------------------------------------------------------------------------------------------- training


@cache
def digits() -> tuple[Resident, Resident]:
    """The first images of each class of digits_lt: COUNTS for training, three a class for testing. Real 8 x 8 images."""
    splits = DigitsLT(profile="as_is").open(CPU)

    def some(store: Any, counts: Iterable[int]) -> Resident:
        labels = store.targets.primary
        rows = torch.cat([(labels == c).nonzero()[:n, 0] for c, n in enumerate(counts)])
        return Resident(store.images[rows], Labels.hard(labels[rows]))

    return some(splits.train, COUNTS.tolist()), some(splits.test, [3] * len(COUNTS))


def stats() -> ClassStats:
    return ClassStats(COUNTS, tuple("0123456789"))


def normaliser() -> Normalise:
    return Normalise(mean=[0.3053], std=[0.376], in_channels=1, channels_last=False)


def accuracies(network: Network) -> dict[str, dict[str, Any]]:
    """Accuracies on the small test set, which also stands for a validation split."""
    metrics = evaluate(network, context())["test"]
    return {"test": metrics, "val": metrics}


def blind_view(clock: Clock, counts: ClassStats) -> View:
    """What a part sees between epochs that looks at neither images nor the network."""

    def refuse(what: object) -> Any:
        raise AssertionError("it looks")

    return View(clock, counts, refuse, refuse, torch.Generator())


def settings(**given: Any) -> Settings:
    """Those of digits_lt, but for batches of 32 and an evaluation every other epoch.

    given: keys by their last name, whatever their level; evaluation_batch is evaluation.batch_size.
    """
    usual = Settings.of(_composed(("dataset=digits_lt",))[0])
    changes: Config = {"batch_size": 32, "every": 2, "checkpoint_seconds": 0.0, "precision": "fp32"} | given
    evaluation, runtime = usual.evaluation, usual.runtime
    if "evaluation_batch" in changes:
        evaluation = replace(evaluation, batch_size=changes.pop("evaluation_batch"))
    own = {field.name: changes.pop(field.name) for field in fields(evaluation) if field.name in changes.keys() - {"batch_size"}}
    evaluation = replace(evaluation, **own)
    own = {field.name: changes.pop(field.name) for field in fields(runtime) if field.name in changes}
    return replace(usual, evaluation=evaluation, runtime=replace(runtime, **own), **changes)


def context(
    train_set: Store | None = None,
    test_set: Store | None = None,
    counts: ClassStats | None = None,
    prepare: Prepare | None = None,
    device: torch.device = CPU,
    warn: Callable[[str], None] | None = None,
    **changes: Any,
) -> RunContext:
    """That of a run on the small set."""
    train, test = digits()
    counts = counts or stats()
    chosen = settings(**changes)
    return RunContext(
        settings=chosen,
        device=device,
        precision=Precision(chosen.runtime.precision, device),
        splits=Splits(train_set or train, None, test_set or test, counts.names),
        stats=counts,
        task=SingleLabel(),
        prepare=prepare or normaliser(),
        input_shape=torch.Size((1, 8, 8)),
        warn=warn or partial(_unexpected, "warning"),
    )


def trainer(
    recipe: Recipe,
    folder: Path,
    report: Callable[[Row], None] = lambda row: None,
    evaluate: Callable[[Network], Mapping[str, Mapping[str, Any]]] = accuracies,
    checkpoints: Checkpoints | None = None,
    **changes: Any,
) -> Trainer:
    """A trainer of the recipe on the small set, two batches and a partial one an epoch. changes: of `context`."""
    return Trainer(recipe, context(**changes), checkpoints or Checkpoints(folder), evaluate, report)


def _unexpected(what: str, sentence: str) -> None:
    raise AssertionError(f"{what}: {sentence}")


def small(composition: Composed, epochs: int = 3) -> Composed:
    """The configuration on a quarter of the channels, so that an epoch takes milliseconds."""
    return changed(composition, network={"_target_": "ltrun.network.ResNetCIFAR", "depth": 8, "width": 4}, epochs=epochs)


def snapshot(module: nn.Module) -> dict[str, Tensor]:
    return {name: tensor.detach().clone() for name, tensor in module.state_dict().items()}


def differing(first: Mapping[str, Tensor], second: Mapping[str, Tensor]) -> set[str]:
    """Names of the tensors that are not bit-equal; names that only one has are among them."""
    shared = first.keys() & second.keys()
    return (first.keys() ^ second.keys()) | {name for name in shared if not torch.equal(first[name], second[name])}


class Count(TorchDispatchMode):
    """Counts tensor operations."""

    def __init__(self) -> None:
        super().__init__()
        self.calls = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.calls += 1
        return func(*args, **(kwargs or {}))
