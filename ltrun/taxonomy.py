"""The groups of the configuration: taxonomy family = Python package = Hydra group = slot."""

STAGE_SLOTS = (
    "resampling", "reweighting", "margin", "logit_adjustment", "augmentation", "representation", "classifier", "ensemble",
)  # fmt: skip  # what every stage has, in the order in which they contribute
SLOTS = (*STAGE_SLOTS, "decoupling", "posthoc")
SETTINGS = ("network", "optimizer", "schedule")
GROUPS = ("method", "dataset", *SLOTS, *SETTINGS)
