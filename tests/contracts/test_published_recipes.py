"""Recipes of conf/on/ against the published configurations: files, and the composed numbers side by side."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml

from ltrun.config.catalogue import header_of, option_of
from ltrun.config.compose import compose_job, hydra_ready
from ltrun.config.job import Job
from ltrun.config.published import ANY, recipes
from ltrun.contracts import files
from ltrun.contracts.files import File
from ltrun.engine.rehearsal import check
from ltrun.recipe.read import recipe_of
from ltrun.report.recipes_page import EXPECTED
from ltrun.taxonomy import GROUPS
from ltrun.types import Clock
from tests.support.cases import CONF, LIBRARY, OPTIONS
from tests.support.tree import NUMBER_FILES, RECIPE_FILES

MAY = {"defaults", "batch_size", "epochs", "stages", "dataset"}  # keys of a recipe; numbers of one option lie in its own file
RX50, R50, R152 = "resnext50", "resnet50", "resnet152"
RIDE = SADE = "ensemble.terms.classification.part"
PACO = "representation.terms.classification.part"
LADE = "logit_adjustment.terms.lade"


class Row(NamedTuple):
    """A recipe as the reference has it. line: the row of section 3 of big-images.md, or the authors' file."""

    line: str
    network: str
    epochs: int
    batch: int
    lr: float
    weight_decay: float
    schedule: str
    nesterov: bool = False
    rest: Mapping[str, Any] = {}


def cb(line: str, network: str, batch: int, lr: float, decay: float, epochs: int = 90, **rest: Any) -> Row:
    return Row(line, network, epochs, batch, lr, decay, "cosine", rest={key.replace("__", "."): v for key, v in rest.items()})


def stage_two(epochs: int, **rest: Any) -> dict[str, Any]:
    return {"second stage": epochs, "images of a class in turn": 4} | rest


def stage_two_of_mislas(decay: float) -> dict[str, Any]:
    smoothing, optimizer = "stages.classifier.reweighting.criterion", "stages.classifier.optimizer"
    return {
        "second stage": 10, "augmentation.mixers.mixup.alpha": 0.2, f"{smoothing}.smooth_head": 0.3,
        f"{smoothing}.smooth_tail": 0.0, f"{optimizer}.lr": 0.1, f"{optimizer}.weight_decay": decay,
        f"{optimizer}.rates": {"*head*.head.*": 0.05},
    }  # fmt: skip


