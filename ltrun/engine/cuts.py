"""Random crops of whole photographs, which a store makes while it decodes."""

from __future__ import annotations

from collections.abc import Sequence

from ltrun.data.stores import Store
from ltrun.errors import ConfigError
from ltrun.parts import Augment, Crop


def cut_while_decoding(augments: Sequence[Augment], store: Store) -> tuple[Crop | None, list[Augment]]:
    """Returns the crop that a store makes while it decodes, if any, and the augmentations that are left to the device.

    Raises ConfigError for a crop of whole photographs behind another augmentation.
    """
    cutting = [part for part in augments if part.crop is not None]
    if not store.decodes or not cutting:
        return None, list(augments)
    if len(cutting) > 1 or augments[0] is not cutting[0]:
        name = type(cutting[-1]).__name__
        raise ConfigError(
            f"augmentation: {name} cuts whole photographs where they are decoded, so it must come first, and alone: "
            "take other crops out of dataset.augments, or give them in its place"
        )
    return cutting[0].crop, list(augments[1:])
