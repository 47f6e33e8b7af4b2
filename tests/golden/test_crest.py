"""CReST: numbers of added images, alignment powers and aligned pseudo-labels, against the original authors' values."""

from typing import Any

import pytest
import torch
from torch import Tensor

from ltrun.transfer import DistributionAlignment
from ltrun.transfer.crest import rates, selected
from ltrun.transfer.distribution_alignment import BATCHES, aligned, power_of_generation, sharpened, tempered
from ltrun.transfer.fixmatch import confident
from ltrun.types import ClassStats
from tests.support.golden import Golden, close, every_case

ADDED = ["numbers added, ratio 0.01 alpha 3.0", "numbers added, ratio 0.02 alpha 2.0"]
ADAPTIVE = "alignment temperature by generation, adaptive"
ALIGNED = [f"aligned pseudo-labels, t={t} temperature {temperature}" for t, temperature in ((1.0, 1.0), (0.5, 1.0), (0.7, 0.0))]


@pytest.fixture(scope="module")
def reference(golden: Golden) -> dict[str, Any]:
    return golden("crest")


def test_every_case_is_covered(reference: dict[str, Any]) -> None:
    with every_case(reference, {}) as take:
        for name in (*ADDED, ADAPTIVE, *ALIGNED):
            take(name)


def case(reference: dict[str, Any], name: str) -> tuple[dict[str, Any], dict[str, Any]]:
    found = next(case for case in reference["cases"] if case["name"] == name)
    return found["hyperparameters"], found["outputs"]


@pytest.mark.parametrize("name", ADDED)
def test_each_class_gets_the_authors_number_of_its_most_confident_images(reference: dict[str, Any], name: str) -> None:
    given, expected = case(reference, name)
    kept = rates(torch.tensor(expected["distribution"], dtype=torch.float64), given["alpha"])
    close(kept, expected["rate"], 1e-9)
    lengths = torch.tensor(reference["inputs"]["list_lengths"])
    labels = torch.repeat_interleave(torch.arange(len(lengths)), lengths)[torch.randperm(int(lengths.sum()))]
    confidence = torch.rand(len(labels), dtype=torch.float64)
    chosen = selected(confidence, labels, kept)
    assert torch.bincount(labels[chosen], minlength=len(lengths)).tolist() == expected["added"]
    for c in range(len(lengths)):
        own, others = confidence[chosen & (labels == c)], confidence[~chosen & (labels == c)]
        assert not len(others) or own.min() >= others.max()


def test_the_alignment_power_falls_linearly(reference: dict[str, Any]) -> None:
    given, expected = case(reference, ADAPTIVE)
    generations = given["generations"]
    found = [power_of_generation(generation, generations, given["t_min"]) for generation in range(generations)]
    close(torch.tensor(found, dtype=torch.float64), expected["t"], 1e-9)


@pytest.mark.parametrize(("dtype", "rtol"), [(torch.float64, 1e-9), (torch.float32, 2e-5)])
@pytest.mark.parametrize("name", ALIGNED)
def test_aligned_pseudo_labels_and_their_mask(reference: dict[str, Any], name: str, dtype: torch.dtype, rtol: float) -> None:
    given, expected = case(reference, name)
    inputs = {key: torch.tensor(value, dtype=dtype) for key, value in reference["inputs"].items() if key != "list_lengths"}
    target = tempered(inputs["distribution"], given["t"])
    found = aligned(inputs["probabilities"], inputs["moving_average"], target)
    close(found, expected["aligned"], rtol)
    close(sharpened(found, given["temperature"]), expected["target"], rtol)
    assert confident(found, given["threshold"]).tolist() == expected["mask"]


@pytest.mark.parametrize("name", ALIGNED)
def test_the_term_composes_them(reference: dict[str, Any], name: str) -> None:
    given, expected = case(reference, name)
    probabilities, mean, shares = (
        torch.tensor(reference["inputs"][key], dtype=torch.float64)
        for key in ("probabilities", "moving_average", "distribution")
    )
    counts = (shares * 10**9).round().long()
    settings = {"threshold": given["threshold"], "temperature": given["temperature"], "least_power": given["t"]}
    stats = ClassStats(counts)
    term = DistributionAlignment(**settings, shares="labelled", generation=3, generations=4, stats=stats)
    term.history.copy_(mean.expand(BATCHES, -1))
    labels, kept = term.pseudo_labels(probabilities.float())
    close(labels, expected["target"], 2e-5)
    assert kept.tolist() == expected["mask"]


def test_the_masks_are_no_accident(reference: dict[str, Any]) -> None:
    """Alignment decides which rows reach the threshold: the masks of the cases differ from the plain predictions' mask."""
    plain: Tensor = torch.tensor(reference["inputs"]["probabilities"]).amax(dim=1) >= 0.5
    assert all(case(reference, name)[1]["mask"] != plain.long().tolist() for name in ALIGNED)
