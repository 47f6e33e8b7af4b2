"""Subjects of contracts, which are a package, its parts and its options; the contracts of each, and how they are run."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from ltrun.config import catalogue
from ltrun.contracts import device, files, heads, losses, package, presets, samplers, style, training
from ltrun.contracts.contract import Contract, require, told
from ltrun.contracts.files import File
from ltrun.contracts.guard import Overdue, guarded
from ltrun.contracts.library import Choice, Library
from ltrun.contracts.package import Package
from ltrun.errors import ConfigError
from ltrun.taxonomy import GROUPS


@dataclass(frozen=True)
class Subject:
    """name: as a user writes it: mypackage, mypackage.CDT, margin=small. code: the folder or file of its package."""

    name: str
    contracts: Sequence[Contract]
    code: Path


@dataclass(frozen=True)
class Broken:
    """The name of a broken contract, and a sentence with the cause and the way out."""

    contract: str
    sentence: str


def subjects_of(found: Package, library: Library) -> Iterator[Subject]:
    """Yields the package, its parts and its options: for ltrun all of conf/, else the options in the folders of the library."""
    options = list(files_of(found, library))
    targets = {str(node["_target_"]) for file in options for _, node in _targets(file)}
    yield Subject(found.name, list(package.of_a_package(found, targets, library.folders)), found.code)
    for name, part in found.parts.items():
        yield Subject(name, list(style.of_a_part(part)), found.code)
    for file in options:
        choice = Choice(library, file.group, file.path.stem)
        yield Subject(choice.word, list(of_an_option(file, choice)), found.code)


def files_of(found: Package, library: Library) -> Iterator[File]:
    """Yields the files of options by group, presets last: for ltrun those of conf/, and all in the folders of the library."""
    own = [Path(str(catalogue.folders()[0])).resolve()] if found.name == "ltrun" else []
    for group in sorted((*GROUPS, "experiment"), key=lambda name: name in ("method", "experiment")):
        for folder in [*own, *library.folders]:
            yield from (File(library, path) for path in sorted((folder / group).glob("*.yaml")))


def _targets(file: File) -> Iterator[tuple[str, dict[str, object]]]:
    try:
        yield from files.targets_in(file.content)
    except ConfigError:  # a contract of the file reports it
        return


def of_an_option(file: File, choice: Choice) -> Iterator[Contract]:
    """Yields the contracts of an option: of its file, and of its parts in training."""
    if choice.group != "experiment":
        yield from files.of_a_file(file)
    yield Contract("the option composes, and each part fits its role", lambda: binds(choice), decisive=True)
    if choice.group == "dataset":
        yield Contract("a data set has the name of its file, and its class can be built", lambda: is_a_dataset(choice))
        return
    yield from training.of_a_training(choice)
    if choice.group == "method":
        yield from presets.of_a_preset(choice)
    if choice.group in losses.SLOTS and choice.name != "none":
        yield from losses.of_a_loss(choice)
    if choice.group == "resampling":
        yield from samplers.of_a_sampler(choice)
    if choice.group == "classifier":
        yield from heads.of_a_head(choice)
    if choice.group == "posthoc" and choice.name != "none":
        yield from heads.of_a_predictor(choice)
    yield from device.of_a_step(choice)


def binds(choice: Choice) -> None:
    """Composes the option and checks its values. Raises ConfigError."""
    choice.recipe.check_settings()


def is_a_dataset(choice: Choice) -> None:
    """Checks the name of a data set and its numbers per channel, and builds its class. Raises ConfigError too."""
    node = choice.config["dataset"]
    require(
        node["name"] == choice.name,
        f"{choice.word}: its file has 'name: {node['name']}', but results are filed under the name of the option; write "
        f"name: {choice.name}",
    )
    mean, std = (node["prepare"].get(key, ()) for key in ("mean", "std"))
    require(
        len(mean) == len(std) and len(mean) in (0, 1, 3),
        f"{choice.word}: dataset.prepare has {len(mean)} means and {len(std)} standard deviations; give one of each per "
        "channel, 1 or 3",
    )
    choice.recipe.dataset()


def broken_of(subject: Subject) -> Iterator[Broken | None]:
    """Runs the contracts of a subject. Yields None for each that holds; stops after a broken one that is decisive."""
    for contract in subject.contracts:
        sentence = broken(contract, subject.code)
        yield Broken(contract.name, sentence) if sentence else None
        if sentence and contract.decisive:
            return


def broken(contract: Contract, code: Path | None = None) -> str:
    """Runs a contract. Returns the sentence of its failure, or ''. code: the folder or file of the subject's package."""
    try:
        with guarded():
            contract.check()
    except KeyboardInterrupt:
        raise
    except (Exception, SystemExit, Overdue) as error:
        return told(error, code)
    return ""
