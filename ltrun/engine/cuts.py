"""Random crops of whole photographs and random frames of videos, which a store makes while it reads."""

from __future__ import annotations

from collections.abc import Sequence

from ltrun.data.stores import Store
from ltrun.errors import ConfigError
from ltrun.parts import Augment, Crop, Frames


def cut_while_decoding(augments: Sequence[Augment], store: Store) -> tuple[Crop | Frames | None, list[Augment]]:
    """Returns the crop that a store makes while it decodes, if any, and the augmentations that are left to the device.

    Raises ConfigError for a crop behind another augmentation, and for a crop of what the store does not hold.
    """
    cutting = [part for part in augments if part.crop is not None]
    if not store.decodes or not cutting:
        return None, list(augments)
    name, cuts = type(cutting[-1]).__name__, cutting[-1].cuts
    if cuts != store.decodes:
        raise ConfigError(f"augmentation: {name} takes parts of {cuts}, and this data set holds {store.decodes}; leave it out")
    if len(cutting) > 1 or augments[0] is not cutting[0]:
        raise ConfigError(
            f"augmentation: {name} cuts whole {cuts} where they are decoded, so it must come first, and alone: "
            "take other crops out of dataset.augments, or give them in its place"
        )
    return cutting[0].crop, list(augments[1:])
