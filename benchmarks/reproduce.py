"""The reproduction queue: trains the published methods that have no run yet on CIFAR100-LT, in the order of their worth, and
writes the pages that compare our numbers with the published ones.

    python benchmarks/reproduce.py --data data [--time 3600] [KEY=VALUE ...]
    python benchmarks/reproduce.py --take reproduction.json        # takes in the runs of another machine, or of a folder

The queue runs at the lowest priority and may be stopped at any moment, by Ctrl-C, kill or kill -9: the same command resumes.
When a run ends, benchmarks/results/reproduction.json keeps its record, and the two pages of docs/ are written: reproduction.md
and methods.md.
KEY=VALUE changes the recipe: epochs=20 is the short form, which trains the best-known methods unless --methods names others.
Keys of `runtime` choose the device and the arithmetic.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
from contextlib import suppress
from pathlib import Path

from hydra.errors import HydraException
from omegaconf.errors import OmegaConfBaseException
from reproduction.background import step_back
from reproduction.literature import Literature, literature
from reproduction.page import page
from reproduction.queue import Queue, missing
from reproduction.records import Records

from ltrun.config import catalogue
from ltrun.config.compose import compose_job
from ltrun.config.explain import explained
from ltrun.config.presets import composing, words_of
from ltrun.config.published import recipes
from ltrun.engine.progress import show_log
from ltrun.errors import ConfigError, LtrunError, did_you_mean
from ltrun.machine import Terminated, terminate
from ltrun.report.methods_page import methods_page
from ltrun.report.preset_runs import accuracies, states
from ltrun.report.recipes_page import recipe_tables
from ltrun.report.records import records_at
from ltrun.results.atomic import write_atomically
from ltrun.sweep.server import has_cuda

TOP = Path(__file__).resolve().parents[1]
GRACE = 15  # seconds before the limit in which running epochs are given up and the pages are written
DATASET = "dataset="
PACK = 4  # runs at once on a GPU


class TimeIsOver(KeyboardInterrupt):
    """Raised when --time is over. Running trainings keep their last finished epoch."""


def main() -> int:
    published = literature()
    asked = _parser(published).parse_intermixed_args()
    kept = Records((asked.into or TOP / "benchmarks" / "results") / "reproduction.json")
    pages = asked.into or TOP / "docs"
    if not asked.take:
        step_back(asked.nice)
    signal.signal(signal.SIGTERM, terminate)
    try:
        with composing():
            _check(asked, published)
            code = _take(asked, published, kept) if asked.take else _train(asked, published, kept, pages)
            _show(published, kept, pages)
    except (HydraException, OmegaConfBaseException, LtrunError) as error:
        print(f"reproduce: {explained(error, asked.words)}", file=sys.stderr)
        return 1
    except KeyboardInterrupt as interruption:
        print("reproduce: interrupted; the same command resumes", file=sys.stderr)
        return 128 + (signal.SIGTERM if isinstance(interruption, Terminated) else signal.SIGINT)
    print(f"{pages / 'reproduction.md'} and {pages / 'methods.md'} are written")
    return code


def _parser(published: Literature) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--data", default="data", metavar="DIR", help="folder with all of CIFAR-100, or with an export; default: data"
    )
    parser.add_argument(
        "--methods", type=str.split, help="default: all methods of published.json; with epochs=N the best-known"
    )
    parser.add_argument("--seeds", type=str.split, default=["0", "1", "2"], help="default: '0 1 2'")
    parser.add_argument("--device", default="auto", choices=["auto", "cpu", "cuda"], help="default: auto")
    parser.add_argument("--pack", help=f"runs at once; default: one a core, on a GPU {PACK}")
    parser.add_argument("--time", type=float, metavar="SECONDS", help="stop before this many seconds have passed")
    parser.add_argument(
        "--nice", type=int, default=19, choices=range(20), metavar="N", help="0 to 19, the lowest priority (default)"
    )
    parser.add_argument("--take", type=Path, nargs="+", metavar="PLACE", help="train nothing; take in runs from elsewhere")
    parser.add_argument("--into", type=Path, metavar="DIR", help="write records and pages there, not into the checkout")
    parser.add_argument("words", nargs="*", metavar="KEY=VALUE", help="changes of the recipe, such as epochs=20")
    return parser


def _check(asked: argparse.Namespace, published: Literature) -> None:
    for name in asked.methods or ():
        if name not in published.methods:
            raise ConfigError(f"--methods: published.json has no '{name}'{did_you_mean(name, published.methods)}")
    for seed in asked.seeds:
        if not seed.isdecimal():
            raise ConfigError(f"--seeds: expected whole numbers, as in '0 1 2', got '{seed}'")


def _take(asked: argparse.Namespace, published: Literature, kept: Records) -> int:
    """Takes in the runs of published methods on the data set of the literature, and prints how many stay out."""
    found = [run for place in asked.take for run in records_at(place)[0]]
    ours = [run for run in found if run.method in published.methods and run.dataset == _dataset(asked, published)]
    print(
        f"{len(found)} runs: {kept.take(ours)} are new, {len(found) - len(ours)} are of other methods or data sets and stay out"
    )
    return 0


def _train(asked: argparse.Namespace, published: Literature, kept: Records, pages: Path) -> int:
    """Trains until all is done or the time is over, and writes the pages after each run."""
    show_log()
    os.environ["LTRUN_DATA"] = str(Path(asked.data).expanduser().resolve())
    os.environ.setdefault("LTRUN_OUTPUTS", str(Path("outputs") / "reproduction"))
    print("reading the recipes of the missing trainings", flush=True)  # a minute at the lowest priority beside other work
    queue = Queue(_commands(asked, published, kept), kept, lambda: _show(published, kept, pages))
    print(f"{len(queue.commands)} trainings are missing; this is process {os.getpid()}", flush=True)
    with suppress(TimeIsOver):
        if asked.time is not None:
            signal.signal(signal.SIGALRM, _end)
            signal.setitimer(signal.ITIMER_REAL, max(asked.time - GRACE, 1))
        queue.train()
        signal.setitimer(signal.ITIMER_REAL, 0)
    return queue.conclude()


def _end(*_: object) -> None:
    raise TimeIsOver


def _commands(asked: argparse.Namespace, published: Literature, kept: Records) -> list[list[str]]:
    short = any(word.startswith("epochs=") for word in asked.words)
    methods = asked.methods or (published.best_known if short else published.methods)
    words = (*asked.words, *_runtime(asked))
    jobs = {name: compose_job(words_of(name, published.dataset, words)) for name in methods}
    banded = {name for name in methods if published.methods[name].band}
    return missing(jobs, [int(seed) for seed in asked.seeds], kept.runs(), banded)


def _dataset(asked: argparse.Namespace, published: Literature) -> str:
    return next((word.removeprefix(DATASET) for word in asked.words if word.startswith(DATASET)), published.dataset)


def _show(published: Literature, kept: Records, pages: Path) -> None:
    """Writes both pages from the same records, so that they agree."""
    runs = kept.runs()
    write_atomically(pages / "reproduction.md", page(published, runs).encode())
    ours = accuracies(runs, [preset.name for preset in catalogue.options("method")])
    large = recipe_tables(states(runs, recipes()))
    write_atomically(pages / "methods.md", methods_page(ours=ours, large=large).encode())


def _runtime(asked: argparse.Namespace) -> list[str]:
    """Keys of `runtime` that the command line leaves open: tf32 on a GPU, bf16 on a processor that multiplies it, else fp32."""
    cuda = asked.device == "cuda" or (asked.device == "auto" and has_cuda())
    own = {"device": "cuda" if cuda else "cpu", "pack": asked.pack or (str(PACK) if cuda else "auto")}
    own |= {"precision": "tf32"} if cuda else {"precision": "bf16" if _has_bf16() else "fp32", "threads": "1"}
    said = {word.partition("=")[0] for word in asked.words}
    return [f"runtime.{key}={value}" for key, value in own.items() if f"runtime.{key}" not in said]


def _has_bf16() -> bool:
    import torch

    from ltrun.engine.precision import has_bf16

    return has_bf16(torch.device("cpu"))


if __name__ == "__main__":
    sys.exit(main())
