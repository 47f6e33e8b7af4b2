"""Pieces of large arrays."""

from __future__ import annotations

import pytest
import torch

from ltrun.results import spans


def test_pieces_hold_every_row_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spans, "AT_ONCE", 10)
    rows = torch.arange(9)
    for width, pieces in ((3, 3), (10, 9), (40, 9), (1, 1)):
        tensor = rows[:, None].expand(9, width)
        found = spans.spans(tensor.shape)
        assert len(found) == pieces and torch.cat([rows[some] for some in found]).equal(rows)
