"""Which place a dataset is read from, decided before anything is read. Not here: reading (`data.sources`).

The order: `data.path` of the recipe or ``--data``; the folder ``TUNELET_DATA/<task>``; the Hugging Face hub, if the
recipe names a dataset on it or asks for it; the sample in the package. A place that was named and does not hold
what it should is an error: the next one is not tried, for nobody wants to find out from a report.

Example:
    >>> from tunelet.data.tasks import EMOTION
    >>> find_place(DataSettings(source="embedded"), EMOTION, None, {}).location
    'tunelet/embedded/emotion'
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path

from tunelet.base.errors import DataError, Problem
from tunelet.base.registry import suggest
from tunelet.data.formats import SUFFIXES
from tunelet.data.records import SPLITS, SourceKind, Task
from tunelet.data.settings import DataSettings
from tunelet.data.tasks import HUB_NAMES

ENVIRONMENT = "TUNELET_DATA"

#: What others call the splits; only used to say what to rename.
_OTHER_NAMES = {"train": ("training",), "validation": ("val", "valid", "dev", "devel", "eval"), "test": ("testing",)}


@dataclass(frozen=True)
class Place:
    """Where a dataset is to be read from.

    Attributes:
        kind: which of the places it is.
        location: as the report tells it.
        folder: holds the split files, unless the place is the hub; a `Traversable` inside the package.
    """

    kind: SourceKind
    location: str
    folder: Path | Traversable | None = None


def find_place(settings: DataSettings, task: Task, data_dir: Path | None, environ: Mapping[str, str]) -> Place:
    """Decide where the data of `task` are.

    Args:
        data_dir: the value of ``--data``: the folder with the split files, or one that holds a folder for each task.
        environ: environment variables.

    Raises:
        DataError: two places are named, a named place does not exist, or no place has the task.
    """
    if settings.path is not None:
        if data_dir is not None:
            raise DataError(
                Problem(
                    f"the recipe reads {settings.path!r}, and --data names {str(data_dir)!r}",
                    field="data.path",
                    hint="keep one of the two; -o data.path=null drops the recipe's",
                )
            )
        return Place("recipe", settings.path, existing_folder(Path(settings.path).expanduser(), "data.path"))
    if data_dir is not None:
        return _argument(data_dir, task)
    if settings.source in ("auto", "environment"):
        place = _environment(settings, task, environ)
        if place is not None:
            return place
    if settings.source == "hub" or (settings.source == "auto" and settings.hub is not None):
        return _hub(settings, task)
    folder = files("tunelet") / "embedded" / task.name
    if folder.is_dir():
        return Place("embedded", f"tunelet/embedded/{task.name}", folder)
    raise DataError(
        Problem(
            f"no data for task {task.name!r}: nothing names a folder, and the package carries no sample of it",
            field="data.path",
            hint=f"name a folder with {', '.join(SPLITS)} (.jsonl, .csv or .tsv): data.path in the recipe, --data, "
            f"or {ENVIRONMENT} with a folder {task.name!r} in it",
        )
    )


def existing_folder(folder: Path, field: str) -> Path:
    """`folder`, if there is one.

    Raises:
        DataError: it does not exist, or is no folder.
    """
    if folder.is_dir():
        return folder
    if folder.exists():
        hint = f"give the folder that holds it: {folder.parent}"
        raise DataError(Problem("is a file, expected a folder with one file for each split", folder, None, field, hint))
    above = next(parent for parent in folder.absolute().parents if parent.is_dir())
    near = suggest(folder.name, [entry.name for entry in above.iterdir() if entry.is_dir()])
    hint = f"did you mean {above / near}?" if near else f"{above} exists; a relative path starts at {Path.cwd()}"
    raise DataError(Problem("the folder does not exist", folder, None, field, hint))


def split_file(folder: Path | Traversable, split: str) -> Traversable:
    """The one file of a split in a folder.

    Raises:
        DataError: there is none, or more than one.
    """
    present = {entry.name: entry for entry in folder.iterdir() if entry.is_file()}
    candidates = [f"{split}{suffix}{packed}" for suffix in SUFFIXES for packed in ("", ".gz")]
    found = [name for name in candidates if name in present]
    if len(found) == 1:
        return present[found[0]]
    if found:
        raise DataError(
            Problem(
                f"the {split} split is there {len(found)} times: {', '.join(found)}",
                str(folder),
                hint="keep one of them",
            )
        )
    stems = [split, *_OTHER_NAMES.get(split, ())]
    near = next((name for name in sorted(present) if name.split(".")[0].lower() in stems), None)
    raise DataError(
        Problem(
            f"the {split} split is missing; expected {split}.jsonl, .csv or .tsv (or .gz behind)",
            str(folder),
            hint=f"rename {near} if that is it" if near else f"the folder has {_listed(sorted(present))}",
        )
    )


def _argument(data_dir: Path, task: Task) -> Place:
    folder = existing_folder(data_dir.expanduser(), "--data")
    if _holds_splits(folder):
        return Place("argument", str(data_dir), folder)
    if (folder / task.name).is_dir():
        return Place("argument", str(data_dir / task.name), folder / task.name)
    raise DataError(
        Problem(
            f"neither split files (train.jsonl, ...) nor a folder {task.name!r}",
            data_dir,
            field="--data",
            hint=f"it has {_listed(sorted(entry.name for entry in folder.iterdir()))}",
        )
    )


def _environment(settings: DataSettings, task: Task, environ: Mapping[str, str]) -> Place | None:
    value = environ.get(ENVIRONMENT, "")
    if value:
        folder = existing_folder(Path(value).expanduser(), ENVIRONMENT)
        if (folder / task.name).is_dir():
            return Place("environment", f"{ENVIRONMENT}/{task.name}", folder / task.name)
    if settings.source == "auto":
        return None
    found = f"has no folder {task.name!r}" if value else "is not set"
    raise DataError(Problem(f"{ENVIRONMENT} {found}, but the recipe asks for it", value or None, field="data.source"))


def _hub(settings: DataSettings, task: Task) -> Place:
    name = settings.hub or HUB_NAMES.get(task.name)
    if name is None:
        raise DataError(
            Problem(
                f"no dataset on the hub is known for task {task.name!r}", field="data.hub", hint="name it: owner/name"
            )
        )
    return Place("hub", name)


def _holds_splits(folder: Path) -> bool:
    return any(entry.name.split(".")[0] in SPLITS and entry.is_file() for entry in folder.iterdir())


def _listed(names: list[str]) -> str:
    return (", ".join(names[:8]) + (", ..." if len(names) > 8 else "")) if names else "nothing"
