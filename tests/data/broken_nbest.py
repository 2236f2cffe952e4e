"""Broken N-best lists, as a table: what lies on disk, how it is read, and what the error must tell."""

from __future__ import annotations

import gzip
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class BrokenLists:
    """One case.

    Attributes:
        name: of the case.
        files: path below the folder -> content.
        says: parts of the message or the hint.
        path: what is read; the default is the only file.
        options: keywords of the reader.
        file: how the file that the error names ends; None: as `path`.
        line, field: what the error names.
    """

    name: str
    files: Mapping[str, bytes]
    says: tuple[str, ...]
    path: str | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    file: str | None = None
    line: int | None = None
    field: str | None = None

    def write(self, folder: Path) -> Path:
        """Put the files into `folder`; returns what is to be read."""
        for name, content in self.files.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(content)
        return folder / (self.path if self.path is not None else next(iter(self.files)))


HYPOTHESIS = {"text": "the sea", "score": -1.5}
OK = {"id": "a", "ref": "the sea", "nbest": [HYPOTHESIS]}
MLM = {"ref": "the sea", "hyp_1": {"score": -1.0, "text": "the see"}}
FIRST = json.dumps(OK).encode() + b"\n"
RECOG = {"d/1best_recog/text": b"a the see\nb two\n", "d/1best_recog/score": b"a tensor(-1.5)\nb -2\n"}
KALDI = {"d/text": b"a-1 the see\na-2 the sea\n", "d/score": b"a-1 -1.5\na-2 -2\n"}


def jsonl(name: str, row: Any, says: tuple[str, ...], field: str | None = None, **more: Any) -> BrokenLists:
    """The second line of a JSONL file is `row`, or is made of `row` if that is bytes."""
    second = row if isinstance(row, bytes) else json.dumps(row).encode()
    return BrokenLists(f"jsonl: {name}", {"x.jsonl": FIRST + second + b"\n"}, says, line=2, field=field, **more)


def whole(name: str, content: Any, says: tuple[str, ...], field: str | None = None, **more: Any) -> BrokenLists:
    """A JSON file."""
    data = content if isinstance(content, bytes) else json.dumps(content, indent=1).encode()
    return BrokenLists(f"json: {name}", {"x.json": data}, says, field=field, **more)


def folder(name: str, files: Mapping[str, bytes | None], says: tuple[str, ...], **more: Any) -> BrokenLists:
    """A folder."""
    return BrokenLists(
        f"folder: {name}", {key: data for key, data in files.items() if data is not None}, says, path="d", **more
    )


def listed(**changes: Any) -> dict[str, Any]:
    """A good row with another id, changed; None removes a field."""
    row = {**OK, "id": "b", **changes}
    return {key: value for key, value in row.items() if value is not ...}


def hypothesis(**changes: Any) -> dict[str, Any]:
    """A row whose second hypothesis is changed."""
    changed = {key: value for key, value in {**HYPOTHESIS, **changes}.items() if value is not ...}
    return listed(nbest=[HYPOTHESIS, changed])


SCORE, TEXT = "nbest[1].score", "nbest[1].text"

