"""N-best lists from and to files: which of five formats a path holds, and all that is wrong with it at once.

    jsonl        ``.jsonl``: our own, one object a line
    mlm-scoring  ``.json``, one object: awslabs/mlm-scoring
    hyporadise   ``.json``, one list: HyPoradise; no scores
    espnet       a folder with ``1best_recog``, ``2best_recog``, ...
    kaldi        a folder with ``text`` and ``score`` (or ``cost``), keys ``utt-1``, ``utt-2``, ...

Each file may be compressed, with .gz behind its name. One path holds one format; a mixture is refused. Not here: what
a format means (`data.nbest_formats`).

Example:
    >>> found = read_nbest(Path("dev.jsonl"), speaker="librispeech")        # doctest: +SKIP
    >>> found.form, len(found), found.scored                                # doctest: +SKIP
    ('jsonl', 2703, True)
"""

from __future__ import annotations

import gzip
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Literal, get_args

from tunelet.base.errors import DataError, InputError, Problem
from tunelet.base.files import publish_folder, write_atomic
from tunelet.base.registry import unknown_name
from tunelet.data.formats import json_rows
from tunelet.data.lines import open_bytes, read_lines
from tunelet.data.nbest import NBest, NBestSet
from tunelet.data.nbest_formats import entries, espnet, hyporadise, jsonl, kaldi, mlm
from tunelet.data.nbest_formats.parts import Found
from tunelet.data.problems import ProblemLog, Raise, Report, raise_together
from tunelet.data.speakers import SpeakerRule, with_speaker

NBestFormat = Literal["jsonl", "mlm-scoring", "hyporadise", "espnet", "kaldi"]
FORMATS: tuple[NBestFormat, ...] = get_args(NBestFormat)

_FOLDERS = {"espnet": espnet, "kaldi": kaldi}
_LOST = {
    "mlm-scoring": ("speakers",),
    "hyporadise": ("ids", "scores", "speakers"),
    "espnet": ("white space inside texts",),
    "kaldi": ("white space inside texts",),
}


@dataclass(frozen=True)
class Written:
    """What a writer did.

    Attributes:
        path: of the file or folder.
        form: its format.
        lists: how many were written.
        lost: what the format cannot hold and these lists had.
    """

    path: Path
    form: NBestFormat
    lists: int
    lost: tuple[str, ...]


def read_nbest(
    path: Path,
    *,
    speaker: SpeakerRule = "field",
    references: Path | None = None,
    need_references: bool = False,
) -> NBestSet:
    """Read all lists of a file or folder.

    Args:
        path: see above.
        speaker: who speaks, see `data.speakers`.
        references: a table ``utt words`` with the references of an ESPnet or Kaldi folder.
        need_references: whether a list without a reference is a problem.

    Raises:
        DataError: with all problems (of each file the first 20 and a count), each with its place.
    """
    path = Path(path)
    logs: list[ProblemLog] = []
    if path.is_dir():
        form, found = _read_folder(path, references, logs)
    else:
        if references is not None:
            raise DataError(Problem("a file of references goes with a folder of ESPnet or Kaldi only", references))
        form, found = _read_file(path, logs)
    whole = logs[0]
    lists = tuple(_checked(found, speaker, need_references, whole))
    if not found and not any(map(len, logs)):
        whole.add("no list in it, expected at least one", hint="was the file written to the end?")
    raise_together(logs)
    return NBestSet(lists, form, str(path), scored=form != "hyporadise")


def stream_nbest(
    source: BinaryIO,
    name: str = "<stdin>",
    *,
    speaker: SpeakerRule = "field",
    report: Report | None = None,
) -> Iterator[NBest]:
    """Stream lists of our JSON Lines from an open file, one at a time, in bounded memory.

    Ids are not checked to be unique, for that would need memory.

    Args:
        source: open for reading; it is left open.
        name: what it is called in messages.
        speaker: who speaks.
        report: takes problems, and the lists that have one are left out. None: the first problem raises.
    """
    log = Raise(name) if report is None else report
    for found in jsonl.read(json_rows(read_lines(source, log), log), log):
        if found.value is not None:
            yield with_speaker(found.value, speaker, log, found.line)


