"""What stored predictions say: metrics of classes, calibration, test sets of other class distributions. Needs no torch."""
