"""The bootstrap of `ltrun compare` against a plain loop over resamples, in one process.

    python benchmarks/bootstrap.py --json benchmarks/results/bootstrap.json --check bootstrap=5

10,000 test images of 100 classes, 10,000 resamples, for 2, 3, 5 and 10 seeds, and for weighted images (unequal classes). Both
must give the same variance of the images within the noise of their resamples. Seconds are of the CPU, all threads together; the
loop is timed over a hundredth of the resamples. The last line is `seconds bootstrap=...`, the slowest; `--check` fails above a
limit.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence

import numpy as np
from common import Record, arguments, prepared, unmet
from numpy.typing import NDArray

from ltrun.statistics.bootstrap import RESAMPLES, of_means

IMAGES, CLASSES, SHARE = 10_000, 100, 100
Values = NDArray[np.float64]


def main(argv: Sequence[str] | None = None) -> int:
    parser = arguments(__doc__)
    parser.add_argument("--check", nargs="+", default=[], metavar="NAME=SECONDS", help="exit code 1 above: bootstrap=5")
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
    record.close()
    print(f"seconds bootstrap={slowest:.2f}")
    return unmet(args.check, {"bootstrap": slowest}, below=False)


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
