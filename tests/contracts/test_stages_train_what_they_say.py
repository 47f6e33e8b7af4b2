"""What each stage of a plan trains, begins anew and normalises with, against a table by hand from the papers.

A plan is an option with `stages`. A row is one stage: the parameters that move, by name; those that may but get no gradient;
whether normalisation statistics move; what begins anew. Stages run on digits; parameters are compared to the bit.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from typing import Literal

import pytest
import torch
from torch import Tensor, nn

from ltrun.parts import Network
from ltrun.taxonomy import SLOTS
from ltrun.types import Clock
from tests.support.cases import CONF, OPTIONS, bound, choice, composed, differing, small, snapshot, trainer

ALL, HEAD = ("backbone.*", "head.*"), ("head.*",)
STATISTICS = ("running_mean", "running_var")


@dataclass(frozen=True)
class Trains:
    """moves: patterns over names of the parameters that a stage changes. idle: of those that it may change, but whose gradient
    no term gives. statistics: whether running means and variances move. anew: what begins with new random values."""

    moves: Sequence[str] = ALL
    idle: Sequence[str] = ()
    statistics: bool = True
    anew: Literal["nothing", "head", "network"] = "nothing"


JOINT = Trains()
PLANS: dict[str, dict[str, Trains]] = {
    # Kang et al., 2020: a new classifier, or one scale a class, on fixed features; the authors' code leaves the network in
    # training mode, so that statistics move
    "decoupling=crt": {"train": JOINT, "classifier": Trains(HEAD, anew="head")},
    "decoupling=crt_class_aware": {"train": JOINT, "classifier": Trains(HEAD, anew="head")},
    "decoupling=lws": {"train": JOINT, "classifier": Trains(("head.scales",))},
    "decoupling=lws_class_aware": {"train": JOINT, "classifier": Trains(("head.scales",))},
    # Zhong et al., 2021: scales and classifier; the statistics shift
    "decoupling=mislas": {"train": JOINT, "classifier": Trains(("head.scales", "head.head.*"))},
    # Ren et al., 2020: a new classifier, in training mode
    "decoupling=balms": {"train": JOINT, "classifier": Trains(HEAD, anew="head")},
    # Zhang et al., 2021: a scale and an offset a class, and the confidence of an image
    "decoupling=disalign": {
        "train": JOINT, "classifier": Trains(("head.scales", "head.biases", "head.confidence.*")),
    },
    # Li et al., 2022: the classifier goes on, the rest is in evaluation mode
    "decoupling=gcl": {"train": JOINT, "classifier": Trains(HEAD, statistics=False)},
    # Li et al., 2021 (SSD): the classifier goes on
    "decoupling=ssd": {"train": JOINT, "classifier": Trains(HEAD, statistics=False)},
    # Yin et al., 2019: a new classifier on fixed features
    "decoupling=ftl": {"train": JOINT, "classifier": Trains(HEAD, statistics=False, anew="head")},
    # Chu et al., 2020: the classifier goes on, on maps of a network in evaluation mode
    "decoupling=ofa": {"train": JOINT, "classifier": Trains(HEAD, statistics=False)},
    # Chen et al., 2022: the classifier goes on, in training mode
    "decoupling=risda": {"train": JOINT, "classifier": Trains(HEAD)},
    # Kim et al., 2020; Li et al., 2021 (MetaSAug); Zhang et al., 2021 (Bag of Tricks): all layers go on
    "decoupling=m2m": {"train": JOINT, "generate": JOINT},
    "decoupling=metasaug": {"train": JOINT, "augment": JOINT},
    "decoupling=cam": {"train": JOINT, "generate": JOINT},
    "decoupling=none": {"train": JOINT},
    # Li et al., 2020 (BAGS); Wang et al., 2020 (SimCal): a new classifier, or a copy of the old one, on fixed features
    "decoupling=bags": {"train": JOINT, "classifier": Trains(HEAD, statistics=False, anew="head")},
    "decoupling=simcal": {"train": JOINT, "classifier": Trains(("head.calibrated.*",), statistics=False)},
    # Li et al., 2022 (TSC): a new classifier in training mode; Hou et al., 2023 (SBCL): in evaluation mode
    "decoupling=linear": {"train": JOINT, "classifier": Trains(HEAD, anew="head")},
    "decoupling=sbcl": {"train": JOINT, "classifier": Trains(HEAD, statistics=False, anew="head")},
    # Zhou et al., 2023 (CC-SAM); Alshammari et al., 2022: the classifier goes on, in training mode
    "decoupling=cc_sam": {"train": JOINT, "classifier": Trains(HEAD)},
    "decoupling=weight_balancing": {"train": JOINT, "classifier": Trains(HEAD)},
    # Zhong et al., 2019: all layers go on, the backbone more slowly
    "decoupling=unequal_training": {"head": JOINT, "train": JOINT},
    # Samuel and Chechik, 2021: features beside a fixed classifier, then the classifier on fixed features
    "decoupling=dro_lt": {
        "train": JOINT, "features": Trains(("backbone.*",)), "classifier": Trains(HEAD, statistics=False),
    },
    # Liu et al., 2019: without attention at first, then everything with a memory
    "decoupling=oltr representation=modulated_attention": {
        "train": JOINT, "memory": Trains((*ALL, "modulation.*")),
    },
    # Wang et al., 2021: the routers alone, the rest in evaluation mode; Jin et al., 2023: new classifiers, in training mode
    "decoupling=ride_routing ensemble=ride_routing": {
        "train": Trains(("network.*",)), "router": Trains(("router.*",), statistics=False),
    },
    "decoupling=shike ensemble=shike": {
        "train": Trains(("*",)), "classifier": Trains(("heads.*",), anew="head"),
    },
    # Yang and Xu, 2020: the backbone learns rotations by a layer of the stage's own; the classifier waits
    "transfer=ssp": {"rotation": Trains(("backbone.*",), HEAD), "train": JOINT},
    # the same, and then cRT
    "transfer=ssp decoupling=crt": {
        "rotation": Trains(("backbone.*",), HEAD), "train": JOINT, "classifier": Trains(HEAD, anew="head"),
    },
    # He et al., 2020: the queries' network learns; the keys' network, of buffers, follows
    "transfer=moco": {
        "moco": Trains(("network.backbone.*", "network.projector.*"), ("network.head.*",)),
        "train": Trains(("network.backbone.*", "network.head.*"), ("network.projector.*",)),
    },
    # Liu et al., 2021 (GIST): at first without offsets
    "transfer=gist": {"without_offsets": Trains(("backbone.*", "head.[bit]*")), "train": JOINT},
    # Wei et al., 2021: each generation is a new network
    "transfer=crest": {"generation0": JOINT, "generation1": Trains(anew="network"), "train": Trains(anew="network")},
}  # fmt: skip


def plans_of_conf() -> set[str]:
    """The options of all slots that have stages."""
    found = set[str]()
    for slot in SLOTS:
        for option in OPTIONS.get(slot, []):
            text = (CONF / slot / f"{option}.yaml").read_text()
            if "\nstages:" in text:
                found.add(f"{slot}={option}")
    return found


def test_every_plan_has_rows() -> None:
    assert {words.split()[0] for words in PLANS} == plans_of_conf()


def named(names: Collection[str], patterns: Sequence[str]) -> set[str]:
    for pattern in patterns:
        assert any(fnmatch(name, pattern) for name in names), f"no parameter is named {pattern}"
    return {name for name in names if any(fnmatch(name, pattern) for pattern in patterns)}


def begun_anew(before: dict[str, Tensor], network: Network) -> str:
    """What a stage drew anew: matrices that no longer occur, under any name."""
    gone = {name for name, old in before.items() if old.ndim > 1 and not any(_same(old, new) for new in network.parameters())}
    if not gone:
        return "nothing"
    return "head" if all("head" in name for name in gone) else "network"


def _same(one: Tensor, other: Tensor) -> bool:
    return one.shape == other.shape and torch.equal(one, other)


@pytest.mark.parametrize("words", PLANS)
def test_a_stage_trains_what_its_paper_says(words: str, tmp_path: Path) -> None:
    recipe = bound(small(composed(*words.split()) if " " in words else choice(*words.split("=")).composition, 2))
    assert [stage.name for stage in recipe.stages] == list(PLANS[words])
    made = trainer(recipe, tmp_path)
    network = made.network()
    for index, stage in enumerate(recipe.stages):
        row, before = PLANS[words][stage.name], {name: p.detach().clone() for name, p in network.named_parameters()}
        running = made.begin(network, stage, index)
        assert begun_anew(before, network) == row.anew, stage.name
        start = snapshot(network)
        running.epoch(Clock(stage.name, 0, stage.epochs))
        changed = differing(start, snapshot(network))
        parameters = dict(network.named_parameters())
        moves, idle = (named(parameters.keys(), patterns) for patterns in (row.moves, row.idle))
        assert changed & parameters.keys() == moves, stage.name
        assert {name for name, p in parameters.items() if p.requires_grad} == moves | idle, stage.name
        norms = [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]
        assert {module.training for module in norms} == {row.statistics}, stage.name
        assert any(name.endswith(STATISTICS) for name in changed) == row.statistics, stage.name
