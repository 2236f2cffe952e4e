"""`tunelet predict` with a model that is none: texts in, rows out, in order, and a file that is whole or not there.

Then with an adapter of a toy sweep: whatever way a text comes in, its row is that of predictions/test.jsonl.
"""

from __future__ import annotations

import csv
import gzip
import io
import json
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from toy_sweep import Toy
from tunelet.cli import main
from tunelet.data.records import TextExample
from tunelet.evaluation import inference
from tunelet.tuning import folder
from tunelet.tuning import inference as tuning_inference
from tunelet.tuning.guard import Guard


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
    precision: str = "fp32"
    guard: Guard | None = None


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> dict[str, Any]:
    """How adapter and inference were called; the current folder holds an empty ``adapter/``."""
    seen: dict[str, Any] = {}

    def load_adapter(path: Path, **options: Any) -> Loaded:
        seen.update(options, adapter=path)
        return Loaded()

    def predict_stream(loaded: Loaded, examples: Iterable[TextExample], *, batch_size: int | None) -> Iterator[Row]:
        seen["batch_size"] = batch_size
        for example in examples:
            if example.text == "stop":
                raise KeyboardInterrupt
            yield Row(example)

    def for_inference(loaded: Loaded, *, precision: str) -> Loaded:
        seen["precision"] = precision
        return Loaded(precision=precision, guard=Guard(multi_label=False) if precision == "int8" else None)

    monkeypatch.setattr(folder, "load_adapter", load_adapter)
    monkeypatch.setattr(tuning_inference, "for_inference", for_inference)
    monkeypatch.setattr(inference, "predict_stream", predict_stream)
    monkeypatch.chdir(tmp_path)
    Path("adapter").mkdir()
    return seen


def rows(text: str) -> list[tuple[str, str]]:
    return [(row["id"], row["text"]) for row in map(json.loads, text.splitlines())]


def test_texts_of_the_command_line(asked: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["predict", "adapter", "i am glad", "ß ☃"]) == 0
    shown = capsys.readouterr()
    assert rows(shown.out) == [("0", "i am glad"), ("1", "ß ☃")]
    assert "ß ☃" in shown.out
    assert shown.err == "warning: no tunelet.json\n"


def test_options_reach_the_library(asked: dict[str, Any]) -> None:
    assert main(["predict", "adapter", "a", "--base", "b", "--force", "--batch-size", "4", "--precision", "bf16"]) == 0
    expected = {"adapter": Path("adapter"), "base": "b", "force": True, "batch_size": 4, "precision": "bf16"}
    assert asked == expected


def test_precision_and_batches_are_chosen_by_default(asked: dict[str, Any]) -> None:
    assert main(["predict", "adapter", "a"]) == 0
    assert (asked["precision"], asked["batch_size"]) == ("auto", None)


def test_what_fp32_answered_again_is_told(asked: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["predict", "adapter", "a", "--precision", "int8"]) == 0
    assert "int8: 0 of 0 texts were near a tie" in capsys.readouterr().err


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


def test_a_folder_for_a_file_out_is_told_before_the_work(
    asked: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["predict", "adapter", "one", "--out", "adapter"]) == 2
    assert "--out: is a folder" in capsys.readouterr().err
    assert asked == {}


def test_an_interrupt_promises_no_saved_state(asked: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["predict", "adapter", "one", "stop"]) == 130
    assert capsys.readouterr().err.endswith("interrupted\n")


# --- with an adapter of a toy sweep


@pytest.fixture
def adapter(ended: Toy) -> str:
    """The adapter folder of a run."""
    return str(ended.folder("lora-seed1") / "adapter")


@pytest.fixture
def expected(ended: Toy) -> list[dict[str, Any]]:
    """What that run predicted for the test split."""
    path = ended.folder("lora-seed1") / "predictions" / "test.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()]


def wrong(found: str, expected: list[dict[str, Any]], *, keys: tuple[str, ...] = ("text", "predicted")) -> list[Any]:
    """Rows that differ from those expected; probabilities by more than another batch makes."""
    given = [json.loads(line) for line in found.splitlines()]
    assert len(given) == len(expected) == 18
    return [
        (one, other)
        for one, other in zip(given, expected, strict=True)
        if any(one[key] != other[key] for key in keys)
        or one["probabilities"] != pytest.approx(other["probabilities"], abs=1e-5)
    ]


def test_a_file_is_predicted_as_the_run_did(
    adapter: str, expected: list[dict[str, Any]], ended: Toy, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["predict", adapter, "--file", str(ended.data / "test.jsonl")]) == 0
    shown = capsys.readouterr()
    assert wrong(shown.out, expected, keys=("id", "text", "label", "predicted")) == []
    assert shown.err == ""


@pytest.mark.parametrize("name", ["in.csv", "in.tsv", "in.txt", "in.jsonl.gz", "in.csv.gz", "in.txt.gz"])
def test_every_format_gives_the_same(
    name: str, adapter: str, expected: list[dict[str, Any]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    content = io.StringIO()
    if ".txt" in name:
        content.write("".join(row["text"] + "\n" for row in expected))
    elif ".jsonl" in name:
        content.write("".join(json.dumps({"text": row["text"]}) + "\n" for row in expected))
    else:
        table = csv.writer(content, delimiter="\t" if ".tsv" in name else ",", lineterminator="\n")
        table.writerows([["text"], *([row["text"]] for row in expected)])
    data = content.getvalue().encode()
    (tmp_path / name).write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
    assert main(["predict", adapter, "--file", str(tmp_path / name), "--batch-size", "4"]) == 0
    assert wrong(capsys.readouterr().out, expected) == []


def test_arguments_and_standard_input_give_the_same(
    adapter: str,
    expected: list[dict[str, Any]],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    texts = [row["text"] for row in expected]
    assert main(["predict", adapter, *texts]) == 0
    assert wrong(capsys.readouterr().out, expected) == []
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO("\n".join(texts).encode())))
    assert main(["predict", adapter]) == 0
    assert wrong(capsys.readouterr().out, expected) == []


def test_a_file_out_holds_the_same(
    adapter: str, expected: list[dict[str, Any]], ended: Toy, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out.jsonl"
    assert main(["predict", adapter, "--file", str(ended.data / "test.jsonl"), "--out", str(out)]) == 0
    assert wrong(out.read_text(), expected, keys=("id", "text", "label", "predicted")) == []
    assert f"18 predictions in {out}" in capsys.readouterr().err


def test_probabilities_are_of_all_labels_and_sum_to_one(adapter: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["predict", adapter, "i feel glad today"]) == 0
    row = json.loads(capsys.readouterr().out)
    assert list(row["probabilities"]) == ["sadness", "joy", "love", "anger", "fear", "surprise"]
    assert sum(row["probabilities"].values()) == pytest.approx(1, abs=1e-6)
    assert row["predicted"] == max(row["probabilities"], key=row["probabilities"].get)


def test_a_folder_that_is_no_adapter_is_wrong_input(ended: Toy, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["predict", str(ended.out), "one"]) == 2
    shown = capsys.readouterr()
    assert str(ended.out) in shown.err and "Traceback" not in shown.err
    assert shown.out == ""
