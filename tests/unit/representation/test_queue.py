"""The queue of earlier rows: order, its end, batches larger than the queue."""

import torch

from ltrun.representation.queue import enqueue


def test_rows_go_round_the_end_and_the_last_ones_stay() -> None:
    keys, labels, cursor = torch.zeros(5, 1), torch.full((5,), -1), torch.zeros((), dtype=torch.int64)
    for first in (1, 4):
        rows = torch.arange(first, first + 3)
        enqueue(cursor, (keys, rows[:, None].double()), (labels, rows))
    assert labels.tolist() == keys[:, 0].tolist() == [6, 2, 3, 4, 5] and cursor == 1
    enqueue(cursor, (labels, torch.arange(10, 20)))
    assert sorted(labels.tolist()) == [15, 16, 17, 18, 19] and cursor == 1
