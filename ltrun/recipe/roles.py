"""The roles that the options of a slot fill."""

from __future__ import annotations

from ltrun import parts

Roles = dict[str, type[parts.Part]]

SINGLE: Roles = {
    "sampler": parts.Sampler,
    "head": parts.Head,
    "wrap": parts.Head,
    "network": parts.Network,
    "update": parts.Update,
    "criterion": parts.Criterion,
    "average": parts.Average,
}
"""Roles that one slot of a stage may fill."""
ORDERED: Roles = {"weigh": parts.Weigh, "adjust": parts.Adjust}
"""Roles that every slot may add a part to; the parts apply in slot order."""
KEYED: Roles = {"augments": parts.Augment, "mixers": parts.Mixer, "feature_mixers": parts.FeatureMixer}
"""Roles that every slot may add several parts to, each with a name."""
ROLES = (*SINGLE, *ORDERED, *KEYED, "streams", "terms", "teachers")
