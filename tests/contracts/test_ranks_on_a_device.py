"""Two ranks on an imagined GPU: the bits of two ranks on CPUs, in steps that never wait for the device."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(torch.cuda.is_available(), reason="there is a real CUDA device"),
]
PRESETS = ["erm", "paco", "meta_weight_net"]


def test_two_ranks_on_a_device_have_the_bits_of_two_ranks_on_cpus(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tests.support.ranks_on_device", str(tmp_path / "store"), str(tmp_path)]
    ranks = [
        subprocess.Popen([*command, rank, *PRESETS], stdout=subprocess.PIPE, stderr=subprocess.STDOUT) for rank in ("0", "1")
    ]
    told = [process.communicate()[0].decode() for process in ranks]
    assert [process.returncode for process in ranks] == [0, 0], "\n".join(told)
    for rank in ("0", "1"):
        found = json.loads((tmp_path / f"{rank}.json").read_bytes())
        same, theirs, lost, masked, count, ours = found.pop("agree")
        assert found == {preset: [] for preset in PRESETS}
        assert same == "" and ours == "[1.0, 1.0, 1.0]", "roundings are those of rank 0"
        assert (theirs, lost, count) == ("'theirs'", "'lost'", "'count'")
        assert masked == "'masked'", "values that are not finite hide no other"
