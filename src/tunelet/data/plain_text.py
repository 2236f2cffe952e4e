"""Plain text to adapt a language model on: where it is, and which of it is held out, by book.

The order of the places: `path` of the recipe or ``--data``; the folders of novels in ``TUNELET_DATA/text``; the
sentences that the package carries. Whole books are held out, drawn by a seed, so that no sentence of a book is
foretold by a model that read its neighbours. Fewer books than `FEWEST_BOOKS` are cut into passages instead. Not here:
sentences (`data.novels`), tokens (`data.language_text`).

Example:
    >>> text = find_text(PlainTextSettings(source="embedded"), None, {})
    >>> [file.name for file in text.files], text.layout
    (['text.txt'], 'lines')
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
from pydantic import Field as Constraint
from pydantic import model_validator

from tunelet.base.errors import DataError, Problem
from tunelet.base.files import digest, sha256_file, write_atomic
from tunelet.base.settings import Field, Settings
from tunelet.base.streams import numpy_stream
from tunelet.data.novels import Layout, Numbers, read_lines, sentence_file
from tunelet.data.places import ENVIRONMENT
from tunelet.data.records import SPLITS, SourceKind
from tunelet.data.spoken import embedded_folder

#: folder of plain text in TUNELET_DATA
FOLDER = "text"
#: with fewer files, passages are held out and not books
FEWEST_BOOKS = 3
#: passages into which few files are cut
PASSAGES = 20


class PlainTextSettings(Settings):
    """Which text, and how much of it is held out."""

    path: str | tuple[str, ...] | None = Field(
        None, description="text files, or folders with .txt files at any depth; one or a list; read before any other"
    )
    source: Literal["auto", "environment", "embedded"] = Field(
        "auto",
        description="where to look when neither `path` nor --data names text; auto: TUNELET_DATA/text, then the "
        "embedded sentences",
    )
    folders: tuple[str, ...] = Field(
        ("gutenberg", "gutenberg_more"),
        min_length=1,
        description="folders of TUNELET_DATA/text that are read, those of them that are there",
    )
    layout: Layout = Field("books", description="books: sentences are looked for; lines: a line is a sentence")
    numbers: Numbers = Field("drop", description="drop: sentences with digits are left out; keep: they stay")
    validation: float = Field(0.02, gt=0, lt=0.5, description="share of the books held out for validation, at least 1")
    test: float = Field(0.02, gt=0, lt=0.5, description="share of the books held out for test, at least 1")
    seed: int = Field(1, description="draws the books that are held out; apart from the seeds of the runs")
    limit: dict[Literal["train", "validation", "test"], Annotated[int, Constraint(ge=1)] | None] = Field(
        default_factory=dict, description="at most this many sentences of a split, evenly spread over it"
    )

    @model_validator(mode="after")
    def _check_path(self) -> PlainTextSettings:
        if self.path is not None and not (self.paths and all(self.paths)):
            raise ValueError("expected a path, or a list of at least one")
        return self

    @property
    def paths(self) -> tuple[str, ...]:
        """`path` as a list."""
        return (self.path,) if isinstance(self.path, str) else self.path or ()


@dataclass(frozen=True)
class PlainText:
    """Files of text as found.

    Attributes:
        kind: which of the places they are in.
        location: as the report tells it.
        files: sorted by name.
        layout: how they are read.
    """

    kind: SourceKind
    location: str
    files: tuple[Path, ...]
    layout: Layout


@dataclass(frozen=True)
class TextPart:
    """The sentences of a split.

    Attributes:
        file: a sentence a line.
        units: books or passages.
        sentences: lines.
        words: in them.
        sha256: of the file.
    """

    file: Path
    units: int
    sentences: int
    words: int
    sha256: str


@dataclass(frozen=True)
class HeldOut:
    """Text parted into splits.

    Attributes:
        unit: what was held out whole.
        parts: ``train``, ``validation``, ``test``.
        repeated: for each held-out split, how many of its sentences stand in ``train``, too.
    """

    unit: Literal["book", "passage"]
    parts: dict[str, TextPart]
    repeated: dict[str, int]

    @property
    def sha256(self) -> str:
        """Hash of all sentences."""
        return digest({split: part.sha256 for split, part in self.parts.items()})


def find_text(settings: PlainTextSettings, data_dir: Path | None, environ: Mapping[str, str]) -> PlainText:
    """Find the text that a recipe means.

    Args:
        data_dir: the value of ``--data``: a folder with .txt files at any depth, or a file.
        environ: environment variables.

    Raises:
        DataError: two places are named, a named place does not exist or has no text; all problems at once.
    """
    if settings.path is not None:
        if data_dir is not None:
            raise DataError(
                Problem(
                    f"the recipe reads {', '.join(map(repr, settings.paths))}, and --data names {str(data_dir)!r}",
                    field="data.path",
                    hint="keep one of the two; -o data.path=null drops the recipe's",
                )
            )
        files = _files([Path(path).expanduser() for path in settings.paths], "data.path")
        return PlainText("recipe", ", ".join(settings.paths), files, settings.layout)
    if data_dir is not None:
        return PlainText("argument", str(data_dir), _files([data_dir.expanduser()], "--data"), settings.layout)
    if settings.source != "embedded":
        value = environ.get(ENVIRONMENT, "")
        above = Path(value).expanduser() / FOLDER if value else None
        there = [above / name for name in settings.folders if (above / name).is_dir()] if above else []
        if there:
            names = ", ".join(f"{ENVIRONMENT}/{FOLDER}/{folder.name}" for folder in there)
            return PlainText("environment", names, _files(there, ENVIRONMENT), settings.layout)
        if settings.source == "environment":
            wanted = " nor ".join(f"{FOLDER}/{name}" for name in settings.folders)
            found = f"has neither {wanted}" if value else "is not set"
            raise DataError(
                Problem(f"{ENVIRONMENT} {found}, but the recipe asks for it", value or None, field="data.source")
            )
    return PlainText("embedded", "tunelet/embedded/speech/text.txt", (embedded_folder() / "text.txt",), "lines")


def hold_out(text: PlainText, settings: PlainTextSettings, cache_dir: Path) -> HeldOut:
    """Part `text` into splits; sentences are made once and kept in `cache_dir`.

    Raises:
        DataError: a file cannot be read, or there are too few sentences to part.
    """

    def made(files: Sequence[Path]) -> Path:
        return sentence_file(files, cache_dir, numbers=settings.numbers, layout=text.layout)

    shares = {"validation": settings.validation, "test": settings.test}
    if len(text.files) >= FEWEST_BOOKS:
        drawn = _drawn(len(text.files), shares, settings.seed)
        files = {split: made([text.files[i] for i in drawn[split]]) for split in SPLITS}
        unit: Literal["book", "passage"] = "book"
    else:
        whole = list(read_lines(made(text.files)))
        if len(whole) < FEWEST_BOOKS:
            message = f"found {len(whole)} sentences, expected at least {FEWEST_BOOKS} to part them"
            raise DataError(Problem(message, text.location))
        passages = np.array_split(np.arange(len(whole)), min(PASSAGES, len(whole)))
        drawn = _drawn(len(passages), shares, settings.seed)
        files, unit = {}, "passage"
        for split in SPLITS:
            lines = [whole[row] for passage in drawn[split] for row in passages[passage]]
            files[split] = _written(lines, cache_dir)
    limits: Mapping[str, int | None] = {str(split): limit for split, limit in settings.limit.items()}
    parts, said = {}, {}
    for split in SPLITS:
        lines = list(read_lines(files[split]))
        if not lines:
            raise DataError(Problem(f"the {unit}s of the {split} split have no sentence", text.location))
        limit = limits.get(split)
        if limit is not None and limit < len(lines):
            lines = [lines[row] for row in np.linspace(0, len(lines) - 1, limit).round().astype(int)]
            files[split] = _written(lines, cache_dir)
        words = sum(line.count(" ") + 1 for line in lines)
        parts[split] = TextPart(files[split], len(drawn[split]), len(lines), words, sha256_file(files[split]))
        said[split] = lines
    trained = set(said["train"])
    return HeldOut(unit, parts, {split: sum(line in trained for line in said[split]) for split in shares})


def _files(places: Sequence[Path], field: str) -> tuple[Path, ...]:
    found: dict[Path, None] = {}
    problems = []
    for place in places:
        if place.is_file():
            found[place] = None
            continue
        inside = sorted(path for path in place.rglob("*.txt") if path.is_file()) if place.is_dir() else []
        if not inside:
            what = "no .txt file in this folder" if place.is_dir() else "there is no such file or folder"
            problems.append(Problem(what, place, field=field))
        found |= dict.fromkeys(inside)
    if problems:
        raise DataError(problems)
    return tuple(found)


def _drawn(units: int, shares: Mapping[str, float], seed: int) -> dict[str, list[int]]:
    """Which units each split has, in their order: held out first, the rest is for training."""
    order = numpy_stream(seed, "held out").permutation(units).tolist()
    drawn: dict[str, list[int]] = {}
    for number, (split, share) in enumerate(shares.items()):
        room = len(order) - (len(shares) - number)  # one for each split that follows, and one to train on
        count = min(room, max(1, round(share * units)))
        drawn[split], order = sorted(order[:count]), order[count:]
    return {"train": sorted(order), **drawn}


def _written(lines: Sequence[str], cache_dir: Path) -> Path:
    target = cache_dir / f"sentences-{digest(list(lines))[:32]}.txt"
    if not target.is_file():
        write_atomic(target, "".join(f"{line}\n" for line in lines))
    return target
