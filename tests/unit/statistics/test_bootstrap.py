"""The difference of two methods: coverage in simulations, known differences, limits of the bootstrap, and the power."""

import math

import numpy as np
import pytest
from numpy.typing import NDArray

from ltrun.statistics.bootstrap import Difference, difference, of_derivatives, of_means
from ltrun.statistics.means import quantile
from ltrun.statistics.power import images_needed, seeds_needed

Hits = NDArray[np.float64]
IMAGES = 400


def chances(rng: np.random.Generator) -> Hits:
    """Returns (N,) the chance that a method is right on each image: on most images nearly 0 or 1, as networks are."""
    return rng.beta(0.6, 0.6, IMAGES)


def hits(rng: np.random.Generator, chance: Hits, seeds: int, apart: float) -> Hits:
    """Returns (n, N) hits of one method. apart: standard deviation by which a seed moves its chances as a whole."""
    moved = chance + rng.normal(0, apart, (seeds, 1))
    return (rng.random((seeds, IMAGES)) < moved).astype(np.float64)


@pytest.mark.parametrize(("seeds", "apart"), [(2, 0.04), (3, 0.0), (3, 0.04), (5, 0.04)])
def test_one_method_against_itself_covers_zero_in_95_of_100_simulations(seeds: int, apart: float) -> None:
    rng = np.random.default_rng(seeds)
    covered = 0
    for i in range(200):
        chance = chances(rng)
        found = of_means(hits(rng, chance, seeds, apart) - hits(rng, chance, seeds, apart), resamples=200)
        covered += found.low <= 0 <= found.high
        if i < 20:
            assert (found.p < 0.05) is not (found.low <= 0 <= found.high)
    assert 0.91 <= covered / 200 <= (0.985 if apart else 1), "near 95; higher where seeds differ by nothing but single images"


def test_methods_of_equal_accuracy_on_other_images_cover_zero() -> None:
    """The images are a sample: a method may be better on these and not on others."""
    rng = np.random.default_rng(7)
    covered = 0
    for _ in range(200):
        one, other = hits(rng, chances(rng), 3, 0.02), hits(rng, chances(rng), 3, 0.02)
        found = of_means(one - other, resamples=200)
        covered += found.low <= 0 <= found.high
    assert 0.91 <= covered / 200 <= 0.995


def test_a_known_difference_is_found_and_its_size_covered() -> None:
    rng = np.random.default_rng(3)
    found = covered = 0
    for _ in range(100):
        chance = rng.uniform(0.2, 0.7, IMAGES)
        made = of_means(hits(rng, chance + 0.15, 4, 0.01) - hits(rng, chance, 4, 0.01), resamples=200)
        found += made.low > 0
        covered += made.low <= 0.15 <= made.high
    assert found >= 95 and covered >= 90


def test_identical_runs_differ_by_exactly_zero() -> None:
    made = of_means(np.zeros((3, IMAGES)))
    assert (made.value, made.low, made.high, made.p) == (0, 0, 0, 1)


@pytest.mark.parametrize("kinds", ["few", "many"])
def test_the_bootstrap_has_the_limits_that_formulas_give(kinds: str) -> None:
    rng = np.random.default_rng(0)
    d = hits(rng, rng.uniform(0.3, 0.9, IMAGES), 3, 0.02) - hits(rng, chances(rng), 3, 0.02)
    d = d if kinds == "few" else d * rng.uniform(0.5, 2, IMAGES)
    made = of_means(d)
    by_seed, by_image, mean = d.mean(1), d.mean(0), d.mean()
    assert made.value == pytest.approx(mean) and made.by_seed == pytest.approx(tuple(by_seed))
    assert made.seeds == pytest.approx(by_seed.var(ddof=1) / 3)
    assert made.images == pytest.approx(((by_image - mean) ** 2).sum() / IMAGES**2, rel=0.08)
    inner = d - by_image - by_seed[:, None] + mean
    assert made.chance == pytest.approx((inner**2).sum() / 2 / 3 / IMAGES**2, rel=0.08)
    assert made.beyond == max(0, made.images - made.chance)
    both = math.sqrt(4.302653**2 * made.seeds + 1.959964**2 * made.beyond)
    assert made.half == pytest.approx(max(both, 1.959964 * math.sqrt(made.images)), rel=1e-5)


