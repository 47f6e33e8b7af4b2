"""Student's distribution and Welch's test against SciPy."""

import numpy as np
import pytest

from ltrun.statistics.means import Sample, exceeding, p_value


@pytest.mark.parametrize("freedom", [1, 1.3, 2, 2.7, 4, 30, 1000])
@pytest.mark.parametrize("t", [0.0, 0.1, 1.0, 3.0, 12.7, 300.0])
def test_students_distribution_equals_scipys(t: float, freedom: float) -> None:
    stats = pytest.importorskip("scipy.stats")
    assert exceeding(t, freedom) == pytest.approx(2 * stats.t.sf(t, freedom), rel=2e-4, abs=1e-12)


@pytest.mark.parametrize(("one", "other"), [([1, 2, 4], [5, 6, 7.5, 9]), ([1, 1.1], [3, 9]), ([5, 5, 5.1], [6, 7, 9])])
def test_welchs_test_equals_scipys(one: list[float], other: list[float]) -> None:
    stats = pytest.importorskip("scipy.stats")
    samples = [Sample(float(np.mean(x)), float(np.std(x, ddof=1)), len(x), "") for x in (one, other)]
    assert p_value(*samples) == pytest.approx(stats.ttest_ind(one, other, equal_var=False).pvalue, rel=1e-3)
    assert p_value(*reversed(samples)) == pytest.approx(p_value(*samples))
