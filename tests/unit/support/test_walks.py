"""Shares of cases: the same for one seed, another for the next, in the order of the cases."""

from __future__ import annotations

import pytest

from tests.support import walks

CASES = list(range(100))


@pytest.fixture(autouse=True)
def _without_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(walks, "ALL", False)


def test_a_seed_has_one_share_and_the_next_has_another(monkeypatch: pytest.MonkeyPatch) -> None:
    shares = {}
    for seed in ("1234567890", "abcdef0123"):
        monkeypatch.setattr(walks, "DRAW", seed)
        shares[seed] = walks.drawn(CASES, 20)
        assert shares[seed] == walks.drawn(CASES, 20) == sorted(set(shares[seed])) and len(shares[seed]) == 20
    first, second = shares.values()
    assert first != second


def test_every_case_is_in_the_share_of_some_seed(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: set[int] = set()
    for seed in range(60):
        monkeypatch.setattr(walks, "DRAW", f"{seed:010x}")
        seen |= set(walks.drawn(CASES, 20))
    assert seen == set(CASES)


def test_few_cases_and_all_cases_are_not_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    assert walks.drawn(CASES[:20], 20) == CASES[:20]
    monkeypatch.setattr(walks, "ALL", True)
    assert walks.drawn(CASES, 20) == CASES