IMAGENET, INAT, PLACES = "imagenet_lt", "inat18", "places_lt"
CE = "CE and samplers (cb) | ImageNet-LT"
WARM = "60/80 x.1, warm-up 5"
SPLIT = {"rate of the rest": 0.01, "network.weights": "IMAGENET1K_V1"}
OF_LADE = {"rate of the rest": 0.001, "network.weights": "IMAGENET1K_V1"}
KEYS = {f"{PACO}.alpha": 0.05, f"{PACO}.queue": 8192, f"{PACO}.temperature": 0.2, "representation.network.momentum": 0.999}
PUBLISHED: dict[tuple[str, str], Row] = {
    ("erm", IMAGENET): cb(CE, RX50, 512, 0.2, 5e-4),
    ("class_balanced_sampling", IMAGENET): cb(CE, RX50, 512, 0.2, 5e-4, resampling__sampler__images_per_turn=4),
    ("class_aware_sampling", IMAGENET): cb(CE, RX50, 512, 0.2, 5e-4, resampling__sampler__images_per_turn=4),
    ("square_root_sampling", IMAGENET): cb(CE, RX50, 512, 0.2, 5e-4),
    ("progressively_balanced_sampling", IMAGENET): cb(CE, RX50, 512, 0.2, 5e-4),
    ("ncm", IMAGENET): cb(CE, RX50, 512, 0.2, 5e-4),
    ("tau_norm", IMAGENET): cb(CE, RX50, 512, 0.2, 5e-4),
    ("crt", IMAGENET): Row("cRT / LWS (cb) | ImageNet-LT", RX50, 90, 512, 0.2, 5e-4, "cosine", rest=stage_two(10)),
    ("lws", IMAGENET): Row("cRT / LWS (cb) | ImageNet-LT", RX50, 90, 512, 0.2, 5e-4, "cosine", rest=stage_two(5)),
    ("erm", INAT): cb("CE (cb) | iNat18", R50, 512, 0.2, 1e-4),
    ("crt", INAT): Row("cRT / LWS (cb) | iNat18", R50, 90, 512, 0.2, 1e-4, "cosine", rest=stage_two(30)),
    ("lws", INAT): Row("cRT / LWS (cb) | iNat18", R50, 90, 512, 0.2, 1e-4, "cosine", rest=stage_two(5)),
    ("erm", PLACES): Row("cRT / LWS (cb) | Places-LT: stage 1", R152, 30, 256, 0.1, 5e-4, "cosine", rest=SPLIT),
    ("tau_norm", PLACES): Row("cRT / LWS (cb) | Places-LT: stage 1", R152, 30, 256, 0.1, 5e-4, "cosine", rest=SPLIT),
    ("crt", PLACES): Row("cRT / LWS (cb) | Places-LT", R152, 30, 256, 0.1, 5e-4, "cosine", rest=stage_two(10, **SPLIT)),
    ("lws", PLACES): Row("cRT / LWS (cb) | Places-LT", R152, 30, 256, 0.1, 5e-4, "cosine", rest=stage_two(5, **SPLIT)),
    ("ride", IMAGENET): Row(
        "RIDE | ImageNet-LT", RX50, 100, 256, 0.1, 2e-4, WARM, nesterov=True,
        rest={f"{RIDE}.start": 0.8, f"{RIDE}.reweight_factor": 0.02, f"{RIDE}.diversity": -0.2, "reweighting.weigh.start": 0.8,
              "ensemble.network.num_experts": 3, "ensemble.network.width": 0.75, "ensemble.network.after": "layer2",
              "classifier.head.scale": 30.0, "augmentation": None},
    ),
    ("ride", INAT): Row(
        "configs/config_iNaturalist_resnet50_ride.json", R50, 100, 512, 0.2, 2e-4, WARM, nesterov=True,
        rest={f"{RIDE}.start": 0.8, f"{RIDE}.reweight_factor": 0.015, f"{RIDE}.diversity": -0.2, "augmentation": None,
              "ensemble.network.width": 0.75, "ensemble.network.after": "layer2"},
    ),
    ("sade", IMAGENET): Row(
        "SADE | ImageNet-LT", RX50, 180, 64, 0.025, 5e-4, "cosine", nesterov=True,
        rest={f"{SADE}.tau": 2.0, "ensemble.network.num_experts": 3, "ensemble.network.width": 0.75,
              "ensemble.network.after": "layer2", "augmentation": None},
    ),
    ("sade", INAT): Row(
        "SADE | iNat18", R50, 100, 512, 0.2, 2e-4, WARM, nesterov=True,
        rest={f"{SADE}.tau": 1.0, "ensemble.network.width": 0.75, "ensemble.network.after": "layer2", "augmentation": None},
    ),
    ("sade", PLACES): Row(
        "SADE | Places-LT", R152, 30, 128, 0.01, 4e-4, "10/20 x.1", nesterov=True,
        rest={f"{SADE}.tau": 1.0, "ensemble.network.width": 1.0, "ensemble.network.after": "layer2", "augmentation": None,
              "rate of the rest": 0.001, "network.weights": "IMAGENET1K_V1"},
    ),
    ("paco", IMAGENET): Row("PaCo | ImageNet-LT", R50, 400, 128, 0.02, 5e-4, "warm-up 10, cosine", rest=KEYS),
    ("paco", INAT): Row("PaCo, GPaCo | iNat18", R50, 400, 128, 0.02, 1e-4, "warm-up 10, cosine", rest=KEYS),
    ("paco", PLACES): Row(  # the reference's "same" is the cosine: the script of Places-LT warms up over 5 epochs
        "PaCo, GPaCo | Places-LT; paco_fp16_places.py", R152, 30, 128, 0.02, 5e-4, "warm-up 5, cosine",
        rest=KEYS | {"network.weights": "IMAGENET1K_V1"},
    ),
    ("mislas", IMAGENET): Row("MiSLAS | ImageNet-LT", R50, 180, 256, 0.1, 5e-4, "cosine", rest=stage_two_of_mislas(5e-4)),
    ("mislas", INAT): Row("MiSLAS | iNat18", R50, 200, 256, 0.1, 1e-4, "cosine", rest=stage_two_of_mislas(1e-4)),
    ("balanced_softmax", IMAGENET): cb("survey, balanced_softmax.yaml; 90 epochs in its table", RX50, 256, 0.1, 5e-4),
    ("lade", IMAGENET): Row(
        "survey, lade.yaml; 90 epochs in its table", RX50, 90, 256, 0.1, 5e-4, "cosine",
        rest={f"{LADE}.weight": 0.1, f"{LADE}.part.remine_lambda": 0.1},
    ),
    ("ldam_drw", IMAGENET): Row(
        "survey, config_imagenet_lt_resnext50_ldam.json", RX50, 200, 256, 0.1, 5e-4, "120/160 x.1, warm-up 5",
        rest={"reweighting.weigh.start": 0.8, "margin.adjust.max_margin": 0.5, "margin.adjust.scale": 30.0},
    ),
    ("balanced_softmax", INAT): Row(
        "LADE, iNaturalist18/balanced_softmax.yaml", R50, 200, 256, 0.1, 1e-4, "30/60/90/120/150/180 x.1"
    ),
    ("lade", INAT): Row(
        "LADE, README and iNaturalist18/lade.yaml", R50, 200, 256, 0.1, 1e-4, "cosine",
        rest={f"{LADE}.weight": 0.05, f"{LADE}.part.remine_lambda": 0.5},
    ),
    ("balanced_softmax", PLACES): Row(
        "LADE, Places_LT/balanced_softmax.yaml", R152, 30, 128, 0.05, 5e-4, "10/20 x.1", rest=OF_LADE
    ),
    ("lade", PLACES): Row(
        "LADE, README and Places_LT/lade.yaml", R152, 30, 128, 0.05, 5e-4, "10/20 x.1",
        rest=OF_LADE | {f"{LADE}.weight": 0.005, f"{LADE}.part.remine_lambda": 0.1},
    ),
}  # fmt: skip
EVERY = sorted(PUBLISHED)
SEVERAL = {"voc_lt", "coco_lt", "videolt"}  # test_recipes_of_several_labels.py has their rows


