"""M2m against the original authors' numbers: translated images, their acceptance, and the probabilities of seeds."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from ltrun.augmentation.m2m import Classifier, accepted, generate, seed_probabilities
from tests.support.golden import COUNTS, Golden, close, every_case

GENERATIONS = [(1, 0.1, 0.5, 0.5), (10, 1.0, 0.5, 0.9), (5, 0.5, 0.0, 0.6)]  # iterations, step, lam, gamma


def linear(weight: Any, dtype: torch.dtype) -> Classifier:
    """The networks of the file: they normalise the pixels themselves."""
    matrix = torch.tensor(weight, dtype=dtype)
    return lambda images: ((images - 0.5) / 0.25).flatten(1) @ matrix


@pytest.mark.parametrize(("dtype", "atol"), [(torch.float64, 1e-10), (torch.float32, 1e-4)])
def test_translated_images_and_their_acceptance(golden: Golden, dtype: torch.dtype, atol: float) -> None:
    data = golden("m2m")
    inputs = data["inputs"]
    tables = {f"seed acceptance table, beta {beta}; rows slots, columns the batch": "the next test" for beta in (0.999, 0.9)}
    seeds, noise = (torch.tensor(inputs[name], dtype=dtype) for name in ("seed_images", "noise"))
    targets, classes = (torch.tensor(inputs[name]) for name in ("target_labels", "seed_labels"))
    g, f = (linear(inputs[name], dtype) for name in ("g_weight", "f_weight"))
    with every_case(data, tables) as take:
        for iterations, step, lam, gamma in GENERATIONS:
            case = take(f"{iterations} steps of {step}, lam {lam}, gamma {gamma}")
            assert case["hyperparameters"]["gamma"] == gamma
            made = generate((seeds + noise).clamp(0, 1), targets, classes, g, f, lam, step, iterations)
            expected: Tensor = torch.tensor(case["outputs"]["images"], dtype=dtype)
            torch.testing.assert_close(made, expected, rtol=1e-8, atol=atol)
            probability = g(made).softmax(1).gather(1, targets[:, None])[:, 0]
            wanted = torch.tensor(case["outputs"]["probability_of_target"], dtype=dtype)
            torch.testing.assert_close(probability, wanted, rtol=1e-8, atol=atol)
            taken = accepted(made, targets, g, gamma) & torch.tensor(inputs["accept_draw"]).bool()
            assert taken.tolist() == case["outputs"]["accepted"]


@pytest.mark.parametrize("beta", [0.999, 0.9])
def test_the_probabilities_of_seeds_and_slots(golden: Golden, beta: float) -> None:
    data = golden("m2m")
    assert data["inputs"]["cls_num_list"] == COUNTS.tolist()
    (case,) = (case for case in data["cases"] if case["name"].startswith(f"seed acceptance table, beta {beta};"))
    batch, slots = (COUNTS[torch.tensor(data["inputs"][name])] for name in ("batch_labels", "slot_labels"))
    for dtype, rtol in ((torch.float64, 1e-9), (torch.float32, 2e-5)):
        found = seed_probabilities(slots.to(dtype), batch.to(dtype), beta)
        close(found, case["outputs"]["p_accept"], rtol)
        assert (found.sum(1) > 0).tolist() == case["outputs"]["slot_valid"]
        close(1 - batch.to(dtype) / COUNTS.max(), case["outputs"]["slot_probability_per_batch_image"], rtol)
