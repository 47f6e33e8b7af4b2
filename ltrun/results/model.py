"""The trained model of a finished run, model.pth: weights of the network, fitted state of the post-hoc parts, input shape."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ltrun.errors import DataError
from ltrun.results.address import MODEL
from ltrun.results.atomic import write_atomically
from ltrun.results.record import RunRecord

if TYPE_CHECKING:
    from torch import Tensor

AGAIN = "copy it from the machine that trained the run, or train the run again with force=true"
State = Mapping[str, "Tensor"]


@dataclass(frozen=True)
class Trained:
    """fingerprint, seed: of the run. input_shape: of one stored input, such as (channels, H, W). network: its state as it was
    evaluated. posthoc: row -> the buffers and parameters of its part; a row whose part failed is absent."""

    fingerprint: str
    seed: int
    input_shape: tuple[int, ...]
    network: State
    posthoc: Mapping[str, State]

    def save(self, folder: Path) -> None:
        """Writes folder/model.pth atomically, with tensors and plain types only. Raises TrainingError."""
        import torch

        write_atomically(folder / MODEL, lambda file: torch.save(dict(vars(self)), file))

    @classmethod
    def load(cls, folder: Path, record: RunRecord) -> Trained | None:
        """Returns the model of a record's run; None if an earlier version of ltrun wrote the run.

        Raises DataError for a file that is damaged, or belongs to another run.
        """
        from ltrun.results.tensors import read

        path = folder / MODEL
        try:
            found = read(path)
            trained = cls(**{**found, "input_shape": tuple(found["input_shape"])})
        except FileNotFoundError:
            return None
        except Exception as error:  # torch.load raises errors of any kind on foreign bytes
            said = str(error).partition("\n")[0].partition(". ")[0]
            raise DataError(f"{path} is damaged or not a model of ltrun ({said}): {AGAIN}") from None
        if (trained.fingerprint, trained.seed) != (record.fingerprint, record.seed):
            raise DataError(f"{path} belongs to another run than the {record.path or 'result'} beside it: {AGAIN}")
        return trained