def published_factor(schedule: str, epoch: int, epochs: int) -> float:
    """The factor of the rate in an epoch, by the words of the reference."""
    warm = re.search(r"warm-up (\d+)", schedule)
    length = int(warm[1]) if warm else 0
    if epoch < length:
        return (epoch + 1) / length
    if "cosine" in schedule:
        return 0.5 * (1 + math.cos(math.pi * (epoch - length) / (epochs - length)))
    steps = [int(step) for step in re.findall(r"[\d/]+", schedule)[0].split("/")]
    return float(0.1 ** sum(epoch >= step for step in steps))


@cache
def composed_job(method: str, dataset: str, *more: str) -> Job:
    with hydra_ready():
        return compose_job([f"method={method}", f"dataset={dataset}", *more])


def at(config: Any, path: str) -> Any:
    for step in path.split("."):
        config = config.get(step) if isinstance(config, Mapping) else None
    return config or None if isinstance(config, Mapping) else config


def beside(row: Row, job: Job) -> Iterator[tuple[str, Any, Any]]:
    """Yields a name, the reference's value and the composed value of each number of a recipe."""
    config, optimizer = job.config, job.config["optimizer"]
    read: dict[str, Callable[[], Any]] = {
        "rate of the rest": lambda: optimizer["lr"] * next(f for p, f in optimizer["rates"].items() if "head" not in p),
        "second stage": lambda: recipe_of(config, job.choices).stages[-1].epochs,
        "images of a class in turn": lambda: at(config, "stages.classifier.resampling.sampler.images_per_turn"),
    }
    yield "network", row.network, job.choices["network"]
    yield "epochs", row.epochs, config["epochs"]
    yield "batch", row.batch, config["batch_size"]
    for name in ("lr", "weight_decay", "nesterov"):
        yield name, getattr(row, name), optimizer[name]
    yield "momentum", 0.9, optimizer["momentum"]
    for name, value in row.rest.items():
        yield name, value, read[name]() if name in read else at(config, name)


def same(reference: Any, ours: Any) -> bool:
    return bool(ours == (pytest.approx(reference) if isinstance(ours, float) else reference))


