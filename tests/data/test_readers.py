"""Readers: what is read, in every format, and that odd but good files are read as they stand."""

from __future__ import annotations

import gzip
import io
import json
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tunelet.base.errors import DataError
from tunelet.data.problems import ProblemLog
from tunelet.data.readers import read_examples, read_texts
from tunelet.data.records import Task, TextExample

TWO = (TextExample("0", 'say "well", she said', ("good",)), TextExample("1", "so, so", ("odd",)))
ONE_JSON = b'{"text": "say \\"well\\", she said", "label": "good"}'
TWO_JSON = b'{"text": "so, so", "label": "odd"}'
FORMS = {
    "a.jsonl": ONE_JSON + b"\n" + TWO_JSON,
    "crlf.jsonl": ONE_JSON + b"\r\n\r\n" + TWO_JSON + b"\r\n",
    "bom.jsonl": b"\xef\xbb\xbf" + ONE_JSON + b"\n" + TWO_JSON + b"\n",
    "a.csv": b'text,label\n"say ""well"", she said",good\n"so, so",odd\n',
    "bom.csv": b'\xef\xbb\xbf"text",label\r\n"say ""well"", she said",good\r\n\r\n"so, so",odd\r\n',
    "columns.csv": b'n,label,text\n1,good,"say ""well"", she said"\n2,odd,"so, so"\n',
    "a.tsv": b'text\tlabel\nsay "well", she said\tgood\nso, so\todd\n',
}


@pytest.mark.parametrize("packed", [False, True], ids=["plain", "gz"])
@pytest.mark.parametrize("name", FORMS)
def test_all_formats_give_the_same_examples(name: str, packed: bool, tmp_path: Path, mood: Task) -> None:
    path = tmp_path / (name + ".gz" if packed else name)
    path.write_bytes(gzip.compress(FORMS[name]) if packed else FORMS[name])
    assert read_examples(path, mood) == TWO


def test_lines_end_at_newlines_only(tmp_path: Path, mood: Task) -> None:
    text = "one\u2028two\u0085three\x0cfour\x1dfive"
    path = tmp_path / "a.jsonl"
    path.write_text(json.dumps({"text": text, "label": "good"}, ensure_ascii=False) + "\n", encoding="utf-8")
    assert [example.text for example in read_examples(path, mood)] == [text]
    path = tmp_path / "a.csv"
    path.write_text(f'text,label\n"{text}\nsix",good\n', encoding="utf-8", newline="")
    assert [example.text for example in read_examples(path, mood)] == [text + "\nsix"]


def test_ids_are_taken_as_text_and_fields_may_have_other_names(tmp_path: Path, mood: Task) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('{"id": 7, "body": "fine", "mood": "good"}\n{"id": "b", "body": "fine", "mood": "bad"}\n')
    assert [(e.id, e.labels) for e in read_examples(path, mood, "body", "mood")] == [("7", ("good",)), ("b", ("bad",))]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.jsonl", '{"text": "x", "label": ["odd", "good"]}\n{"text": "y", "label": []}\n'),
        ("a.csv", "text,label\nx,odd|good\ny,\n"),
        ("a.tsv", "text\tlabel\nx\todd|good\ny\t\n"),
    ],
)
def test_labels_of_a_multi_label_task_stand_in_its_order(name: str, content: str, tmp_path: Path, moods: Task) -> None:
    path = tmp_path / name
    path.write_text(content)
    assert [example.labels for example in read_examples(path, moods)] == [("good", "odd"), ()]


def test_a_json_file_is_pointed_to_json_lines(tmp_path: Path, mood: Task) -> None:
    (tmp_path / "a.json").write_text("[]")
    with pytest.raises(DataError, match=r"unknown format '.json'.*jq"):
        read_examples(tmp_path / "a.json", mood)


WORDS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=30).map(
    lambda text: "x" + text  # something visible
)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(records=st.lists(st.tuples(WORDS, st.sampled_from(["good", "bad", "odd"])), min_size=1, max_size=5))
def test_whatever_is_written_as_json_lines_is_read_back(
    records: list[tuple[str, str]], tmp_path: Path, mood: Task
) -> None:
    path = tmp_path / "a.jsonl"
    lines = [json.dumps({"text": text, "label": label}, ensure_ascii=False) + "\n" for text, label in records]
    path.write_bytes("".join(lines).encode())
    assert [(e.text, e.labels[0]) for e in read_examples(path, mood)] == records


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(noise=st.binary(max_size=60), name=st.sampled_from(["a.jsonl", "a.csv", "a.tsv", "a.jsonl.gz"]))
def test_no_bytes_whatever_cause_another_error_than_ours(noise: bytes, name: str, tmp_path: Path, mood: Task) -> None:
    path = tmp_path / name
    head = b"" if "jsonl" in name else (b"text,label\n" if "csv" in name else b"text\tlabel\n")
    content = head + noise
    path.write_bytes(gzip.compress(content)[: len(noise) * 2 or None] if name.endswith("gz") else content)
    try:
        examples = read_examples(path, mood)
    except DataError as error:
        assert all(problem.file == path for problem in error.problems)
    else:
        assert examples


def test_texts_are_read_from_files_and_streams(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("\ufeffone\n\n  two \n")
    (tmp_path / "a.csv").write_text("text,label\none,7\n")
    assert [(e.id, e.text) for e in read_texts(tmp_path / "a.txt")] == [("0", "one"), ("1", "  two ")]
    assert list(read_texts(tmp_path / "a.csv")) == [TextExample("0", "one", ("7",))]
    assert [e.text for e in read_texts(io.BytesIO(b"one\ntwo"))] == ["one", "two"]
    stream = io.BytesIO(b'\n{"id": 5, "text": "one", "label": ["a", "b"]}\n{"text": "two", "label": 3}\n')
    assert list(read_texts(stream)) == [TextExample("5", "one", ("a", "b")), TextExample("1", "two")]


def test_texts_stream_one_at_a_time() -> None:
    class Endless(io.RawIOBase):
        def __init__(self) -> None:
            self.taken = 0

        def readable(self) -> bool:
            return True

        def readinto(self, buffer: bytearray) -> int:  # type: ignore[override]
            self.taken += 1
            buffer[:4] = b"one\n"
            return 4

    source = Endless()
    texts = read_texts(io.BufferedReader(source, 8))
    assert [next(texts).text for _ in range(3)] == ["one"] * 3
    assert source.taken < 20


def test_a_bad_text_stops_a_stream_or_is_left_out() -> None:
    content = b'{"text": "one"}\n{"text": ""}\n{"txt": 1}\n{"text": "four"}\n'
    texts = read_texts(io.BytesIO(content), name="<stdin>")
    assert next(texts).text == "one"
    with pytest.raises(DataError, match="<stdin>:2: text: empty"):
        next(texts)
    log = ProblemLog("<stdin>")
    assert [(e.id, e.text) for e in read_texts(io.BytesIO(content), report=log)] == [("0", "one"), ("3", "four")]
    assert [problem.line for problem in log.problems()] == [2, 3]


def test_an_open_stream_stays_open() -> None:
    stream = io.BytesIO(b"one\n")
    assert len(list(read_texts(stream))) == 1
    assert not stream.closed
