"""Contracts of a package: its import, its __all__, an option for every part, and files of options in known groups."""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import sys
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import ModuleType
from typing import Any

from ltrun.config.bind import public_name
from ltrun.contracts.contract import BrokenContract, Contract, require
from ltrun.contracts.guard import guarded
from ltrun.errors import did_you_mean
from ltrun.parts import Backbone, Part
from ltrun.taxonomy import GROUPS

CONF = "conf"  # the folder of options within a package
WITHOUT_OPTION = {"ltrun.network.Plain"}  # the network of a run whose options bring none


@dataclass(frozen=True)
class Package:
    """An imported package or single module. modules: the package and its modules. printed: output of importing them."""

    name: str
    modules: list[ModuleType]
    printed: str = ""

    @classmethod
    def opened(cls, name: str) -> Package:
        """Imports the package and all of its modules that may define parts. Raises any exception of that code."""
        with guarded() as printed:
            top = importlib.import_module(name)
            for inner in _inner(top):
                importlib.import_module(inner)
        below = (module for key, module in sorted(sys.modules.items()) if key.startswith(f"{name}."))
        return cls(name, [top, *(module for module in below if isinstance(module, ModuleType))], printed.getvalue())

    @property
    def code(self) -> Path:
        """The folder of the package, or the file of the module."""
        return code_of(self.name)

    @property
    def options(self) -> Path | None:
        """The folder of options within the package, if there is one."""
        folder = self.code / CONF
        return folder if folder.is_dir() else None

    @cached_property
    def parts(self) -> dict[str, type]:
        """Parts and backbones in `__all__` of the package and its subpackages, by the name to write as _target_."""
        found: dict[str, type] = {}
        for module in self._exporters():
            for name in getattr(module, "__all__", ()):
                value: Any = getattr(module, name, None)
                if is_part(value) and value.__module__.partition(".")[0] == self.name:
                    found.setdefault(f"{module.__name__}.{name}", value)
        shortest: dict[type, str] = {}
        for name in sorted(found, key=len):
            shortest.setdefault(found[name], name)
        return {name: part for part, name in sorted(shortest.items(), key=lambda item: item[1])}

    @cached_property
    def hidden(self) -> dict[str, type]:
        """Parts that a module defines and no `__all__` exports. Backbones are left out, and private names: such a class is a
        piece that another part builds."""
        exported = set(self.parts.values())
        return {
            f"{module.__name__}.{name}": value
            for module in self.modules
            for name, value in vars(module).items()
            if inspect.isclass(value) and issubclass(value, Part) and value.__module__ == module.__name__
            if value not in exported and self._is_family(module) and not name.startswith("_")
        }

    def _exporters(self) -> list[ModuleType]:
        return [module for module in self.modules if module.__name__ == self.name or hasattr(module, "__path__")]

    def _is_family(self, module: ModuleType) -> bool:
        """Whether parts of a module belong in options: in ltrun only those of a family, not the roles and the engine."""
        return self.name != "ltrun" or module.__name__.split(".")[1:2] in [[group] for group in GROUPS]


def code_of(name: str) -> Path:
    """Returns the folder of a package or the file of a module, without importing it."""
    spec = importlib.util.find_spec(name)
    places = list(spec.submodule_search_locations or ()) if spec else []
    return Path(places[0] if places else spec.origin if spec and spec.origin else name).resolve()


def is_part(value: object) -> bool:
    """Whether a value is the class of a part or of a backbone."""
    return inspect.isclass(value) and issubclass(value, (Part, Backbone)) and value not in (Part, Backbone)


def _inner(top: ModuleType) -> Iterator[str]:
    """Yields the modules below a package whose source names ltrun; other modules define no part."""
    for place in map(Path, getattr(top, "__path__", ())):
        for path in sorted(place.rglob("*.py")):
            steps = path.relative_to(place).with_suffix("").parts
            packages = [place.joinpath(*steps[:n], "__init__.py") for n in range(1, len(steps))]
            names = steps[:-1] if steps[-1] == "__init__" else steps
            if not names or names[0] == CONF or names[-1] == "__main__" or not all(file.is_file() for file in packages):
                continue
            if any(name.startswith(("test", "conftest")) for name in names):
                continue
            if all(map(str.isidentifier, names)) and "ltrun" in path.read_text("utf-8", "replace"):
                yield ".".join([top.__name__, *names])


