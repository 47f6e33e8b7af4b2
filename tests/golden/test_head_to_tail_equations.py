"""Head-to-tail transfer without a reference file, against the papers' and authors' rules evaluated in NumPy in float64."""

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression

from ltrun.augmentation.fasa import adapted_rates, class_moments, groups
from ltrun.augmentation.ofa import activation_maps, fused, head_classes
from ltrun.classifier import GISTHead
from ltrun.classifier.gist import nearest_cosines
from ltrun.posthoc.meta_model_net import regressions
from ltrun.transfer.ftl import principal_projection, transferred

RNG = np.random.default_rng(0)


def close(found: torch.Tensor, expected: object) -> None:
    torch.testing.assert_close(found, torch.as_tensor(np.asarray(expected)), rtol=1e-9, atol=1e-12)


def test_the_moments_of_fasa() -> None:
    """The authors' file; variances unbiased where a class has more than one row."""
    features, labels = RNG.standard_normal((9, 4)), np.array([0, 2, 2, 0, 0, 4, 2, 0, 2])
    mean, variance, number = class_moments(torch.tensor(features), torch.tensor(labels), 6)
    assert number.tolist() == [4, 0, 4, 0, 1, 0]
    for c in (0, 2):
        close(mean[c], features[labels == c].mean(0))
        close(variance[c], features[labels == c].var(0, ddof=1))
    close(mean[4], features[5])
    assert not variance[4].any() and not mean[[1, 3, 5]].any()


def test_the_rates_of_fasa_follow_the_summed_loss_of_a_group() -> None:
    """The authors' file: 1.1 where it fell, 0.9 where it rose."""
    means = torch.tensor([[0.0, 0.0], [0.1, 0.0], [9.0, 9.0], [9.1, 9.0], [-9.0, 9.0], [-9.0, 9.1]], dtype=torch.float64)
    found = groups(means).tolist()
    assert found[0] == found[1] and found[2] == found[3] and found[4] == found[5] and len(set(found)) == 3
    change = torch.tensor([-0.3, 0.1, 0.4, -0.1, 0.0, 0.0], dtype=torch.float64)
    rates = adapted_rates(torch.full((6,), 0.95, dtype=torch.float64), change, torch.tensor(found), 1.1, 0.9)
    close(rates, [1, 1, 0.855, 0.855, 0.95, 0.95])


def test_groups_that_cannot_be_found_are_single_classes() -> None:
    assert len(set(groups(torch.zeros(1, 3)).tolist())) == 1
    assert len(groups(torch.zeros(4, 3))) == 4


def test_the_head_classes_have_nine_tenths_of_the_images() -> None:
    """The loop of the port: a class is of the head as long as all images up to it are at most the share."""
    for counts in ([500, 299, 179, 107, 64, 38, 23, 13, 8, 5], [5, 0, 50, 45], [7, 7], [1]):
        order = sorted(range(len(counts)), key=lambda c: -counts[c])
        expected, total = {order[0]}, 0
        for c in order:
            total += counts[c]
            if total > 0.9 * sum(counts):
                break
            expected.add(c)
        assert set(head_classes(torch.tensor(counts), 0.9).nonzero()[:, 0].tolist()) == expected


def test_activation_maps_are_the_grad_cam_of_a_linear_head() -> None:
    """Mean gradient of the own logit for each channel, weighted sum, relu, stretched to 0..1."""
    maps = torch.tensor(RNG.standard_normal((5, 3, 4, 2)), requires_grad=True)
    weight, labels = torch.tensor(RNG.standard_normal((6, 3))), torch.tensor([0, 5, 2, 2, 1])
    logits = maps.mean((2, 3)) @ weight.T
    (slope,) = torch.autograd.grad(logits[torch.arange(5), labels].sum(), maps)
    expected = (slope.mean((2, 3), keepdim=True) * maps).sum(1).relu().detach().numpy()
    expected -= expected.min((1, 2), keepdims=True)
    close(activation_maps(maps.detach(), weight[labels]), expected / expected.max((1, 2), keepdims=True))
    assert (activation_maps(maps.detach(), torch.zeros(5, 3, dtype=torch.float64)) == 1).all()


