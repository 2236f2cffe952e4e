"""A split of a task to examples: finds its file, reads its rows, tells all that is wrong. Not here: sound itself.

Where a task's folder is: below `data_dir` if one is given; else beside the task file, else below the folder that
``TUNELET_DATA`` names, else in the package's own samples. A path that begins at the root is taken as it is;
``embedded:NAME`` is always the package's.

Example:
    >>> examples = load_split(find_task("meld"), "test")            # doctest: +SKIP
    >>> examples[0].text, examples[0].labels                        # doctest: +SKIP
    ('Why do all you’re coffee mugs have numbers on the bottom?', ('positive',))
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from importlib.resources import files
from pathlib import Path

from tunelet.base.errors import DataError, Problem
from tunelet.base.registry import suggest, unknown_name
from tunelet.data.fields import text_of
from tunelet.data.formats import Row, format_of, missing_field, rows_of
from tunelet.data.limits import stratified
from tunelet.data.lines import open_bytes, read_lines
from tunelet.data.places import ENVIRONMENT, existing_folder, split_file
from tunelet.data.problems import ProblemLog
from tunelet.data.records import TextExample
from tunelet.data.understanding.label_values import LabelFormError, names_of
from tunelet.data.understanding.task import SplitData, UnderstandingExample, UnderstandingTask
from tunelet.data.understanding.templates import UnfilledError, filled

#: Before the path of data that only the package has: neither ``--data`` nor the environment moves them.
EMBEDDED = "embedded:"
_EMBEDDED_FOLDER = Path(str(files("tunelet"))) / "embedded"


def load_split(
    task: UnderstandingTask,
    split: str,
    *,
    data_dir: Path | None = None,
    limit: int | None = None,
    environ: Mapping[str, str] | None = None,
) -> tuple[UnderstandingExample, ...]:
    """The examples of one split, in the order of the file.

    Args:
        data_dir: takes the place of ``TUNELET_DATA`` and goes before the task file's folder.
        limit: at most so many, with each set of classes in its share, the same in every run (`data.limits`).
        environ: environment variables; None: those of the process.

    Raises:
        DataError: the task has no such split, its folder or file is not there, or rows are wrong: all problems of the
            file, each with line and field.
    """
    if split not in task.data.splits:
        raise DataError(Problem(unknown_name(f"split of task {task.name!r}:", split, task.data.splits), task.file))
    folder = task_folder(task, data_dir=data_dir, environ=environ)
    path = _file_of(folder, task.data.splits[split], split)
    log = ProblemLog(path)
    try:
        with open_bytes(path) as file:
            needed = (task.data.text, task.data.label)
            rows = rows_of(format_of(path), read_lines(file, log), log, required=needed)
            examples = tuple(_examples(rows, task, split, folder, log))
    except DataError as error:
        raise DataError([*log.problems(), *error.problems]) from None
    if not examples and not len(log):
        log.add("no example in it for this split" if task.data.splits[split].where else "no example in it")
    log.raise_if_any()
    if limit is not None and limit < len(examples):
        picked = stratified([TextExample(str(i), "", e.labels) for i, e in enumerate(examples)], limit, split)
        examples = tuple(examples[int(example.id)] for example in picked)
    return examples


def task_folder(
    task: UnderstandingTask, *, data_dir: Path | None = None, environ: Mapping[str, str] | None = None
) -> Path:
    """The folder that holds a task's files.

    Raises:
        DataError: it is in none of the places; they are named.
    """
    if task.data.path.startswith(EMBEDDED):
        return existing_folder(_EMBEDDED_FOLDER / task.data.path.removeprefix(EMBEDDED), "data.path")
    given = Path(task.data.path).expanduser()
    if given.is_absolute():
        return existing_folder(given, "data.path")
    value = (os.environ if environ is None else environ).get(ENVIRONMENT, "")
    places: list[Path] = []
    if data_dir is not None:
        places.append(Path(data_dir).expanduser())
    if task.file is not None:
        places.append(task.file.parent)
    if data_dir is None and value:
        places.append(existing_folder(Path(value).expanduser(), ENVIRONMENT))
    for place in places:
        if (place / given).is_dir():
            return place / given
    sample = _EMBEDDED_FOLDER / given
    if data_dir is None and not value and sample.is_dir() and len(given.parts) == 1:
        return sample
    # the folder of the package's own task files holds no data: nobody should look there
    looked = ", ".join(str(place / given) for place in places if place.resolve() != _own_tasks().resolve())
    hint = "" if value or data_dir is not None else f"set {ENVIRONMENT} to the folder that holds {task.data.path!r}; "
    raise DataError(
        Problem(
            f"no data for task {task.name!r}: " + (f"there is no folder {looked}" if looked else "no place is named"),
            task.file,
            field="data.path",
            hint=f"{hint}a task file of your own can name the path" if hint else "name the folder that holds it",
        )
    )


def _own_tasks() -> Path:
    return Path(str(files("tunelet"))) / "tasks"


def _file_of(folder: Path, source: SplitData, split: str) -> Path:
    if source.file is None:
        return Path(str(split_file(folder, split)))
    path = folder / source.file
    if path.is_file():
        return path
    held = sorted(entry.name for entry in folder.iterdir() if entry.is_file())
    listed = ", ".join(held[:8]) + (", ..." if len(held) > 8 else "")
    raise DataError(
        Problem(f"the file of the {split} split is missing", path, hint=f"the folder has {listed or 'no file'}")
    )


def _examples(
    rows: Iterator[Row], task: UnderstandingTask, split: str, folder: Path, log: ProblemLog
) -> Iterator[UnderstandingExample]:
    source = task.data.splits[split]
    lines: dict[str, int] = {}
    named: bool | None = None
    position = -1
    for row in rows:
        if not _wanted(row, source, log):
            continue
        position += 1
        if named is None:  # the first row says whether rows have ids
            named = task.data.id is not None or row.values.get("id") is not None
        before = len(log)
        name = _filled(task.data.id or "id", row, "id", log) if named else str(position)
        labels = _labels(row, task, log)
        if labels is None and len(log) == before:
            continue  # dropped by the task: whatever else is in the row does not matter
        text = _text(row, task, log)
        audio = _sound(row, task, source, folder, log)
        seconds = _seconds(row, task, log)
        if name is not None and (first := lines.setdefault(name, row.line)) != row.line:
            log.add(f"{name[:60]!r} is also the id on line {first}", line=row.line, field="id")
        if len(log) > before or labels is None or name is None or text is None:
            continue
        heard = row.values.get(task.data.heard) if task.data.heard is not None else None
        yield UnderstandingExample(
            name,
            text,
            labels,
            split,
            audio,
            seconds,
            heard if isinstance(heard, str) else None,
        )


def _wanted(row: Row, source: SplitData, log: ProblemLog) -> bool:
    for field, values in source.where.items():
        if field not in row.values:
            message, hint = missing_field(field, list(row.values), "data.splits")
            log.add(message, line=row.line, field=field, hint=hint)
            return False
        if str(row.values[field]) not in values:
            return False
    return True


def _labels(row: Row, task: UnderstandingTask, log: ProblemLog) -> tuple[str, ...] | None:
    """The row's classes; None where it is to be left out, which is no problem unless one was told."""
    field = task.data.label
    if field not in row.values:
        message, hint = missing_field(field, list(row.values), "data.label of the task file")
        log.add(message, line=row.line, field=field, hint=hint)
        return None
    try:
        given = names_of(task.form, row.values[field])
    except LabelFormError as error:
        log.add(str(error), line=row.line, field=field, hint=f"data.form of the task file is {task.form!r}")
        return None
    found = set()
    for raw in given:
        name = task.data.rename.get(raw, raw)
        if name in task.positions:
            found.add(name)
        elif raw not in task.data.drop and task.data.others == "error":
            known = ", ".join(task.label_names[:12]) + (", ..." if len(task.labels) > 12 else "")
            near = suggest(raw, task.label_names)
            meant = f"did you mean {near!r}? Else " if near else ""
            hint = f"{meant}rename or drop it under `data` of the task file, or say `others: drop`"
            log.add(f"unknown label {raw[:60]!r}, expected one of {known}", line=row.line, field=field, hint=hint)
            return None
    if not task.multi_label and not found:
        return None  # dropped
    if not found and task.none is None:
        hint = "give the task file an answer for it, such as `none: none`"
        log.add("no class, and the task has no answer for none", line=row.line, field=field, hint=hint)
        return None
    return task.canonical(found)