def test_one_seed_has_the_noise_of_the_images_alone() -> None:
    rng = np.random.default_rng(1)
    made = of_means(hits(rng, chances(rng), 1, 0) - hits(rng, chances(rng), 1, 0))
    assert made.n == 1 and made.seeds == 0 and made.half == pytest.approx(1.959964 * math.sqrt(made.images), rel=1e-5)


def test_p_equals_the_paired_t_test_where_images_add_nothing() -> None:
    stats = pytest.importorskip("scipy.stats")
    by_seed = np.array([0.02, 0.05, 0.03, 0.06])
    made = difference(by_seed, np.tile(by_seed, (50, 1)))
    assert made.p == pytest.approx(stats.ttest_1samp(by_seed, 0).pvalue, rel=1e-4)


def test_lucky_seeds_do_not_narrow_the_interval_below_the_noise_of_the_images() -> None:
    made = Difference(0.01, (0.01, 0.01), 0.0, 0.0001, 0.0001, 0.0)
    assert made.half == pytest.approx(0.0196, rel=1e-3) and made.p > 0.05


def test_the_resampling_repeats_itself() -> None:
    d = np.random.default_rng(0).integers(-1, 2, (3, 50)).astype(np.float64)
    assert of_means(d) == of_means(d) != of_means(d, seed=1)


def test_quantiles_equal_scipys() -> None:
    stats = pytest.importorskip("scipy.stats")
    for freedom in (1, 2, 7, 20, 21, 5000):
        assert quantile(freedom) == pytest.approx(stats.t.ppf(0.975, freedom), rel=1e-5)
        assert quantile(freedom, 0.4) == pytest.approx(stats.t.ppf(0.8, freedom), rel=1e-4)


# ------------------------------------------------------------------------------------------------------------------- power


def test_as_many_seeds_as_said_find_the_difference_in_80_of_100_simulations() -> None:
    rng = np.random.default_rng(5)
    found = Difference(0.02, (0.0, 0.02, 0.04), 0.02**2 / 3, 0.0, 0.0, 0.0)
    seeds = seeds_needed(found)
    assert seeds is not None and 8 <= seeds <= 12
    drawn = rng.normal(0.02, 0.02, (2000, seeds))
    t = drawn.mean(1) / np.sqrt(drawn.var(1, ddof=1) / seeds)
    assert 0.75 <= float((t > quantile(seeds - 1)).mean()) <= 0.9
    assert (seeds_needed(found, together=5) or 0) > seeds


def test_no_number_of_seeds_helps_where_the_images_hide_the_difference() -> None:
    found = Difference(0.001, (0.0, 0.002), 0.0000001, 0.0001, 0.0, 0.0001)
    assert seeds_needed(found) is None
    images = images_needed(found, 1000)
    assert images is not None and images == pytest.approx(1000 * 2.8016**2 * 0.0001 / 0.001**2, rel=1e-3)
    assert images_needed(Difference(0.0, (0.0,), 0, 0, 0, 0), 10) is None


def test_derivatives_of_a_mean_give_its_interval() -> None:
    """A mean changes with an image's weight by its distance from the mean over N."""
    rng = np.random.default_rng(3)
    values = hits(rng, rng.random(400), 3, 0.1) - hits(rng, rng.random(400), 3, 0.1)
    drawn = of_means(values, resamples=4000)
    means = values.mean(1)
    found = of_derivatives(means, (values - means[:, None]) / values.shape[1])
    assert found.by_seed == drawn.by_seed and found.seeds == pytest.approx(drawn.seeds)
    assert found.images == pytest.approx(drawn.images, rel=0.15) and found.chance == pytest.approx(drawn.chance, rel=0.15)
    assert found.half == pytest.approx(drawn.half, rel=0.1)