def write_nbest(path: Path, lists: Iterable[NBest], form: NBestFormat | None = None) -> Written:
    """Write lists to a file or, for ESPnet and Kaldi, to a new folder; whole or not at all.

    Args:
        path: a name ending in .gz is compressed.
        form: None: by the name, .jsonl ours and .json that of mlm-scoring.

    Raises:
        InputError: an unknown format, no lists, or something that the format cannot write.
    """
    path, lists = Path(path), tuple(lists)
    form = form or _form_of_name(path)
    if form not in FORMATS:
        raise InputError(Problem(unknown_name("format of N-best lists", form, FORMATS), path))
    if not lists:
        raise InputError(Problem("there are no lists to write", path))
    if form in _FOLDERS:
        if path.exists() and (not path.is_dir() or any(path.iterdir())):
            raise InputError(Problem("exists and is not an empty folder", path, hint="name a folder that is not there"))
        files = _FOLDERS[form].write(lists)
        with publish_folder(path) as part:
            for name, content in files.items():
                (part / name).parent.mkdir(exist_ok=True)
                (part / name).write_text(content, encoding="utf-8", newline="\n")
    else:
        writer = {"jsonl": jsonl.write, "mlm-scoring": mlm.write, "hyporadise": hyporadise.write}[form]
        data = "".join(writer(lists)).encode()
        # no time of writing in it: the same lists give the same bytes
        write_atomic(path, gzip.compress(data, mtime=0) if path.suffix == ".gz" else data)
    return Written(path, form, len(lists), tuple(what for what in _LOST.get(form, ()) if _had(what, lists)))


def _read_folder(path: Path, references: Path | None, logs: list[ProblemLog]) -> tuple[NBestFormat, list[Found]]:
    logs.append(ProblemLog(path))
    fitting = [form for form, module in _FOLDERS.items() if module.fits(path)]
    if len(fitting) != 1:
        hint = "expected 1best_recog/{text,score} (ESPnet), or text and score (Kaldi); a folder holds one format only"
        what = f"holds lists in the formats {' and '.join(fitting)}" if fitting else "no N-best lists in this folder"
        raise DataError(Problem(what, path, hint=hint))
    if fitting[0] == "espnet":
        return "espnet", espnet.read(path, references, logs)
    return "kaldi", kaldi.read(path, references, logs)


def _read_file(path: Path, logs: list[ProblemLog]) -> tuple[NBestFormat, list[Found]]:
    log = ProblemLog(path)
    logs.append(log)
    suffix = Path(path.stem).suffix if path.suffix == ".gz" else path.suffix
    if suffix not in (".jsonl", ".json"):
        hint = "one object on each line is .jsonl; one JSON value is .json; or name a folder of ESPnet or Kaldi"
        if not path.exists():
            raise DataError(Problem("does not exist", path))
        raise DataError(
            Problem(f"unknown format {suffix!r}; expected .jsonl or .json (or .gz behind)", path, hint=hint)
        )
    with open_bytes(path) as file:
        if suffix == ".jsonl":
            return "jsonl", list(jsonl.read(json_rows(read_lines(file, log), log), log))
        text = "\n".join(line.text for line in read_lines(file, log))
    if not text.strip():
        if not len(log):
            log.add("the file is empty, expected at least one list")
        return "mlm-scoring", []
    if len(log):  # bytes that are no text: what JSON would make of them says nothing more
        return "mlm-scoring", []
    if entries.outermost(text) == "[":
        return "hyporadise", list(hyporadise.read(entries.entries(text, log), log))
    found = list(entries.entries(text, log))
    if any(entry.key == "nbest" for entry in found):  # our own rows under the other name
        hint = "a file with one object on each line is named .jsonl"
        raise DataError(Problem("looks like JSON Lines, expected one JSON value", path, 1, hint=hint))
    return "mlm-scoring", list(mlm.read(found, log))


def _checked(found: Sequence[Found], rule: SpeakerRule, need_references: bool, log: ProblemLog) -> Iterator[NBest]:
    lines: dict[str, int | None] = {}
    for one in found:
        if one.id is not None:
            if one.id in lines:
                where = f" on line {lines[one.id]}" if lines[one.id] is not None else ""
                log.add(f"{one.id[:60]!r} is also the id of a list{where}", line=one.line, field="id")
            lines.setdefault(one.id, one.line)
        if one.value is None:
            continue
        if need_references and one.value.ref is None:
            hint = "a list without reference can be rescored, but not be used for training, tuning or a word error rate"
            log.add(f"{one.value.id[:60]!r} has no reference", line=one.line, field="ref", hint=hint)
        yield with_speaker(one.value, rule, log, one.line)


def _form_of_name(path: Path) -> NBestFormat:
    suffix = Path(path.stem).suffix if path.suffix == ".gz" else path.suffix
    if suffix not in (".jsonl", ".json"):
        hint = f"say which format: {', '.join(FORMATS)}"
        raise InputError(
            Problem(f"the name ends in {suffix!r}, which tells no format of N-best lists", path, hint=hint)
        )
    return "jsonl" if suffix == ".jsonl" else "mlm-scoring"


def _had(what: str, lists: Sequence[NBest]) -> bool:
    if what == "speakers":
        return any(one.speaker is not None for one in lists)
    if what == "scores":
        return any(score != 0 for one in lists for score in one.scores)
    if what == "ids":
        return any(one.id != str(i) for i, one in enumerate(lists))
    texts = (text for one in lists for text in (*one.texts, one.ref or ""))
    return any(text != " ".join(text.split()) for text in texts)
