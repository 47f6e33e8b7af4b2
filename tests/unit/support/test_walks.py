"""Shares of cases: the same for one commit, another for the next, in the order of the cases."""

from __future__ import annotations

import pytest

from tests.support import walks

CASES = list(range(100))


@pytest.fixture(autouse=True)
def _without_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(walks, "ALL", False)


def test_a_commit_has_one_share_and_the_next_has_another(monkeypatch: pytest.MonkeyPatch) -> None:
    shares = {}
    for commit in ("1234567890", "abcdef0123"):
        monkeypatch.setattr(walks, "DRAW", commit)
        shares[commit] = walks.drawn(CASES, 20)
        assert shares[commit] == walks.drawn(CASES, 20) == sorted(set(shares[commit])) and len(shares[commit]) == 20
    first, second = shares.values()
    assert first != second


def test_every_case_is_in_the_share_of_some_commit(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: set[int] = set()
    for commit in range(60):
        monkeypatch.setattr(walks, "DRAW", f"{commit:010x}")
        seen |= set(walks.drawn(CASES, 20))
    assert seen == set(CASES)


def test_few_cases_and_all_cases_are_not_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    assert walks.drawn(CASES[:20], 20) == CASES[:20]
    monkeypatch.setattr(walks, "ALL", True)
    assert walks.drawn(CASES, 20) == CASES
