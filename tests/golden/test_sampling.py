"""Class probabilities of the samplers against the original authors' numbers."""

import torch

from ltrun.resampling import Instance, Power, Progressive
from ltrun.resampling.power import power_probabilities
from ltrun.resampling.progressive import progressive_probabilities
from ltrun.types import Clock, Labels
from tests.support.golden import Golden, close, every_case


def test_class_probabilities(golden: Golden) -> None:
    data = golden("sampling_probabilities")
    counts = torch.tensor(data["inputs"]["cls_num_list"])
    with every_case(data, {}) as take:
        code = take("progressively-balanced, 90 epochs (1-based epoch)")["outputs"]
        assert set(code) == {"1", "2", "30", "45", "60", "89", "90"}
        for epoch, expected in code.items():
            close(progressive_probabilities(counts, Clock("joint", int(epoch) - 1, 90)), expected["class_probability"], 1e-9)

        # The paper's t / T equals the code over T + 1 epochs; Progressive follows the code, whose last epoch is balanced.
        for t, expected in take("paper formula, T=90")["outputs"].items():
            close(progressive_probabilities(counts, Clock("joint", int(t), 91)), expected, 1e-9)

        close(power_probabilities(counts, 1 / 3), take("cube-root (nroot 3)")["outputs"]["class_probability"], 1e-9)
        close(power_probabilities(counts, 0), take("balanced (1/n_c) sampler")["outputs"]["class_probability"], 1e-9)
        close(power_probabilities(counts, -1), take("BBN reversed sampler")["outputs"]["class_probability"], 1e-9)
        close(power_probabilities(counts, 1), code["1"]["class_probability"], 1e-9)

        # The original's sampler has max(n) * C rows, but its training loop uses len(dataset); samplers here draw len(dataset).
        longer = take("ClassAwareSampler epoch length")["outputs"]["len"]
        targets = Labels.hard(torch.arange(10).repeat_interleave(counts))
        assert longer == counts.max() * 10 > len(targets)
        for sampler in (Instance(), Power(0.0), Progressive()):
            rows = sampler.draw(targets, Clock("joint", 0, 90), torch.Generator().manual_seed(0))
            assert len(rows) == len(targets)


def test_cmo_weights_are_class_balanced() -> None:
    """CMO weights an image by n_c ** -alpha, so a class by n_c ** (1 - alpha): CMO's alpha = 1 is q = 0, not q = -1."""
    counts = torch.tensor([500, 107, 23, 5])
    per_image = (1 / counts.double()).repeat_interleave(counts)
    per_class = torch.zeros(4, dtype=torch.float64).index_add_(0, torch.arange(4).repeat_interleave(counts), per_image)
    torch.testing.assert_close(per_class / per_class.sum(), power_probabilities(counts, 0))
