"""Files of pre-trained weights: where they lie, their SHA-256, and the tensors in them. Looks here before it downloads."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import http.client
import json
import os
import re
import urllib.request
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ltrun.data.cache import cache_folder
from ltrun.errors import ConfigError, TrainingError, did_you_mean
from ltrun.machine import at_home
from ltrun.network.run_weights import RUN, backbone_in, of_run
from ltrun.parts import Backbone
from ltrun.results import tensors as saved
from ltrun.results.atomic import appearing, write_atomically

KEY = "network.weights"
DIGITS = 8  # hex digits of the SHA-256 that name a file of weights, as in torchvision's file names
NAMED = re.compile(rf"-([0-9a-f]{{{DIGITS}}})\.(?:pth|pt|safetensors)$")
HUB = re.compile(r"https://huggingface\.co/([^/]+/[^/]+)/resolve/main/(.+)")
WRAPPERS = (
    "state_dict", "model", "model_state_dict", "model_state", "network", "module",
)  # fmt: skip  # keys under which checkpoints hold the weights; the last two are ltrun's
HEADS = ("fc", "head", "heads", "classifier", "linear", "last_linear")  # names of classifiers in files of weights
TIMEOUT = 20  # seconds without an answer
STAMPS = "weights.json"  # in the cache: path -> stamp and SHA-256, so that a file is not hashed twice


def find(weights: str, published: Mapping[str, str], download: bool = False) -> Path:
    """Returns the file of weights: a path, a name in `published` (name -> URL), or a file name in torch's hub cache.

    Fetches published weights that are missing if `download` says so. Raises ConfigError for weights that are not here, with
    the places that were looked at, and for a file whose digits in the name are not those of its SHA-256.
    """
    if path := located(weights, published):
        digest = sha256(path)
        stated = NAMED.search(path.name)
        if (
            stated
            and not digest.startswith(stated[1])
            and (path.parent == hub() or path.name in map(file_of, published.values()))
        ):
            raise ConfigError(
                f"{KEY}: {path} is damaged or another file: its name says {stated[1]}, and its SHA-256 begins with "
                f"{digest[:DIGITS]}; remove it and get it again"
            )
        return path
    weights = weights.removeprefix(RUN)
    if "/" in weights or (weights not in published and not weights.endswith((".pth", ".pt", ".safetensors", ".bin"))):
        kept = (path.name for path in hub().glob("*") if path.suffix in (".pth", ".pt", ".safetensors"))
        near = "" if "/" in weights else did_you_mean(weights, {*published, *kept})
        raise ConfigError(f"{KEY}: there is no file {weights}{near or '; give the path of a file of weights, or null'}")
    url = published.get(weights) or next((url for url in published.values() if file_of(url) == weights), "")
    if download and url:
        return _fetched(url)
    cached = HUB.fullmatch(url)
    also = f", and for {cached[2]} of {cached[1]} in the cache of huggingface_hub" if cached else ""
    source = f" from {url}" if url else ""
    fetch = "; or fetch it with network.download=true" if url else ""
    raise ConfigError(
        f"{KEY}: {weights} is not here: looked for {file_of(url) or weights} in {hub()}{also}; put the file there{source}, or "
        f"give its path, {KEY}=PATH{fetch}"
    )


def file_for(network: type[Backbone], arguments: Mapping[str, Any]) -> Path | None:
    """Returns the file of weights that the arguments of a network name; None without weights. Raises ConfigError."""
    weights = arguments.get("weights")
    return None if weights is None else find(weights, network.published(arguments), bool(arguments.get("download")))


def located(weights: str, published: Mapping[str, str]) -> Path | None:
    """Returns the file of weights if it is on this machine."""
    weights = weights.removeprefix(RUN)
    path = Path(at_home(weights, KEY))
    if path.is_file() and weights not in published:
        return path.resolve()
    url = published.get(weights, "")
    kept = hub() / (file_of(url) or weights)
    if "/" not in weights and kept.is_file():
        return kept
    return _of_huggingface(url)


def hub() -> Path:
    """The folder in which torchvision, and ltrun, keep downloaded weights."""
    return Path(torch.hub.get_dir()) / "checkpoints"


def file_of(url: str) -> str:
    """Returns the name under which a published file is kept: `resnet50-0676ba61.pth`, `vit_tiny.augreg_in1k.safetensors`."""
    if of_hub := HUB.fullmatch(url):
        return of_hub[1].rpartition("/")[2] + Path(of_hub[2]).suffix
    return url.rpartition("/")[2]


def digits_of(weights: str, published: Mapping[str, str]) -> str | None:
    """Returns the digits that the name of a published file has; None if it has none."""
    files = {file_of(url) for url in published.values()}
    name = file_of(published[weights]) if weights in published else weights if weights in files else ""
    found = NAMED.search(name)
    return found[1] if found else None


def _of_huggingface(url: str) -> Path | None:
    if not (cached := HUB.fullmatch(url)):
        return None
    from huggingface_hub import try_to_load_from_cache

    names = dict.fromkeys((cached[2], "model.safetensors", "pytorch_model.bin"))
    paths = (try_to_load_from_cache(cached[1], name) for name in names)
    return next((Path(path) for path in paths if isinstance(path, str)), None)


def _fetched(url: str) -> Path:
    """Downloads a published file into torch's hub cache. Of several processes one downloads and the others wait."""
    path = hub() / file_of(url)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.with_name(f".{path.name}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if path.is_file():
                return path
            with appearing(path) as temporary:
                with urllib.request.urlopen(url, timeout=TIMEOUT) as response, temporary.open("xb") as file:
                    while block := response.read(1 << 20):
                        file.write(block)
                stated = NAMED.search(path.name)
                if stated and not sha256(temporary).startswith(stated[1]):
                    raise OSError("the answer is another file: its SHA-256 is not the one in its name")
            return path
    except (OSError, http.client.HTTPException) as error:
        reason = getattr(error, "reason", None) or error  # urllib's errors wrap the informative one
        raise ConfigError(
            f"{KEY}: {url} could not be fetched ({reason}); put the file into {path.parent}, or give its path, {KEY}=PATH"
        ) from None


def sha256(path: Path) -> str:
    """Returns the SHA-256 of a file in hex digits. A file that has not changed since is not read again."""
    known = cache_folder()
    store = None if known is None else known / STAMPS
    held: dict[str, Any] = {}
    with contextlib.suppress(OSError, ValueError, AttributeError):
        held = dict(json.loads(store.read_bytes()).items()) if store else {}
    try:
        state = path.stat()
        stamp = [state.st_size, state.st_mtime_ns, state.st_ctime_ns, state.st_ino]
        entry = held.get(str(path))
        if isinstance(entry, list) and entry[:-1] == stamp:
            return str(entry[-1])
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise ConfigError(f"{KEY}: {path} cannot be read: {error.strerror or error}") from None
    if store is not None:
        here = {name: value for name, value in held.items() if os.path.exists(name)}  # noqa: PTH110
        with contextlib.suppress(TrainingError):
            write_atomically(store, json.dumps(here | {str(path): [*stamp, digest]}).encode())
    return digest


def read(path: Path) -> dict[str, Tensor]:
    """Returns name -> tensor of a .pth or .safetensors file, on the CPU, without running code that the file may hold.

    Takes the weights out of the wrappers of checkpoints and of DataParallel. Raises ConfigError for any other file.
    """
    try:
        with path.open("rb") as file:
            start = file.read(64).lstrip()
        if not start:
            raise ConfigError(f"{KEY}: {path} is empty; get the file again")
        if start.startswith(b"<"):
            raise ConfigError(f"{KEY}: {path} is a web page, which a server sent in place of the weights; get the file again")
        if start.startswith(b"version https://git-lfs"):
            raise ConfigError(f"{KEY}: {path} is a pointer of Git LFS, not the weights; get the file itself, with git lfs pull")
        content = _content(path)
    except ConfigError:
        raise
    except Exception as error:  # a file of another kind makes torch and safetensors raise errors of any class
        told = str(error).strip().partition("\n")[0].partition(". ")[0][:120]
        reason = f"holds no plain weights ({told})"
        if "TorchScript" in str(error):
            reason = "is a TorchScript archive, which holds code"
        elif told == "Weights only load failed":
            reason = "holds more than tensors, such as a whole model, and reading it could run code; save its state_dict()"
        raise ConfigError(f"{KEY}: {path} {reason}; give a .pth or .safetensors file of tensors") from None
    while isinstance(content, Mapping) and (inner := next((key for key in WRAPPERS if _wraps(content, key)), None)):
        content = content[inner]
    tensors = {str(k): v for k, v in content.items() if isinstance(v, Tensor)} if isinstance(content, Mapping) else {}
    if not tensors:
        kind = f"the keys {', '.join(map(str, list(content)[:5]))}" if isinstance(content, Mapping) else type(content).__name__
        raise ConfigError(f"{KEY}: {path} holds no weights, but {kind}; give a file that maps names to tensors")
    whole = all(name.startswith("module.") for name in tensors)
    return {name.removeprefix("module."): tensor for name, tensor in tensors.items()} if whole else tensors


def _wraps(content: Mapping[str, Any], key: str) -> bool:
    return isinstance(content.get(key), Mapping)


def _content(path: Path) -> Any:
    if path.suffix == ".safetensors":
        try:
            from safetensors.torch import load_file
        except ImportError:
            raise ConfigError(f"{KEY}: {path} needs safetensors: pip install 'ltrun[pretrained]'") from None
        return load_file(path)
    return saved.read(path)


def classifier_of(tensors: Mapping[str, Tensor]) -> tuple[str, int] | None:
    """Returns the name and the classes of the classifier in a file of weights."""
    found = ((name, len(tensor)) for name, tensor in tensors.items() if tensor.ndim == 2 and name.endswith(".weight"))
    return next((pair for pair in found if {*pair[0].split(".")} & {*HEADS}), None)


def opened(weights: str, stated: str | None, download: bool, published: Mapping[str, str]) -> tuple[Path, dict[str, Tensor]]:
    """Returns the file of weights and its tensors. stated: the first digits of its SHA-256, or None. Raises ConfigError."""
    path = find(weights, published, download)
    agreed(sha256(path), stated, path)
    return path, backbone_in(read(path), path) if of_run(weights) else read(path)


def agreed(digest: str, stated: str | None, path: Path) -> str:
    """Returns the first digits of a SHA-256. Raises ConfigError if it does not begin with the stated digits."""
    if stated and not digest.startswith(stated):
        raise ConfigError(
            f"{KEY}: {path} is another file than the run's: its SHA-256 begins with {digest[: len(stated)]}, not with "
            f"network.sha256={stated}; give the right file, or leave network.sha256 out"
        )
    return digest[:DIGITS]


def load(network: nn.Module, tensors: Mapping[str, Tensor], path: Path) -> None:
    """Copies weights into a network of the same names. The names may have a prefix, and the file further modules.

    Raises ConfigError, which names the first keys that are missing, too many, or of another shape.
    """
    own = network.state_dict()
    given = _without_prefix(tensors, own)
    needed = [name for name in own if not name.endswith("num_batches_tracked")]
    refuse_misfit(
        path,
        [name for name in needed if name not in given],
        [name for name in given if name not in own and name.partition(".")[0] in dict(network.named_children())],
    )
    for name in needed:
        if given[name].shape != own[name].shape:
            shapes = f"{tuple(given[name].shape)}, and {tuple(own[name].shape)} in this network"
            channels = "; weights for colour images do not fit grey ones" if _first(name, given, own) else ""
            raise ConfigError(f"{KEY}: {path.name} is for another network: {name} has the shape {shapes}{channels}")
    network.load_state_dict({name: given.get(name, tensor) for name, tensor in own.items()})


def refuse_misfit(path: Path, missing: Iterable[str], unexpected: Iterable[str]) -> None:
    """Raises ConfigError for weights that are missing in a file, or that the network does not have."""
    told = [_few(names, what) for names, what in ((list(missing), "lacks"), (list(unexpected), "has")) if names]
    if told:
        raise ConfigError(
            f"{KEY}: {path.name} is for another network: it {' and '.join(told)}; choose the network that it is for"
        )


def _few(names: list[str], what: str) -> str:
    more = f" and {len(names) - 2} more" if len(names) > 2 else ""
    return f"{what} {', '.join(names[:2])}{more}"


def _first(name: str, given: Mapping[str, Tensor], own: Mapping[str, Tensor]) -> bool:
    """Whether the shapes of the first convolution differ in the channels of images alone."""
    mine, theirs = tuple(own[name].shape), tuple(given[name].shape)
    return name == next(iter(own)) and mine[:1] + mine[2:] == theirs[:1] + theirs[2:]


def _without_prefix(tensors: Mapping[str, Tensor], own: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Returns the tensors below the prefix, such as `backbone.`, under which a file has most names of a network."""
    first = next(iter(own))
    prefixes = [name.removesuffix(first) for name in tensors if name == first or name.endswith(f".{first}")] or [""]
    best = max(prefixes, key=lambda prefix: sum(f"{prefix}{name}" in tensors for name in own))
    return {name.removeprefix(best): tensor for name, tensor in tensors.items() if name.startswith(best)}
