"""Finds recipes and holds an expanded one. Not here: the schema of a system's recipe; torch.

Example:
    >>> "emotion" in shipped_recipes()
    True
"""

from __future__ import annotations

import fnmatch
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

from tunelet.base.errors import InputError, Problem, RecipeError
from tunelet.base.files import digest
from tunelet.base.recipe import with_overrides
from tunelet.base.registry import suggest
from tunelet.base.settings import Settings
from tunelet.base.yaml_lines import Tree, read_yaml

#: keys of a recipe that change where a run tells things, not what it computes
NOT_HASHED = {"training": {"trackers", "keep_states"}}
#: keys that came when there were results already; null or empty, they change nothing, and leave hashes as they were
NOT_HASHED_IF_NULL = {
    "training": ("head_learning_rate",),
    "scorer": ("language_models", "beside", "simulated", "distil", "start"),
}
#: names that an error lists
_TOLD = 24


@dataclass(frozen=True)
class PlannedRun:
    """One run: a point of the grid and a seed.

    Attributes:
        group: name that the seeds share.
        seed: the run's seed.
        settings: the sections of the recipe, resolved.
        chosen: keys of `training` that the recipe left to the machine, once they are settled (`systems.settling`).
    """

    group: str
    seed: int
    settings: dict[str, Settings]
    chosen: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """``<group>-seed<N>``."""
        return f"{self.group}-seed{self.seed}"

    def hash(self, **facts: str) -> str:
        """Hash of everything that the result depends on: the resolved settings, the seed, and `facts` that the
        settings only point at (content of the data, fingerprint of the base)."""
        sections = {
            key: section.model_dump(mode="json", exclude=NOT_HASHED.get(key)) for key, section in self.settings.items()
        }
        for key, silent in NOT_HASHED_IF_NULL.items():
            for name in silent:
                if key in sections and sections[key].get(name) in (None, [], {}):
                    sections[key].pop(name, None)
        return digest({"settings": sections, "seed": self.seed, "facts": facts})


@dataclass(frozen=True)
class LoadedRecipe:
    """A recipe, validated and expanded.

    Attributes:
        system: which system runs it.
        name: its name; the default folder and the report carry it.
        title: one line for the report.
        data: the data section.
        runs: all runs, group by group.
        tree: the plain data with overrides, as `recipe.yaml` keeps it.
    """

    system: str
    name: str
    title: str
    data: Settings
    runs: tuple[PlannedRun, ...]
    tree: dict[str, Any]

    @property
    def groups(self) -> list[str]:
        """Names of the groups, in order."""
        return list(dict.fromkeys(run.group for run in self.runs))

    def select(self, pattern: str) -> list[PlannedRun]:
        """The runs of the groups that match `pattern`, as in a shell; with ``-seed`` in it, runs by their own names.

        Raises:
            InputError: nothing matches.
        """
        by_name = "-seed" in pattern
        chosen = [run for run in self.runs if fnmatch.fnmatchcase(run.name if by_name else run.group, pattern)]
        if not chosen:
            what = "run" if by_name else "group"
            names = [run.name for run in self.runs] if by_name else self.groups
            told = names if len(names) <= _TOLD else [*names[:_TOLD], f"... ({len(names)} in all)"]
            raise InputError(Problem(f"no {what} matches --only {pattern!r}", hint=f"{what}s: {', '.join(told)}"))
        return chosen


def shipped_recipes() -> dict[str, str]:
    """Name -> text of every recipe in the package."""
    folder = resources.files("tunelet") / "recipes"
    found = {entry.name.removesuffix(".yaml"): entry for entry in folder.iterdir() if entry.name.endswith(".yaml")}
    return {name: found[name].read_text(encoding="utf-8") for name in sorted(found)}


def read_recipe(name: str, overrides: Sequence[str] = ()) -> Tree:
    """The tree of a shipped recipe or of a file, with overrides.

    Raises:
        RecipeError: there is no such recipe, the file cannot be read, or it is not plain YAML.
    """
    path = Path(name)
    if path.suffix in (".yaml", ".yml") or path.is_file():
        tree = read_yaml(_read_text(path), str(path))
    else:
        shipped = shipped_recipes()
        if name not in shipped:
            near = suggest(name, shipped)
            raise RecipeError(
                Problem(
                    f"no recipe {name!r}" + (f"; did you mean {near!r}?" if near else "."),
                    hint=f"shipped recipes: {', '.join(shipped)}; or give the path of a .yaml file",
                )
            )
        tree = read_yaml(shipped[name], f"{name}.yaml")
    if not isinstance(tree.data, dict):
        raise RecipeError(Problem("expected a mapping of sections", tree.file, 1))
    return with_overrides(tree, overrides)


def _read_text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise RecipeError(
            Problem("there is no such file", path, hint="`tunelet recipes` lists the shipped ones")
        ) from None
    except IsADirectoryError:
        raise RecipeError(Problem("expected a YAML file, found a folder", path)) from None
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        message = f"not UTF-8: the byte 0x{error.object[error.start]:02X}"
        raise RecipeError(Problem(message, path, line, hint="save the file in UTF-8")) from None
    except OSError as error:
        raise RecipeError(Problem(f"cannot be read: {error.strerror}", path)) from None
