"""`tunelet predict` with a model that is none: texts in, rows out, in order, and a file that is whole or not there."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tunelet.cli import main
from tunelet.data.records import TextExample
from tunelet.evaluation import inference
from tunelet.tuning import folder


@dataclass(frozen=True)
class Row:
    """What a prediction needs to be written."""

    example: TextExample

    def to_json(self) -> dict[str, Any]:
        return {"id": self.example.id, "text": self.example.text, "predicted": "joy"}


@dataclass(frozen=True)
class Loaded:
    """An adapter with something odd about it."""

    warnings: tuple[str, ...] = ("no tunelet.json",)


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> dict[str, Any]:
    """How adapter and inference were called; the current folder holds an empty ``adapter/``."""
    seen: dict[str, Any] = {}

    def load_adapter(path: Path, **options: Any) -> Loaded:
        seen.update(options, adapter=path)
        return Loaded()

    def predict_stream(loaded: Loaded, examples: Iterable[TextExample], *, batch_size: int) -> Iterator[Row]:
        seen["batch_size"] = batch_size
        for example in examples:
            if example.text == "stop":
                raise KeyboardInterrupt
            yield Row(example)

    monkeypatch.setattr(folder, "load_adapter", load_adapter)
    monkeypatch.setattr(inference, "predict_stream", predict_stream)
    monkeypatch.chdir(tmp_path)
    Path("adapter").mkdir()
    return seen


def rows(text: str) -> list[tuple[str, str]]:
    return [(row["id"], row["text"]) for row in map(json.loads, text.splitlines())]


def test_texts_of_the_command_line(asked: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["predict", "adapter", "i am glad", "ß ☃"]) == 0
    shown = capsys.readouterr()
    assert rows(shown.out) == [("1", "i am glad"), ("2", "ß ☃")]
    assert "ß ☃" in shown.out
    assert shown.err == "warning: no tunelet.json\n"


def test_options_reach_the_library(asked: dict[str, Any]) -> None:
    assert main(["predict", "adapter", "a", "--base", "b", "--force", "--batch-size", "4"]) == 0
    assert asked == {"adapter": Path("adapter"), "base": "b", "force": True, "batch_size": 4}


def test_a_file_in_and_a_file_out(asked: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    Path("in.jsonl").write_text('{"id": "x", "body": "one"}\n{"id": "y", "body": "two"}\n')
    assert main(["predict", "adapter", "--file", "in.jsonl", "--field", "body", "--out", "new/out.jsonl"]) == 0
    assert rows(Path("new/out.jsonl").read_text()) == [("x", "one"), ("y", "two")]
    shown = capsys.readouterr()
    assert shown.out == ""
    assert "2 predictions in new/out.jsonl" in shown.err
    assert [path.name for path in Path("new").iterdir()] == ["out.jsonl"]


@pytest.mark.parametrize("data", [b"one\ntwo\n", b'{"text": "one"}\n{"text": "two"}\n'])
def test_standard_input(
    data: bytes, asked: dict[str, Any], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data)))
    assert main(["predict", "adapter"]) == 0
    assert [text for _, text in rows(capsys.readouterr().out)] == ["one", "two"]


def test_no_text_is_no_row(
    asked: dict[str, Any], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"")))
    assert main(["predict", "adapter"]) == 0
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(("last", "status"), [('{"text": 5}', 2), ('{"text": "stop"}', 130)])
def test_a_file_out_is_the_old_one_until_the_new_one_is_whole(last: str, status: int, asked: dict[str, Any]) -> None:
    Path("in.jsonl").write_text('{"text": "one"}\n' + last + "\n")
    Path("out.jsonl").write_text("old\n")
    assert main(["predict", "adapter", "--file", "in.jsonl", "--out", "out.jsonl"]) == status
    assert Path("out.jsonl").read_text() == "old\n"
    assert sorted(path.name for path in Path().iterdir()) == ["adapter", "in.jsonl", "out.jsonl"]


def test_a_wrong_first_row_is_told_before_the_model_is_loaded(
    asked: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    Path("in.jsonl").write_text('{"txt": "one"}\n')
    assert main(["predict", "adapter", "--file", "in.jsonl"]) == 2
    assert "in.jsonl:1: text" in capsys.readouterr().err
    assert asked == {}


def test_a_missing_adapter_is_told_before_anything_is_read(
    asked: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["predict", "adaptor", "one"]) == 2
    assert "adaptor: no such folder" in capsys.readouterr().err
    assert asked == {}
