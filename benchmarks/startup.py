"""Start-up time of commands: wall-clock seconds, beside the start-up of Python and torch alone.

    python benchmarks/startup.py --json benchmarks/results/startup.json --check help=0.3

`step` is `ltrun` from the command to the end of its first training step: ResNet-8, batches of 16, random images. `report` reads
1,000 runs of 100 classes and writes Markdown. The last line is `seconds help=... methods=... report=... step=...`.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

from common import Record, arguments, prepared, unmet
from scale import write_runs
from subject import LTRUN, RANDOM_IMAGES, SOURCE, runtime, sized
from timing import alternate

RUNS = 1_000


def main(argv: Sequence[str] | None = None) -> int:
    parser = arguments(__doc__)
    parser.add_argument("--check", nargs="+", default=[], metavar="NAME=SECONDS", help="exit code 1 above a limit: help=0.3")
    args = parser.parse_args(argv)
    device = prepared(args)
    record = Record("startup", args, device)
    print(record.title)
    step = [*RANDOM_IMAGES, f"{SOURCE}._target_=stand_ins.UntilFirstStep", *sized(100, 20), "dataset.imbalance=10"]
    step += ["network=resnet8", "batch_size=16", *runtime(args)]
    with tempfile.TemporaryDirectory(prefix="ltrun-benchmark-") as folder:
        write_runs(Path(folder) / "runs", 20 if args.smoke else RUNS, classes=100)
        commands = {
            "python": [sys.executable, "-c", "pass"],
            "torch": [sys.executable, "-c", "import torch"],
            "help": [*LTRUN, "--help"],
            "methods": [*LTRUN, "methods"],
            "report": [*LTRUN, "report", f"{folder}/runs", "--markdown"],
            "step": [*LTRUN, *step, f"outputs={folder}/step", "force=true"],
        }
        sides = {name: command(words) for name, words in commands.items()}
        times = alternate(sides, args.repeats, device, record.times, commands=True)
    seconds = {name: side.median for name, side in times.items()}
    record.result(seconds=seconds)
    for name, side in times.items():
        print(
            f"{name:8} {side.median:6.2f} s, at best {min(side.seconds):.2f} s, {side.median / seconds['torch']:.2f} of torch's"
        )
    record.close()
    print("seconds " + " ".join(f"{name}={seconds[name]:.2f}" for name in ("help", "methods", "report", "step")))
    return unmet(args.check, seconds, below=False)


def command(words: Sequence[str]) -> Callable[[], None]:
    search = os.pathsep.join(filter(None, [str(Path(__file__).parent), os.environ.get("PYTHONPATH")]))

    def call() -> None:
        environment = os.environ | {"PYTHONPATH": search}
        done = subprocess.run(words, env=environment, capture_output=True, text=True, check=False)
        if done.returncode:
            sys.exit(f"{' '.join(words)} failed:\n{done.stdout}{done.stderr}")

    return call


if __name__ == "__main__":
    sys.exit(main())
