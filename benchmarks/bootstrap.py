"""The bootstrap of `ltrun compare` against a plain loop over resamples, in one process.

    python benchmarks/bootstrap.py --json benchmarks/results/bootstrap.json --check bootstrap=5 precision=2

10,000 test images of 100 classes, 10,000 resamples, for 2, 3, 5 and 10 seeds, and for weighted images (unequal classes). Both
must give the same variance of the images within the noise of their resamples. For mean average precision, a run of COCO-LT's
shape (5,000 test images, 80 classes, several labels): derivatives, which draw nothing, against 1,000 weights of the images that
are drawn one after the other. Seconds are of the CPU, all threads together; the loops are timed over a hundredth of the
resamples. The last line is `seconds bootstrap=... precision=...`, the slowest of each; `--check` fails above a limit.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence

import numpy as np
from common import Record, arguments, prepared, unmet
from numpy.typing import NDArray

from ltrun.statistics.bootstrap import RESAMPLES, of_means
from ltrun.statistics.precision import precision_by_image

IMAGES, CLASSES, SHARE = 10_000, 100, 100
SEVERAL = 5000  # test images of COCO-LT
Values = NDArray[np.float64]


def main(argv: Sequence[str] | None = None) -> int:
    parser = arguments(__doc__)
    parser.add_argument(
        "--check", nargs="+", default=[], metavar="NAME=SECONDS", help="exit code 1 above: bootstrap=5 precision=2"
    )
    args = parser.parse_args(argv)
    record = Record("bootstrap", args, prepared(args))
    print(record.title)
    resamples = RESAMPLES // (20 if args.smoke else 1)
    cases = {f"{seeds} seeds": apart(seeds) for seeds in (2, 3, 5, 10)}
    cases["3 seeds, weighted"] = cases["3 seeds"] * np.repeat(np.linspace(0.5, 2, CLASSES), IMAGES // CLASSES)
    slowest = 0.0
    for name, values in cases.items():
        seconds = [fastest(lambda v=values: of_means(v, resamples), args.repeats)]  # type: ignore[misc]
        seconds.append(SHARE * fastest(lambda v=values: plain(v, resamples // SHARE), 1))  # type: ignore[misc]
        ratio = of_means(values, resamples).images / plain(values, resamples // SHARE + 100)
        if not 0.6 < ratio < 1.6:
            raise SystemExit(f"{name}: the variances differ: {ratio:.2f}")
        slowest = max(slowest, seconds[0])
        print(f"{name}: {seconds[0]:.2f} s, plain loop {seconds[1]:.1f} s, {seconds[1] / seconds[0]:.1f} times")
        record.result(**{name: {"bootstrap": seconds[0], "plain": seconds[1]}})
    derived = precision(record, args.smoke, args.repeats)
    record.close()
    print(f"seconds bootstrap={slowest:.2f} precision={derived:.2f}")
    return unmet(args.check, {"bootstrap": slowest, "precision": derived}, below=False)


def precision(record: Record, smoke: bool, repeats: int) -> float:
    """Returns the seconds of the derivatives of mean average precision."""
    classes, drawn = 80 // (20 if smoke else 1), 1000
    rng = np.random.default_rng(0)
    labels = rng.random((SEVERAL, classes)) < 0.15 / np.arange(1, classes + 1) ** 0.5
    scores = (rng.normal(size=labels.shape) + 2 * labels).astype(np.float32)

    def derived() -> Values:
        return np.asarray(sum(precision_by_image(scores[:, c], labels[:, c])[1] for c in range(classes)) / classes)

    weights = rng.standard_exponential((drawn // SHARE, SEVERAL))
    by_weight = [weighted(scores, labels, each) for each in weights]
    seconds = [fastest(derived, repeats), SHARE * fastest(lambda: [weighted(scores, labels, each) for each in weights], 1)]
    more = [*by_weight, *(weighted(scores, labels, each) for each in rng.standard_exponential((200, SEVERAL)))]
    if not 0.6 < (ratio := float((derived() ** 2).sum()) / np.var(more)) < 1.6:
        raise SystemExit(f"mean average precision: the variances differ: {ratio:.2f}")
    print(f"{classes} classes: {seconds[0]:.2f} s, drawn weights {seconds[1]:.1f} s, {seconds[1] / seconds[0]:.0f} times")
    record.result(**{f"precision, {classes} classes": {"derivatives": seconds[0], "drawn": seconds[1]}})
    return seconds[0]


def weighted(scores: NDArray[np.float32], labels: NDArray[np.bool_], weights: Values) -> float:
    """Returns the mean average precision of weighted images."""
    order = np.argsort(-scores, axis=0)
    ranked = weights[order]
    hits = ranked * np.take_along_axis(labels, order, 0)
    return float(((hits * hits.cumsum(0) / ranked.cumsum(0)).sum(0) / hits.sum(0)).mean())


def apart(seeds: int) -> Values:
    """Returns (n, N) differences of hits of two made methods."""
    rng = np.random.default_rng(seeds)
    chance = rng.beta(0.6, 0.6, IMAGES)
    one, other = ((rng.random((seeds, IMAGES)) < chance + more).astype(np.float64) for more in (0.02, 0.0))
    return one - other


def plain(values: Values, resamples: int) -> float:
    """Returns the variance of the mean over resamples that are drawn image by image, one after the other."""
    rng = np.random.default_rng(0)
    means = [values[:, rng.integers(0, IMAGES, IMAGES)].mean() for _ in range(resamples)]
    return float(np.var(means))


def fastest(call: Callable[[], object], repeats: int) -> float:
    """Returns the CPU seconds of the fastest of some calls."""
    taken = []
    for _ in range(repeats):
        start = time.process_time()
        call()
        taken.append(time.process_time() - start)
    return min(taken)


if __name__ == "__main__":
    sys.exit(main())