@pytest.mark.parametrize(("method", "dataset"), EVERY)
def test_a_recipe_is_the_published_one(method: str, dataset: str) -> None:
    """`pytest -s` prints both side by side."""
    row, job = PUBLISHED[method, dataset], composed_job(method, dataset)
    print(f"\n{method} on {dataset}: {row.line}")
    found = list(beside(row, job))
    for name, reference, ours in found:
        print(f"  {name:<48} {reference!s:<24} {ours}")
    print(f"  {'schedule':<48} {row.schedule:<24} {job.config['schedule']}")
    assert [name for name, reference, ours in found if not same(reference, ours)] == []
    schedule = recipe_of(job.config, job.choices).stages[0].schedule.build({})
    for epoch in range(row.epochs):
        factor = schedule.factor(Clock("train", epoch, row.epochs))
        assert factor == pytest.approx(published_factor(row.schedule, epoch, row.epochs)), f"epoch {epoch}"


@pytest.mark.parametrize(("method", "dataset"), EVERY)
def test_a_recipe_passes_every_check_that_needs_no_data(method: str, dataset: str) -> None:
    """On a smaller network of the same names, from scratch, so that it takes a second."""
    job = composed_job(method, dataset, "network=resnet34", "runtime.device=cpu")
    assert check(job).warnings == []
    assert composed_job(method, dataset).changes == {}


def test_every_recipe_has_a_row() -> None:
    assert {pair for pair in recipes() if pair[1] not in SEVERAL} == set(PUBLISHED)
    for method, dataset in PUBLISHED:
        assert method in OPTIONS["method"] and dataset in OPTIONS["dataset"]


@pytest.mark.parametrize("path", [*RECIPE_FILES, *NUMBER_FILES], ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_a_file_has_a_header_and_names_options_that_exist(path: Path) -> None:
    files.begins_with_a_sentence(File(LIBRARY, path))
    files.cites(File(LIBRARY, path))
    option, at_sign, dataset = path.stem.partition("@")
    assert at_sign and dataset in OPTIONS["dataset"]
    assert option in OPTIONS[path.parent.name] or (path.parent.name == "method" and option == ANY)


@pytest.mark.parametrize("path", RECIPE_FILES, ids=lambda path: path.stem)
def test_a_recipe_chooses_options_and_leaves_numbers_to_their_files(path: Path) -> None:
    content = yaml.safe_load(path.read_text())
    assert path.read_text().startswith(files.GLOBAL) and set(content) <= MAY
    for entry in content["defaults"]:
        ((key, option),) = entry.items() if isinstance(entry, dict) else [("_self_", entry)]
        group = key.removeprefix("override /")
        assert key == "_self_" or (group in GROUPS and option in OPTIONS[group]), f"{key}: {option}"


@pytest.mark.parametrize(("method", "dataset"), EVERY)
def test_a_recipe_states_the_published_accuracy(method: str, dataset: str) -> None:
    path = CONF / "on" / "method" / f"{method}@{dataset}.yaml"
    expected = option_of(path).expected
    said = EXPECTED.fullmatch(expected)
    assert said, f"{path.name}: expected: {expected}"
    assert said["network"].lower().replace("-", "") == PUBLISHED[method, dataset].network
    assert sum("expected:" in line for line in header_of(path.read_text())) == 1


@pytest.mark.parametrize("path", NUMBER_FILES, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_numbers_of_an_option_are_numbers_that_the_option_has(path: Path) -> None:
    """A key that the option lacks would be one more argument, and a number that repeats the option's own says nothing."""
    name = path.stem.partition("@")[0]
    own = yaml.safe_load((CONF / path.parent.name / f"{name}.yaml").read_text())
    new = dict(_leaves(yaml.safe_load(path.read_text())))
    known = dict(_leaves(own))
    open_keys = {"rates", "weights"}
    assert {key for key in new if key not in known and key.split(".")[0] not in open_keys} == set()
    assert any(known.get(key) != value for key, value in new.items())
    assert CONF / "on" in path.parents


def _leaves(node: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in node.items():
        here = f"{path}.{key}" if path else str(key)
        if isinstance(value, dict):
            yield from _leaves(value, here)
        else:
            yield here, value
