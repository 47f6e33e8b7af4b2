"""Assembly of options without Hydra, which takes a fifth of a second for each composition: for many combinations."""

from __future__ import annotations

from ltrun.contracts.library import Composed, Config, Library, Picked, words_of
from ltrun.taxonomy import MERGING, SLOTS

STAGED = {"transfer": ("transfer", "before", "stages"), "decoupling": ("plan", "stages")}  # slots that set stages -> their keys


class Assembly:
    """Puts options of slots of a library together, on digits."""

    def __init__(self, library: Library) -> None:
        self.library = library
        self._nodes: dict[str, dict[str, Composed]] | None = None

    @property
    def nodes(self) -> dict[str, dict[str, Composed]]:
        """Slot -> option -> (what the option writes into the configuration, its choices), for every option of every slot.

        Each composition takes one option of every slot, so the slot with most options sets the number of compositions; but
        options that set stages are composed alone, except those of one slot.
        """
        if self._nodes is None:
            found: dict[str, dict[str, Composed]] = {slot: {} for slot in SLOTS}
            options = self.library.options
            for option in options["transfer"]:
                found["transfer"][option] = _written("transfer", self.library.composed(f"transfer={option}"))
            together = [slot for slot in SLOTS if slot != "transfer"]
            for turn in range(max(len(options[slot]) for slot in together)):
                picked = {slot: options[slot][turn % len(options[slot])] for slot in together}
                whole = self.library.composed(*(f"{slot}={option}" for slot, option in picked.items()))
                for slot, option in picked.items():
                    found[slot][option] = _written(slot, whole)
            self._nodes = found
        return self._nodes

    def put_together(self, picked: Picked, task: str | None = None) -> Composed:
        """Returns the composition of options, slot -> option or options, as `Library` does. The result must not be changed."""
        digits = self.library.digits_for(*words_of(picked), task=task)
        config, choices = (dict(shared) for shared in self.library.compose((digits,)))
        for slot, options in picked.items():
            many = [options] if isinstance(options, str) else list(options)
            merged: Config = {}
            for option in many:
                written, own = self.nodes[slot][option]
                if slot in MERGING and len(many) > 1:
                    for role, content in (written[slot] or {}).items():
                        merged[role] = merged.get(role, {}) | content
                    written = {slot: merged}
                stages = {name: config["stages"].get(name, {}) | node for name, node in written.get("stages", {}).items()}
                config |= written | {"stages": config["stages"] | stages}
                choices |= own
            if len(many) > 1:
                del choices[slot]  # as Hydra does
        return config, choices


def _written(slot: str, composition: Composed) -> Composed:
    """Returns what the chosen option of a slot writes into a configuration, and its choices."""
    config, choices = composition
    named = {name: o for name, o in choices.items() if name == slot or (slot in STAGED and "@stages." in name)}
    if slot == "transfer":
        named = {name: o for name, o in named.items() if name == slot or "transfer@stages." in name}
    return {key: config.get(key) for key in STAGED.get(slot, (slot,))}, named
