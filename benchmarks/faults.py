"""Faults of machines during a sweep on digits_lt: does the same command then end with the bits of an undisturbed sweep?

    python benchmarks/faults.py --json benchmarks/results/faults-cpu2.json       # about 25 minutes on two cores
    python benchmarks/faults.py --smoke                                          # two moments of each signal

SIGKILL and SIGTERM at random moments, uniform over the duration of the undisturbed sweep; damaged checkpoints; a full disk (a
tmpfs, so as root); a decoding process that dies; two terminals with one sweep; files that cannot be locked. Each case ends
with the command of its beginning, whose metrics, predictions and models are compared bit for bit.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from common import CPU, Record, arguments
from sweeps import ALONE, PATIENCE, PHOTOS, SWEEP, UNLOCKABLE, Forked, differences, ended, epochs, group, orphans, start, twice

# ------------------------------------------------------------------------------------------------------------------ faults


def signalled(
    where: Path, reference: Path, duration: float, number: int, sent: signal.Signals, minutes: float
) -> dict[str, Any]:
    """Sends a signal at random moments of a sweep, and gives the command again each time; a new sweep when one is done."""
    draw, hits, wrong, left, seconds, codes, sweeps, training = random.Random(0), 0, [], 0, [], Counter[int](), 0, 0
    stuck = 0
    end = time.monotonic() + minutes * 60
    while hits < number and time.monotonic() < end:
        sweeps += 1
        outputs = where / f"{sent.name}{sweeps}"
        while hits < number and time.monotonic() < end:
            before, process = epochs(outputs), Forked(SWEEP, outputs, where / "said")
            if process.wait(draw.uniform(0, duration)):
                break
            whole = sent is signal.SIGKILL and hits % 2 == 1  # the command alone, or all of its processes
            began = time.monotonic()
            (os.killpg if whole else os.kill)(process.pid, sent)
            stuck += not process.wait(PATIENCE)
            seconds.append(round(time.monotonic() - began, 2))
            codes[process.returncode] += 1
            hits += 1
            training += epochs(outputs) > before
            left += orphans(process.pid)
        last = Forked(SWEEP, outputs, where / "said")
        stuck += not last.wait(PATIENCE)
        wrong += differences(reference, outputs)
        wrong += [] if last.returncode == 0 else [f"exit code {last.returncode}: {(where / 'said').read_text()[-300:]}"]
        shutil.rmtree(outputs)
        print(f"{sent.name}: {hits} of {number}, {sweeps} sweeps, {len(wrong)} differences", flush=True)
    found = {
        "moments": hits,
        "of_them_after_an_epoch": training,
        "sweeps": sweeps,
        "differences": wrong,
        "processes_left": left,
        "stuck": stuck,
        "exit_codes": dict(codes),
    }
    return found | {"slowest_exit_seconds": max(seconds)}


def damaged(where: Path, reference: Path, smoke: bool) -> dict[str, Any]:
    """Damages the newest checkpoint of an interrupted run, then both."""
    outputs = where / "interrupted"
    process = start(ALONE, outputs)
    while sum(1 for _ in outputs.rglob("*.pt")) < 2 and process.poll() is None:
        time.sleep(0.02)
    process.terminate()
    process.communicate(timeout=PATIENCE)
    ways: dict[str, Callable[[bytes], bytes]] = {
        **{f"truncated to {share:.0%}": (lambda data, share=share: data[: int(len(data) * share)]) for share in (0, 0.01, 0.5)},
        "truncated by 1 byte": lambda data: data[:-1],
        "truncated to 1 byte": lambda data: data[:1],
        "a flipped byte": lambda data: data[: len(data) // 2] + bytes([data[len(data) // 2] ^ 1]) + data[len(data) // 2 + 1 :],
        "zeros": lambda data: bytes(len(data)),
    }  # type: ignore[misc]
    found: dict[str, Any] = {}
    for name, way in list(ways.items())[: 2 if smoke else None]:
        copy = shutil.copytree(outputs, where / "damaged")
        file = newest(copy)
        file.write_bytes(way(file.read_bytes()))
        code, said = ended(ALONE, copy)
        equal = not differences(copy, reference)
        found[name] = {"exit_code": code, "bit_equal": equal, "warned": "is damaged; resuming from" in said}
        shutil.rmtree(copy)
    copy = shutil.copytree(outputs, where / "damaged")
    for file in copy.rglob("*.pt"):
        file.write_bytes(b"")
    code, said = ended(ALONE, copy)
    found["every checkpoint empty"] = {"exit_code": code, "said": said.strip().splitlines()[-1].replace(str(copy), "outputs")}
    shutil.rmtree(copy)
    return found


def newest(outputs: Path) -> Path:
    (manifest,) = outputs.rglob("checkpoints.json")
    return manifest.with_name(json.loads(manifest.read_text())["checkpoints"][0]["file"])


def full_disk(where: Path, reference: Path, smoke: bool) -> dict[str, Any]:
    """Leaves so many bytes of a disk; then frees the disk."""
    found: dict[str, Any] = {}
    for free in (2**16,) if smoke else (2**12, 2**16, 2**19, 2**20, 3 * 2**19):
        disk = where / "disk"
        disk.mkdir(exist_ok=True)
        if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=16m", "tmpfs", disk], capture_output=True).returncode:
            return {"skipped": "a small tmpfs needs root"}
        try:
            filler = disk / "filler"
            filler.write_bytes(bytes(2**24 - free))
            code, said = ended(ALONE, disk / "out")
            sentence = said.strip().splitlines()[-1].replace(str(disk), "DISK")
            filler.unlink()
            again, _ = ended(ALONE, disk / "out")
            equal = not differences(disk / "out", reference)
            found[f"{free:,} bytes free"] = {
                "exit_code": code, "traceback": "Traceback" in said, "said": sentence, "again": again, "bit_equal": equal
            }  # fmt: skip
        finally:
            subprocess.run(["umount", disk], check=False)
    return found


def decoder(where: Path, number: int) -> dict[str, Any]:
    """Kills a process that decodes images while a run trains."""
    from PIL import Image

    draw, photos = np.random.default_rng(0), where / "photos"
    for name, images in {"ant": 60, "bee": 24, "cat": 12}.items():
        (photos / name).mkdir(parents=True)
        for i in range(images):
            Image.fromarray(draw.integers(0, 255, (48, 48, 3), dtype=np.uint8)).save(photos / name / f"{i}.png")
    words = (*PHOTOS, f"dataset.root={photos}")
    assert ended(words, where / "decoded")[0] == 0
    outputs, codes, tracebacks, seconds, said = where / "killed", Counter[int](), 0, [], ""
    for _ in range(number):
        before = epochs(outputs)
        process = start(words, outputs)
        while epochs(outputs) <= before and process.poll() is None:
            time.sleep(0.01)
        tree = group(process.pid)
        leaves = [child for child in tree if child not in tree.values() and child != process.pid]
        decoders = [child for child in leaves if b"resource_tracker" not in Path(f"/proc/{child}/cmdline").read_bytes()]
        if decoders:
            os.kill(decoders[-1], signal.SIGKILL)
        began = time.monotonic()
        output, errors = process.communicate(timeout=PATIENCE)
        seconds.append(round(time.monotonic() - began, 2))
        codes[process.returncode] += 1
        tracebacks += "Traceback" in output + errors
        said = (output + errors).strip().splitlines()[-1]
    again, _ = ended(words, outputs)
    equal = not differences(where / "decoded", outputs)
    return {"kills": number, "exit_codes": dict(codes), "tracebacks": tracebacks, "slowest_exit_seconds": max(seconds),
            "said": said, "again": again, "bit_equal": equal}  # fmt: skip


def two_terminals(where: Path, reference: Path, unlockable: str = "") -> dict[str, Any]:
    """Gives the same sweep in two terminals at once. unlockable: the error of every attempt to lock a file."""
    outputs, more = where / f"two{unlockable}", {}
    if unlockable:
        patch = where / unlockable
        patch.mkdir()
        (patch / "sitecustomize.py").write_text(UNLOCKABLE.format(name=unlockable))
        more = {"PYTHONPATH": os.pathsep.join([str(patch), os.environ.get("PYTHONPATH", "")])}
    both = [start(SWEEP, outputs, **more) for _ in range(2)]
    said = [" ".join(process.communicate(timeout=PATIENCE)) for process in both]
    trained = [sum("/4 " in line and " | all " in line for line in text.splitlines()) for text in said]
    again, _ = ended(SWEEP, outputs, **more)
    warned = [text.count("cannot be locked") for text in said]
    return {"exit_codes": [process.returncode for process in both], "trained": trained, "epochs_twice": twice(outputs),
            "tracebacks": sum("Traceback" in text for text in said), "warned": warned, "again": again,
            "bit_equal": not differences(reference, outputs)}  # fmt: skip


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--terms", type=int, default=20)
    parser.add_argument("--minutes", type=float, default=600, help="after so many minutes of a signal no further one is sent")
    parser.add_argument("--cases", type=lambda text: text.split(","), metavar="NAME,...", help="these faults only")
    args = parser.parse_args()
    kills, terms = (2, 2) if args.smoke else (args.kills, args.terms)
    torch.set_num_threads(1)  # no threads that a fork would lose
    record = Record("faults", args, CPU)
    with tempfile.TemporaryDirectory() as folder:
        where = Path(folder)
        reference, began = where / "undisturbed", time.monotonic()
        code, said = ended(SWEEP, reference)
        assert code == 0, said
        duration = time.monotonic() - began
        again = Forked(SWEEP, where / "forked", where / "said")
        began = time.monotonic()
        assert again.wait(PATIENCE) and not differences(reference, where / "forked"), (where / "said").read_text()
        forked = time.monotonic() - began
        record.result(
            undisturbed={
                "seconds": round(duration, 1),
                "seconds_in_a_fork": round(forked, 1),
                "runs": sum(1 for _ in reference.rglob("result.json")),
            }
        )
        cases: dict[str, Callable[[], dict[str, Any]]] = {
            "damaged_checkpoint": lambda: damaged(where, reference, args.smoke),
            "full_disk": lambda: full_disk(where, reference, args.smoke),
            "decoding_process": lambda: decoder(where, 1 if args.smoke else 5),
            "two_terminals": lambda: two_terminals(where, reference),
            "no_locks_ENOLCK": lambda: two_terminals(where, reference, "ENOLCK"),
            "no_locks_ENOTSUP": lambda: two_terminals(where, reference, "ENOTSUP"),
            "SIGTERM": lambda: signalled(where, reference, forked, terms, signal.SIGTERM, args.minutes),
            "SIGKILL": lambda: signalled(where, reference, forked, kills, signal.SIGKILL, args.minutes),
        }
        for name, case in cases.items():
            if args.cases and name not in args.cases:
                continue
            found = case()
            record.result(**{name: found})
            print(f"{name}: {json.dumps(found, indent=1)}", flush=True)
    record.close()


if __name__ == "__main__":
    main()