def test_a_fusion_takes_each_pixel_from_the_object_or_the_background() -> None:
    """The port's loop over pixels."""
    tail, head = RNG.standard_normal((2, 4, 3, 5, 5))
    tail_cam, head_cam, mask = RNG.random((4, 5, 5)), RNG.random((4, 5, 5)), RNG.random((4, 5, 5)) > 0.4
    expected = np.zeros_like(tail)
    for b, y, x in np.ndindex(4, 5, 5):
        if mask[b, y, x]:
            expected[b, :, y, x] = tail[b, :, y, x] if tail_cam[b, y, x] > 0.8 else 0
        else:
            expected[b, :, y, x] = head[b, :, y, x] if head_cam[b, y, x] < 0.2 else 0
    first, first_cam, second, second_cam, chosen = (torch.tensor(x) for x in (tail, tail_cam, head, head_cam, mask))
    close(fused(first, first_cam, second, second_cam, chosen, 0.8, 0.2), expected)


@pytest.mark.parametrize("energy", [0.5, 0.95, 1.0])
def test_ftl_moves_the_variation_within_the_leading_directions(energy: float) -> None:
    """Yin et al.: the centre of the tail class + Q Q^T (f - centre of the head class)."""
    variation = RNG.standard_normal((40, 6)) * [5, 3, 1, 0.5, 0.1, 0.05]
    _, singular, rows = np.linalg.svd(variation, full_matrices=False)
    share = np.cumsum(singular**2) / np.sum(singular**2)
    kept = rows[: int(np.argmax(share >= energy - 1e-12)) + 1].T
    features, centres, new = RNG.standard_normal((3, 7, 6))
    projection = principal_projection(torch.tensor(variation.T @ variation), energy)
    found = transferred(torch.tensor(features), torch.tensor(centres), torch.tensor(new), projection)
    np.testing.assert_allclose(found, new + (features - centres) @ kept @ kept.T, rtol=1e-7, atol=1e-9)


def test_gist_scores_a_class_by_its_nearest_vector() -> None:
    """The authors' file: tau * the largest cosine to w, w + d_1, ..., w + d_S."""
    features, classes, offsets = RNG.standard_normal((5, 8)), RNG.standard_normal((6, 8)), RNG.standard_normal((4, 8))
    expected = np.empty((5, 6))
    for b, c in np.ndindex(5, 6):
        vectors = [classes[c], *(classes[c] + offset for offset in offsets)]
        expected[b, c] = max(features[b] @ v / np.linalg.norm(features[b]) / np.linalg.norm(v) for v in vectors)
    close(nearest_cosines(*map(torch.tensor, (features, classes, offsets))), expected)
    head = GISTHead(features=8, num_classes=6).double()
    head(torch.tensor(features)).sum().backward()
    assert head.offsets.grad is None and head.instance.grad is None and head.balanced.grad is not None
    head.of_instances(torch.tensor(features)).sum().backward()
    assert head.offsets.grad is not None and head.offsets.grad.abs().sum(1).all()


def test_the_regressions_of_meta_model_net_are_scikit_learns() -> None:
    """Half the weight on the class's own images, half on the others; scikit-learn does not penalise its intercept."""
    own, others = RNG.standard_normal((3, 8, 4)) + 1, RNG.standard_normal((30, 4))
    apart = (RNG.random((3, 30)) > 0.2).astype(float)
    ridge = 0.05
    found = regressions(torch.tensor(own), torch.tensor(others), torch.tensor(apart), ridge)
    for p in range(3):
        x = np.concatenate([own[p], others])
        y = np.repeat([1, 0], [8, 30])
        weight = np.concatenate([np.full(8, 0.5 / 8), 0.5 * apart[p] / apart[p].sum()])
        fitted = LogisticRegression(C=1 / ridge, fit_intercept=False, tol=1e-10, max_iter=1000).fit(x, y, weight)
        np.testing.assert_allclose(found[p], fitted.coef_[0], rtol=1e-4, atol=1e-4)
