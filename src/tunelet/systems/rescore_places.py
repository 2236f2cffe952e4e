"""Where the paths of a `rescore` recipe lie: in ``--data``, in TUNELET_DATA, where they say, or in the package.

What is missing is collected and told at once. Not here: reading (`systems.rescore_data`).

Example:
    >>> places = Places(Path("my_lists"))
    >>> places.find("train.jsonl", "data.train")
    PosixPath('my_lists/train.jsonl')
    >>> [problem.message for problem in places.problems]
    ['does not exist']
"""

from __future__ import annotations

import os
from pathlib import Path

from tunelet.base.errors import DataError, Problem
from tunelet.data.places import ENVIRONMENT
from tunelet.data.spoken import EMBEDDED_SPLITS, embedded_folder

#: what paths in the package begin with
EMBEDDED = "embedded:"
#: the text in the package, a sentence a line
EMBEDDED_TEXT = embedded_folder() / "text.txt"


class Places:
    """Finds paths.

    Args:
        data_dir: the value of ``--data``: a folder at which relative paths start; a file is none.

    Attributes:
        kind: which of the places answered: argument, environment, recipe or embedded.
        problems: what was not found.
    """

    def __init__(self, data_dir: Path | None) -> None:
        self.folder = None if data_dir is None or data_dir.is_file() else data_dir
        root = os.environ.get(ENVIRONMENT, "") if self.folder is None else str(self.folder)
        self.root = Path(root).expanduser() if root else None
        self.kind = "embedded"
        self.problems: list[Problem] = []

    def find(self, path: str, field: str) -> Path:
        """The path of a file or folder of the recipe."""
        if path.startswith(EMBEDDED):
            if path.removeprefix(EMBEDDED) not in (*EMBEDDED_SPLITS, "text"):
                known = ", ".join(f"{EMBEDDED}{split}" for split in (*EMBEDDED_SPLITS, "text"))
                self.problems.append(Problem(f"{path!r} is not in the package, expected one of {known}", field=field))
            return Path(path)
        given = Path(path).expanduser()
        if not given.is_absolute() and self.root is None:
            hint = f"say where it is: --data DIR, the environment variable {ENVIRONMENT}, or an absolute path"
            self.problems.append(Problem(f"{path!r} starts at no folder", field=field, hint=hint))
            return given
        if given.is_absolute() or self.root is None:
            whole = given
            self.kind = "recipe" if self.kind == "embedded" else self.kind
        else:
            whole = self.root / given
            self.kind = "environment" if self.folder is None else "argument"
        if not whole.exists():
            self.problems.append(Problem("does not exist", whole, field=field))
        return whole

    def books(self, path: str) -> list[Path]:
        """The files of a text."""
        found = self.find(path, "data.text")
        if str(found).startswith(EMBEDDED):
            return [EMBEDDED_TEXT]
        if not found.is_dir():
            return [found]
        books = sorted(found.glob("*.txt"))
        if not books:
            self.problems.append(Problem("holds no .txt file", found, field="data.text"))
        return books

    def raise_if_any(self) -> None:
        """Tell what was missing, and of a folder that was named and that no path starts at."""
        if self.folder is not None and self.kind != "argument":
            hint = "all paths of the recipe are absolute or in the package; --data with a file adds a set to report"
            self.problems.append(Problem("no path of the recipe starts at this folder", self.folder, hint=hint))
        if self.problems:
            raise DataError(self.problems)
