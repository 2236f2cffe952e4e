"""Broken data inputs, as a table: what lies on disk, what the recipe says, and what the error must tell.

Each case starts from three good split files of the emotion task and breaks something. `{folder}` in settings, in
`data_dir` and in `environment` stands for the folder that `write` fills. The table is used here on `load_dataset`,
and can be used on anything that takes a `data` section.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

LABELS = ("sadness", "joy", "love", "anger", "fear", "surprise")


def rows(*records: Any) -> bytes:
    """JSON Lines of the records."""
    return "".join(json.dumps(record) + "\n" for record in records).encode()


def good(split: str) -> bytes:
    """A good split: two texts of each label."""
    return rows(*[{"text": f"{split} says {label} {i}", "label": label} for i in range(2) for label in LABELS])


@dataclass(frozen=True)
class Broken:
    """One case.

    Attributes:
        name: of the case.
        files: path below the folder -> content; None removes a good file.
        settings: the `data` section; the default reads the emotion task from the folder.
        data_dir: what ``--data`` gives.
        environment: what TUNELET_DATA holds.
        file: how the file that the error names ends; None: it names none.
        line, field: what the error names.
        says: parts of the message or the hint.
    """

    name: str
    says: tuple[str, ...]
    files: Mapping[str, bytes | None] = field(default_factory=dict)
    settings: Mapping[str, Any] = field(default_factory=lambda: {"path": "{folder}"})
    data_dir: str | None = None
    environment: str | None = None
    file: str | None = None
    line: int | None = None
    field: str | None = None

    def write(self, folder: Path) -> dict[str, Any]:
        """Put the files into `folder`; returns the `data` section."""
        files: dict[str, bytes | None] = {f"{split}.jsonl": good(split) for split in ("train", "validation", "test")}
        for name, content in {**files, **self.files}.items():
            if content is not None:
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                (folder / name).write_bytes(content)
        return {key: self.placed(value, folder) for key, value in self.settings.items()}

    @staticmethod
    def placed(value: Any, folder: Path) -> Any:
        """`value` with the folder in its place."""
        return value.replace("{folder}", str(folder)) if isinstance(value, str) else value


OK = {"text": "all is well", "label": "joy"}
FIRST = rows(OK)
SECOND = {"file": "train.jsonl", "line": 2}
CSV = {"train.jsonl": None}


def train(content: bytes) -> dict[str, bytes | None]:
    """The train split holds `content`."""
    return {"train.jsonl": content}


def csv(content: bytes, name: str = "train.csv") -> dict[str, bytes | None]:
    """The train split is the table `content`."""
    return {**CSV, name: content}


def task(content: str) -> dict[str, Any]:
    """A task file beside the splits."""
    return {
        "files": {"task.yaml": content.encode()},
        "settings": {"path": "{folder}", "task": "{folder}/task.yaml"},
        "file": "task.yaml",
    }


NEVER = b'{"text": "never ending"'
MULTI = {"path": "{folder}", "task": "moods", "labels": list(LABELS), "multi_label": True}

CASES: list[Broken] = [
    # bytes
    Broken(
        "bad UTF-8", ("not UTF-8", "0xE9", "iconv"), train(FIRST + b'{"text": "caf\xe9", "label": "joy"}\n'), **SECOND
    ),
    Broken("UTF-16", ("UTF-16", "iconv"), train(FIRST.decode().encode("utf-16")), file="train.jsonl"),
    Broken("NUL byte", ("NUL", "column 11"), train(FIRST + b'{"text": "\0", "label": "joy"}\n'), **SECOND),
    Broken("NUL by escape", ("NUL",), train(FIRST + rows({"text": "a\0b", "label": "joy"})), **SECOND, field="text"),
    Broken(
        "half a surrogate pair",
        ("surrogate",),
        train(FIRST + rows({"text": "\ud83d", "label": "joy"})),
        **SECOND,
        field="text",
    ),
    Broken("empty file", ("the file is empty",), train(b""), file="train.jsonl"),
    Broken("byte order mark alone", ("the file is empty",), train(b"\xef\xbb\xbf"), file="train.jsonl"),
    Broken("only blank lines", ("only blank lines",), train(b"\n  \n\r\n"), file="train.jsonl"),
    Broken("empty test split", ("the file is empty",), {"test.jsonl": b""}, file="test.jsonl"),
    Broken(
        "truncated gzip",
        ("damaged gzip",),
        {**CSV, "train.jsonl.gz": gzip.compress(good("train") * 9)[:-12]},
        file="train.jsonl.gz",
    ),
    Broken("gzip in name only", ("not compressed",), {**CSV, "train.jsonl.gz": FIRST}, file="train.jsonl.gz"),
    Broken("gzip without the name", ("compressed by gzip", ".gz"), train(gzip.compress(FIRST)), file="train.jsonl"),
    # JSON Lines
    Broken("bad JSON", ("not JSON", "column"), train(FIRST + b'{"text": "oops, "label": "joy"}\n'), **SECOND),
    Broken("cut off in the last line", ("not JSON",), train(FIRST + NEVER), **SECOND),
    Broken("JSON text, not an object", ("expected a JSON object", "'hello'"), train(FIRST + b'"hello"\n'), **SECOND),
    Broken("one JSON list", ("JSON Lines", "jq"), train(json.dumps([OK, OK]).encode()), file="train.jsonl", line=1),
    Broken(
        "JSON over many lines", ("JSON Lines",), train(json.dumps([OK], indent=1).encode()), file="train.jsonl", line=1
    ),
    Broken("nested too deeply", ("nested too deeply",), train(FIRST + b"[" * 100_000 + b"\n"), **SECOND),
    Broken(
        "one key twice",
        ("twice",),
        train(FIRST + b'{"text": "a", "text": "b", "label": "joy"}\n'),
        **SECOND,
        field="text",
    ),
    # fields
    Broken(
        "no text",
        ("missing", "did you mean 'texts'"),
        train(FIRST + rows({"texts": "a", "label": "joy"})),
        **SECOND,
        field="text",
    ),
    Broken(
        "no label",
        ("missing; there is text", "data.label_field"),
        train(FIRST + rows({"text": "a"})),
        **SECOND,
        field="label",
    ),
    Broken(
        "text is a number", ("the number 3",), train(FIRST + rows({"text": 3, "label": "joy"})), **SECOND, field="text"
    ),
    Broken(
        "text is null", ("found null",), train(FIRST + rows({"text": None, "label": "joy"})), **SECOND, field="text"
    ),
    Broken("empty text", ("empty",), train(FIRST + rows({"text": "", "label": "joy"})), **SECOND, field="text"),
    Broken("white space", ("empty",), train(FIRST + rows({"text": " \t", "label": "joy"})), **SECOND, field="text"),
    Broken(
        "invisible text", ("empty",), train(FIRST + rows({"text": "\u200b ", "label": "joy"})), **SECOND, field="text"
    ),
    Broken(
        "label is a number",
        ("the number 1", "written as 'joy'"),
        train(FIRST + rows({"text": "a", "label": 1})),
        **SECOND,
        field="label",
    ),
    Broken(
        "label is a list", ("a list",), train(FIRST + rows({"text": "a", "label": ["joy"]})), **SECOND, field="label"
    ),
    Broken("label is NaN", ("NaN",), train(FIRST + b'{"text": "a", "label": NaN}\n'), **SECOND, field="label"),
    Broken("label is empty", ("empty",), train(FIRST + rows({"text": "a", "label": ""})), **SECOND, field="label"),
    Broken(
        "unknown label",
        ("unknown label 'sadnes'", "did you mean 'sadness'?"),
        train(FIRST + rows({"text": "a", "label": "sadnes"})),
        **SECOND,
        field="label",
    ),
    Broken(
        "one id twice",
        ("'a'", "line 1"),
        train(rows({**OK, "id": "a"}, {**OK, "id": "a"})),
        **SECOND,
        field="id",
    ),
    Broken("some rows without id", ("line 1 has one",), train(rows({**OK, "id": 7}, OK)), **SECOND, field="id"),
    Broken("id is a list", ("a list",), train(rows({**OK, "id": 7}, {**OK, "id": [8]})), **SECOND, field="id"),
    Broken(
        "multi-label without a list", ("expected a list",), train(FIRST), settings=MULTI, file="train.jsonl", line=1
    ),
    Broken(
        "multi-label, one label twice",
        ("given twice",),
        train(rows({"text": "a", "label": ["joy", "joy"]})),
        settings=MULTI,
        file="train.jsonl",
        line=1,
        field="label",
    ),
    # tables
    Broken(
        "row with too many cells", ("3 cells, more",), csv(b"text,label\na,joy\nb,c,joy\n"), file="train.csv", line=3
    ),
    Broken("row with too few cells", ("1 cell, fewer",), csv(b"text,label\na\n"), file="train.csv", line=2),
    Broken(
        "quotes not closed", ("never closed",), csv(b'text,label\na,joy\n"b,joy\nc,joy\n'), file="train.csv", line=3
    ),
    Broken("text after a quote", ("not CSV",), csv(b'text,label\n"a"b,joy\n'), file="train.csv", line=2),
    Broken("header and no rows", ("no rows",), csv(b"text,label\n"), file="train.csv"),
    Broken(
        "no column of that name",
        ("missing", "there is"),
        csv(b"sentence,label\na,joy\n"),
        file="train.csv",
        line=1,
        field="text",
    ),
    Broken("semicolons", ("';'",), csv(b"text;label\na;joy\n"), file="train.csv", line=1, field="text"),
    Broken(
        "one column twice", ("twice",), csv(b"text,label,label\na,joy,joy\n"), file="train.csv", line=1, field="label"
    ),
    Broken(
        "bad UTF-8 in a table", ("not UTF-8",), csv(b'text,label\n"a\n\xff",joy\nb,joy\n'), file="train.csv", line=3
    ),
    Broken(
        "TSV with too many cells", ("3 cells",), csv(b"text\tlabel\na\tb\tjoy\n", "train.tsv"), file="train.tsv", line=2
    ),
    # folders
    Broken("split file missing", ("validation split is missing",), {"validation.jsonl": None}, file="{folder}"),
    Broken(
        "split under another name",
        ("rename dev.jsonl",),
        {"validation.jsonl": None, "dev.jsonl": good("dev")},
        file="{folder}",
    ),
    Broken("one split twice", ("train.jsonl, train.csv",), {"train.csv": b"text,label\na,joy\n"}, file="{folder}"),
    Broken(
        "folder missing", ("does not exist",), settings={"path": "{folder}/nowhere"}, file="nowhere", field="data.path"
    ),
    Broken(
        "a file for a folder",
        ("is a file",),
        settings={"path": "{folder}/test.jsonl"},
        file="test.jsonl",
        field="data.path",
    ),
    Broken(
        "--data missing", ("does not exist",), settings={}, data_dir="{folder}/nowhere", file="nowhere", field="--data"
    ),
    Broken(
        "--data without the task",
        ("neither split files",),
        {"other/emotions/train.jsonl": FIRST},
        settings={},
        data_dir="{folder}/other",
        file="other",
        field="--data",
    ),
    Broken("--data and path", ("--data names",), data_dir="{folder}", field="data.path"),
    Broken(
        "TUNELET_DATA missing",
        ("does not exist",),
        settings={},
        environment="{folder}/nowhere",
        file="nowhere",
        field="TUNELET_DATA",
    ),
    Broken(
        "TUNELET_DATA asked for and not set", ("is not set",), settings={"source": "environment"}, field="data.source"
    ),
    Broken(
        "TUNELET_DATA without a split",
        ("test split is missing",),
        {"emotion/train.jsonl": FIRST, "emotion/validation.jsonl": FIRST},
        settings={},
        environment="{folder}",
        file="TUNELET_DATA/emotion",
    ),
    # tasks
    Broken(
        "unknown task",
        ("unknown task 'emotoin'", "'emotion'"),
        settings={"path": "{folder}", "task": "emotoin"},
        field="data.task",
    ),
    Broken(
        "labels for a built-in task",
        ("built in",),
        settings={"path": "{folder}", "task": "emotion", "labels": ["a", "b"]},
        field="data.labels",
    ),
    Broken(
        "labels named twice",
        ("'a' is named twice",),
        settings={"path": "{folder}", "labels": ["a", "b", "a"]},
        field="data.labels",
    ),
    Broken("one label", ("at least 2, found 1",), settings={"path": "{folder}", "labels": ["a"]}, field="data.labels"),
    Broken(
        "no data for a task",
        ("no data for task 'mine'",),
        settings={"task": "mine", "labels": ["a", "b"]},
        field="data.path",
    ),
    Broken(
        "task file missing",
        ("cannot be read",),
        settings={"path": "{folder}", "task": "{folder}/none.yaml"},
        file="none.yaml",
    ),
    Broken("task file empty", ("empty",), **task("\n")),
    Broken("task file is a list", ("a list",), **task("- a\n- b\n")),
    Broken("task file is not YAML", ("not YAML",), **task("name: [a\nlabels: b\n"), line=2),
    Broken("task file without labels", ("missing",), **task("name: t\n"), field="labels"),
    Broken("task file, labels null", ("found nothing",), **task("name: t\nlabels:\n"), line=2, field="labels"),
    Broken(
        "task file, a label twice",
        ("twice", "line 3"),
        **task("name: t\nlabels:\n  a: x\n  a: y\n"),
        line=4,
        field="labels.a",
    ),
    Broken(
        "task file, no definition",
        ("definition is missing",),
        **task("name: t\nlabels:\n  a: x\n  b:\n"),
        line=4,
        field="labels.b",
    ),
    Broken("task file, labels in a list", ("a list",), **task("name: t\nlabels: [a, b]\n"), line=2, field="labels"),
    Broken(
        "task file, unknown key",
        ("did you mean 'labels'",),
        **task("name: t\nlabel: {a: x, b: y}\n"),
        line=2,
        field="label",
    ),
    Broken(
        "task file, unknown metric",
        ("unknown metric 'f1'", "macro_f1"),
        **task("name: t\nlabels: {a: x, b: y}\nmetric: f1\n"),
        line=3,
        field="metric",
    ),
    Broken(
        "task file, name is a path", ("letters",), **task("name: ../t\nlabels: {a: x, b: y}\n"), line=1, field="name"
    ),
]