def _text(row: Row, task: UnderstandingTask, log: ProblemLog) -> str | None:
    field = task.data.text
    value = row.values.get(field)
    if task.query == "speech" and isinstance(value, str) and not value.strip():
        return ""  # something was said that nobody wrote down: it can be heard, but not shown as a demonstration
    if isinstance(value, list) and value and all(isinstance(word, str) for word in value):
        row = Row(row.line, {**row.values, field: " ".join(value)})
    return text_of(row, field, log)


def _filled(template: str, row: Row, what: str, log: ProblemLog) -> str | None:
    try:
        return filled(template, row.values)
    except UnfilledError as error:
        log.add(f"{what}: {error.reason}", line=row.line, field=error.field)
        return None


def _sound(row: Row, task: UnderstandingTask, source: SplitData, folder: Path, log: ProblemLog) -> Path | None:
    """The row's sound file; where queries are text, only if there is one."""
    if source.audio is None:
        return None
    name = _filled(source.audio, row, "audio", log)
    if name is None or (folder / name).is_file():
        return None if name is None else folder / name
    if task.query == "speech":
        log.add(f"there is no such sound file: {name}", line=row.line, field="audio", hint=f"it is sought in {folder}")
    return None


def _seconds(row: Row, task: UnderstandingTask, log: ProblemLog) -> tuple[float, float] | None:
    if task.data.start is None or task.data.end is None:
        return None
    times = []
    for field in (task.data.start, task.data.end):
        try:
            times.append(float(str(row.values.get(field))))
        except ValueError:
            log.add(f"expected seconds, found {row.values.get(field)!r}", line=row.line, field=field)
            return None
    start, end = times
    if not 0 <= start < end < float("inf"):
        log.add(f"the end, {end}, is not after the start, {start}", line=row.line, field=task.data.end)
        return None
    return start, end
