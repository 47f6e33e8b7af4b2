"""Ranks over data sets against the published table of critical values, by hand and against SciPy."""

import numpy as np
import pytest

from ltrun.statistics.ranks import (
    average_ranks,
    chi_square_exceeding,
    cliques,
    critical_difference,
    friedman,
    studentized_range,
)


@pytest.mark.parametrize(("methods", "value"), [(2, 1.960), (3, 2.344), (4, 2.569), (5, 2.728), (10, 3.164)])
def test_critical_values_are_those_of_the_paper(methods: int, value: float) -> None:
    """Demsar (2006), table 5 (a), for 0.05; its 2.343 of three methods is cut off, not rounded."""
    assert studentized_range(methods) / 2**0.5 == pytest.approx(value, abs=6e-4)


def test_the_critical_difference_of_the_papers_example() -> None:
    """Demsar (2006), section 3.2.2: 4 classifiers on 14 data sets."""
    assert critical_difference(4, 14) == pytest.approx(1.25, abs=0.005)


def test_ranks_by_hand_share_ties() -> None:
    values = np.array([[0.9, 0.5, 0.5], [0.7, 0.8, 0.1]])
    assert average_ranks(values).tolist() == [1.5, 1.75, 2.75]


def test_friedman_equals_scipys() -> None:
    stats = pytest.importorskip("scipy.stats")
    values = np.random.default_rng(0).random((7, 5)) + np.arange(5) / 10
    assert friedman(values) == pytest.approx(stats.friedmanchisquare(*values.T).pvalue, rel=1e-9)
    for freedom in range(1, 8):
        assert chi_square_exceeding(3.3, freedom) == pytest.approx(stats.chi2.sf(3.3, freedom), rel=1e-9)


def test_cliques_are_the_largest_groups() -> None:
    assert cliques([1.0, 1.5, 2.2, 4.0], 1.0) == [(0, 1), (1, 2)]
    assert cliques([1.0, 1.2, 1.4, 3.0, 3.1], 1.0) == [(0, 2), (3, 4)]
    assert cliques([1.0, 3.0], 1.0) == []
