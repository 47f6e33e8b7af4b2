"""The roles that the options of a slot fill."""

from __future__ import annotations

from ltrun import parts

SINGLE = {
    "sampler": parts.Sampler,
    "head": parts.Head,
    "wrap": parts.Head,
    "network": parts.Network,
    "update": parts.Update,
    "criterion": parts.Criterion,
}  # roles that one slot of a stage may fill
ORDERED = {"weigh": parts.Weigh, "adjust": parts.Adjust}  # roles that every slot may add a part to, in slot order
KEYED = {"augments": parts.Augment, "mixers": parts.Mixer, "predictors": parts.PostHoc}  # the same, several a slot, by name
ROLES = (*SINGLE, *ORDERED, *KEYED, "streams", "terms")