CASES: list[BrokenLists] = [
    # files
    BrokenLists("file missing", {"x.jsonl": FIRST}, ("does not exist",), path="y.txt"),
    BrokenLists("JSON file missing", {"x.jsonl": FIRST}, ("cannot be read",), path="y.jsonl"),
    BrokenLists("unknown suffix", {"x.csv": b"a,b\n"}, ("unknown format '.csv'", ".jsonl")),
    BrokenLists("empty file", {"x.jsonl": b""}, ("no list in it",)),
    BrokenLists("only blank lines", {"x.jsonl": b"\n \n"}, ("no list in it",)),
    BrokenLists("empty JSON file", {"x.json": b" \n"}, ("the file is empty",)),
    BrokenLists("truncated gzip", {"x.jsonl.gz": gzip.compress(FIRST * 90)[:-9]}, ("damaged gzip",)),
    BrokenLists("truncated gzip of JSON", {"x.json.gz": gzip.compress(FIRST * 90)[:-9]}, ("damaged gzip",)),
    BrokenLists("gzip in name only", {"x.jsonl.gz": FIRST}, ("not compressed",)),
    BrokenLists("gzip without the name", {"x.json": gzip.compress(FIRST)}, ("compressed by gzip",)),
    BrokenLists("UTF-16", {"x.jsonl": FIRST.decode().encode("utf-16")}, ("UTF-16",)),
    BrokenLists(
        "references for a file",
        {"x.jsonl": FIRST, "ref": b"a the sea\n"},
        ("ESPnet or Kaldi only",),
        options={"references": Path("ref")},
        file="ref",
    ),
    # our JSON Lines
    jsonl("bad UTF-8", b'{"id": "caf\xe9"}', ("not UTF-8", "0xE9")),
    jsonl("bad JSON", b'{"id": "b, "nbest": []}', ("not JSON",)),
    jsonl("cut off", b'{"id": "b", "nbest": [{"te', ("not JSON",)),
    jsonl("one key twice", b'{"id": "b", "id": "c"}', ("twice",), "id"),
    jsonl("not an object", b"[1]", ("expected a JSON object", "a list")),
    jsonl("no id", listed(id=...), ("missing",), "id"),
    jsonl("id is a list", listed(id=[1]), ("a list",), "id"),
    jsonl("id is empty", listed(id=" "), ("empty",), "id"),
    jsonl("one id twice", OK, ("'a'", "on line 1"), "id"),
    jsonl("no nbest", listed(nbest=...), ("missing; there is id, ref",), "nbest"),
    jsonl("nbest is null", listed(nbest=None), ("expected a list", "null"), "nbest"),
    jsonl("nbest is an object", listed(nbest=HYPOTHESIS), ("an object",), "nbest"),
    jsonl("no hypotheses", listed(nbest=[]), ("no hypotheses", "empty text"), "nbest"),
    jsonl("hypothesis is a text", listed(nbest=["the sea"]), ("expected an object",), "nbest[0]"),
    jsonl("no score", hypothesis(score=...), ("missing; there is text",), SCORE),
    jsonl("score is null", hypothesis(score=None), ("null", "left out"), SCORE),
    jsonl("score is a text", hypothesis(score="-1"), ("without quotes",), SCORE),
    jsonl("score is true", hypothesis(score=True), ("true",), SCORE),
    jsonl("score is NaN", b'{"id":"b","nbest":[{"text":"a","score":NaN}]}', ("NaN",), "nbest[0].score"),
    jsonl("score is -Infinity", b'{"id":"b","nbest":[{"text":"a","score":-Infinity}]}', ("beyond",), "nbest[0].score"),
    jsonl("score is 1e999", b'{"id":"b","nbest":[{"text":"a","score":1e999}]}', ("beyond",), "nbest[0].score"),
    jsonl("score is a huge integer", hypothesis(score=10**400), ("beyond",), SCORE),
    jsonl("no text", hypothesis(text=...), ("missing; there is score",), TEXT),
    jsonl("text is null", hypothesis(text=None), ("expected a text", "null"), TEXT),
    jsonl("text is a list of words", hypothesis(text=["a"]), ("a list",), TEXT),
    jsonl("text with NUL", hypothesis(text="a\0"), ("NUL",), TEXT),
    jsonl("half a surrogate pair", hypothesis(text="\ud83d"), ("surrogate",), TEXT),
    jsonl("ref is a number", listed(ref=3), ("the number 3",), "ref"),
    jsonl("speaker is a list", listed(speaker=["a"]), ("a list",), "speaker"),
    jsonl("speaker is empty", listed(speaker=""), ("empty", "leave the field out"), "speaker"),
    jsonl("no reference", listed(ref=None), ("'b' has no reference",), "ref", options={"need_references": True}),
    jsonl("row of mlm-scoring", MLM, ("mlm-scoring", "one format only")),
    jsonl("file of mlm-scoring", {"u": MLM}, ("mlm-scoring", "named .json")),
    jsonl("row of HyPoradise", {"input": ["a"], "output": "a"}, ("HyPoradise", "one format only")),
    BrokenLists(
        "jsonl: ids are not LibriSpeech's",
        {"x.jsonl": FIRST},
        ("'a' is not like", "speaker: field"),
        options={"speaker": "librispeech"},
        line=1,
        field="id",
    ),
    # JSON of mlm-scoring
    whole("our rows", FIRST + FIRST, ("JSON Lines", "named .jsonl"), line=1),
    whole("a number", b"3", ("expected a JSON list or object",), line=1),
    whole("bad UTF-8", b'{"a\xff": 1}', ("not UTF-8",), line=1),
    whole("cut off", json.dumps({"a": MLM}, indent=1).encode()[:-20], ("not JSON",), line=6),
    whole("cut off after a value", b'{"a": {"hyp_1": {"score": 1, "text": ""}}\n', ("the file ends",), line=1),
    whole("no comma", b'{"a": {},\n "b": {} "c": {}}', ("expected ','",), line=2),
    whole("key without quotes", b"{a: 1}", ("not JSON",), line=1),
    whole("something behind", b'{"a": {"hyp_1": {"score": 1, "text": ""}}}\n{}', ("follows",), line=2),
    whole("nested too deeply", b'{"a": ' + b"[" * 100_000, ("nested too deeply",), line=1),
    whole("one key twice", b'{"a": {"ref": "a",\n "ref": "b"}}', ("twice",), "ref", line=1),
    whole("one utterance twice", b'{"a": %b,\n"a": %b}' % ((json.dumps(MLM).encode(),) * 2), ("line 1",), "id", line=2),
    whole("no utterance", {}, ("no list in it",)),
    whole("utterance is a text", {"a": "the sea"}, ("expected an object",), "a", line=2),
    whole("no hypotheses", {"a": {"ref": "x"}}, ("no hypotheses",), "a", line=2),
    whole("gap in the numbers", {"a": {"hyp_1": HYPOTHESIS, "hyp_3": HYPOTHESIS}}, ("missing",), "a.hyp_2", line=2),
    whole("hyp without number", {"a": {**MLM, "hyp": HYPOTHESIS}}, ("like hyp_1",), "a.hyp", line=2),
    whole("hypothesis is a text", {"a": {"hyp_1": "x"}}, ("expected an object",), "a.hyp_1", line=2),
    whole("no score", {"a": {"hyp_1": {"text": "x"}}}, ("missing",), "a.hyp_1.score", line=2),
    whole("score is NaN", {"a": {"hyp_1": {"text": "x", "score": float("nan")}}}, ("NaN",), "a.hyp_1.score", line=2),
    whole("ref is a number", {"a": {**MLM, "ref": 1}}, ("the number 1",), "a.ref", line=2),
    whole("list of ours", {"a": MLM, "b": listed()}, ("'nbest'", "one format only"), "b", line=9),
    whole("no reference", {"a": {"hyp_1": HYPOTHESIS}}, ("no reference",), options={"need_references": True}, line=2),
    # JSON of HyPoradise
    whole("empty list", [], ("no list in it",)),
    whole("entry is a text", ["a"], ("expected an object",), "[0]", line=2),
    whole("no input", [{"output": "a"}], ("missing; there is output",), "[0].input", line=2),
    whole("ours in a list", [OK], ("missing", "JSON Lines"), "[0].input", line=2),
    whole("input is a text", [{"input": "a"}], ("expected a list",), "[0].input", line=2),
    whole("input is empty", [{"input": []}], ("no hypotheses",), "[0].input", line=2),
    whole("input holds null", [{"input": ["a", None]}], ("null",), "[0].input[1]", line=2),
    whole("output is a list", [{"input": ["a"], "output": ["a"]}], ("a list",), "[0].output", line=2),
    whole("no output", [{"input": ["a"]}], ("no reference",), "ref", options={"need_references": True}, line=2),
    # folders of ESPnet
    folder("nothing in it", {"d/README": b"x\n"}, ("no N-best lists",)),
    folder("two formats", {**RECOG, **KALDI}, ("espnet and kaldi", "one format only")),
    folder("no scores", {**RECOG, "d/1best_recog/score": None}, ("score is missing",), file="1best_recog"),
    folder("empty text", {**RECOG, "d/1best_recog/text": b""}, ("the file is empty",), file="1best_recog/text"),
    folder(
        "one score missing",
        {**RECOG, "d/1best_recog/score": b"a -1\n"},
        ("no score for the text on line 2",),
        file="1best_recog/score",
        field="b",
    ),
    folder(
        "score without text",
        {**RECOG, "d/1best_recog/text": b"a x\n"},
        ("there is no text",),
        file="1best_recog/score",
        line=2,
        field="b",
    ),
    folder(
        "score is a word",
        {**RECOG, "d/1best_recog/score": b"a -1\nb good\n"},
        ("'good'",),
        file="1best_recog/score",
        line=2,
        field="b",
    ),
    folder(
        "score is tensor(nan)",
        {**RECOG, "d/1best_recog/score": b"a tensor(nan)\nb -1\n"},
        ("NaN",),
        file="1best_recog/score",
        line=1,
        field="a",
    ),
    folder(
        "no first hypothesis",
        {**RECOG, "d/2best_recog/text": b"c x\n", "d/2best_recog/score": b"c -1\n"},
        ("no hypothesis 1, but one of rank 2",),
        file="2best_recog/text",
        line=1,
        field="c",
    ),
    folder(
        "one utterance twice",
        {**RECOG, "d/1best_recog/text": b"a x\na y\nb z\n"},
        ("also on line 1",),
        file="1best_recog/text",
        line=2,
        field="a",
    ),
    folder(
        "one utterance in two parts",
        {name.replace("d/", f"d/output.{part}/"): data for part in (1, 2) for name, data in RECOG.items()},
        ("also the id of a list",),
        field="id",
        line=1,
    ),
    folder("no reference", RECOG, ("no reference",), options={"need_references": True}, line=1, field="ref"),
    folder("bad UTF-8", {**RECOG, "d/1best_recog/text": b"a \xff\n"}, ("not UTF-8",), file="text", line=1),
    folder("NUL in references", {**RECOG, "d/ref": b"a \0\n"}, ("NUL",), file="ref", line=1),
    # folders of Kaldi
    folder("neither scores nor costs", {**KALDI, "d/score": None}, ("score and cost", "neither")),
    folder("scores and costs", {**KALDI, "d/cost": b"a-1 1\na-2 2\n"}, ("both",)),
    folder("key without number", {**KALDI, "d/text": b"a x\n"}, ("a hyphen and a number",), file="text", line=1),
    folder("gap in the numbers", {**KALDI, "d/text": b"a-2 x\n"}, ("missing",), file="text", line=1, field="a-1"),
    folder("number 0", {**KALDI, "d/text": b"a-0 x\n"}, ("number from 1",), file="text", line=1, field="a-0"),
    folder("infinite score", {**KALDI, "d/score": b"a-1 inf\na-2 1\n"}, ("beyond",), file="score", line=1, field="a-1"),
    folder("no score", {**KALDI, "d/score": b"a-1\na-2 1\n"}, ("found ''",), file="score", line=1, field="a-1"),
    folder(
        "references that are not there",
        KALDI,
        ("cannot be read",),
        options={"references": Path("nowhere")},
        file="nowhere",
    ),
]
