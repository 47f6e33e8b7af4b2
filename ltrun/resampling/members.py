"""Members of classes: the rows of each class, for rows with one label or with several."""

import torch
from torch import Tensor

from ltrun.errors import ConfigError
from ltrun.targets import MultiHot, Targets


def members(targets: Targets, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """(P,) rows and (P,) classes: a pair for each label of each row, in the order of the rows, on the generator's device.

    A row without labels is in no class: whoever draws classes first never draws it. Raises ConfigError if no row has a label.
    """
    labels = targets.labels.to(generator.device)
    if not isinstance(targets, MultiHot):
        return torch.arange(len(labels), device=labels.device), labels
    rows, classes = labels.nonzero(as_tuple=True)
    if not len(rows):
        raise ConfigError("resampling: no training image has a label, so there are no classes to draw; set resampling=instance")
    return rows, classes