def of_a_package(package: Package, targets: Collection[str], folders: Collection[Path]) -> Iterator[Contract]:
    """Yields the contracts of a package. targets: every _target_ in its options. folders: the folders of these options."""
    yield Contract("importing it prints nothing", lambda: imports_quietly(package))
    yield Contract("it exports a part, or has an option", lambda: has_something(package, targets))
    yield Contract("__all__ names existing objects, each once", lambda: exports_what_is_there(package))
    yield Contract("every part is exported", lambda: exports_every_part(package))
    yield Contract("every exported part is used by an option", lambda: uses_every_part(package, targets))
    yield Contract("every file in a folder of options is an option of a group", lambda: lies_in_groups(folders))


def imports_quietly(package: Package) -> None:
    """Checks that importing the package prints nothing."""
    said = " ".join(package.printed.split())
    require(
        not said, f"{package.name} prints '{said[:80]}' when it is imported, so every run and worker would; remove the print"
    )


def has_something(package: Package, targets: Collection[str]) -> None:
    """Checks that the package exports a part, or that its folders hold an option."""
    way = f"write __all__ = [...] with the names of its parts into {package.code / '__init__.py'}"
    if package.code.is_file():
        way = f"write __all__ = [...] with the names of its parts into {package.code}"
    found = f", and defines {min(package.hidden)}" if package.hidden else ""
    require(package.parts or targets, f"{package.name} exports no part{found}; {way}")


def exports_what_is_there(package: Package) -> None:
    """Checks that `__all__` of every module names objects that exist, each once."""
    for module in package.modules:
        listed = getattr(module, "__all__", ())
        require(not isinstance(listed, str), f"{module.__name__}.__all__ is one string; write a list, __all__ = ['{listed}']")
        names = [str(name) for name in listed]
        for name in names:
            require(
                hasattr(module, name),
                f"{module.__name__}.__all__ names '{name}', which it does not define; import it, or remove the name",
            )
            require(names.count(name) == 1, f"{module.__name__}.__all__ names '{name}' twice; remove one")


def exports_every_part(package: Package) -> None:
    """Checks that every part that a module defines is in the `__all__` of a package."""
    packages = {module.__name__ for module in package.modules if hasattr(module, "__path__")}
    for name, part in package.hidden.items():
        module = name.rpartition(".")[0]
        home = module if module in packages or package.code.is_file() else module.rpartition(".")[0]
        way = "" if home == module else f"import it in {home.replace('.', '/')}/__init__.py and "
        raise BrokenContract(
            f"{name} is not in any __all__, and results are filed under exported names; {way}add '{part.__name__}' to "
            f"{home}.__all__"
        )


def uses_every_part(package: Package, targets: Collection[str]) -> None:
    """Checks that an option names every exported part."""
    for name, part in package.parts.items():
        require(
            {name, public_name(part)} & {*targets, *WITHOUT_OPTION},
            f"no option uses {name}, so no command line can choose it; write DIR/GROUP/NAME.yaml with '_target_: {name}', and "
            f"give --config-dir DIR, or put the file into {package.name}/{CONF}/GROUP/",
        )


def lies_in_groups(folders: Collection[Path]) -> None:
    """Checks that every YAML file in the folders lies in the folder of a group and ends in .yaml."""
    known = (*GROUPS, "experiment", "local")
    for folder in folders:
        for path in sorted([*folder.rglob("*.yaml"), *folder.rglob("*.yml")]):
            inside = path.relative_to(folder)
            require(path.suffix == ".yaml", f"{path} is not read; rename it to {path.with_suffix('.yaml').name}")
            group = inside.parts[0]
            require(len(inside.parts) > 1, f"{path} is not in a group; move it into {folder}/GROUP/, such as {folder}/margin/")
            require(group in known, f"{path}: the folder '{group}' is not a group of ltrun{did_you_mean(group, known)}")
