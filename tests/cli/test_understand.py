"""``tunelet understand``: rows for texts and lines, what was shown, and what is wrong."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest

from toy import toy_base
from toy_understand import toy_told_tasks
from tunelet.cli import main
from tunelet.models.bases import load_base
from tunelet.models.prefix.model import build_prefix
from tunelet.models.settings import ModelSettings
from tunelet.systems import understand_folder
from tunelet.tuning.methods import prepare
from tunelet.tuning.prefix_folder import save_prefix
from tunelet.tuning.settings import TuningSettings


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with ``tasks``, ``base`` and an ``adapter`` that nothing has trained."""
    folder = tmp_path_factory.mktemp("understand-cli")
    toy_told_tasks(folder / "tasks")
    base = load_base(ModelSettings(base=str(toy_base(folder / "base")), max_length=256))
    tuned = prepare(build_prefix(base), TuningSettings(targets="qkv", r=2), total_steps=1, seed=1)
    save_prefix(folder / "adapter", tuned, base)
    return folder


def options(place: Path, *more: str) -> list[str]:
    named = ["--task", str(place / "tasks" / "moods.yaml"), "--adapter", str(place / "adapter")]
    return ["understand", *named, "--encoder", str(place / "base"), *more]


def rows_of(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


def test_texts_are_answered_with_scores_and_what_was_shown(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    kept = tmp_path / "answers.json"
    assert main(options(place, "--k", "2", "--json", str(kept), "we felt sad", "my dog loved the sun")) == 0
    rows = rows_of(capsys.readouterr().out)
    assert [row["text"] for row in rows] == ["we felt sad", "my dog loved the sun"]
    for row in rows:
        assert row["label"] == max(row["scores"], key=row["scores"].get) and set(row["scores"]) == {
            "glad",
            "low",
            "cross",
        }
        assert len(row["demonstrations"]) == 2
        assert {"split", "id", "text", "labels"} == set(row["demonstrations"][0])
    assert json.loads(kept.read_text(encoding="utf-8"))["answers"] == rows


def test_lines_of_standard_input_are_streamed(
    place: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = "".join(f"we felt low {i}\n\n" for i in range(40))
    monkeypatch.setattr("sys.stdin", io.StringIO(lines))
    assert main(options(place)) == 0
    rows = rows_of(capsys.readouterr().out)
    assert [row["text"] for row in rows] == [f"we felt low {i}" for i in range(40)]
    assert rows[0]["demonstrations"] == []


def test_sound_is_recognised_for_a_model_without_ears(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    class Hears:
        identity = "toy"

        def nbest(self, audio: object) -> list[Any]:
            return [type("One", (), {"text": "we felt sad"})()]

    monkeypatch.setattr(understand_folder, "build", lambda settings: Hears())
    monkeypatch.setattr(understand_folder, "read_audio", lambda path: None)
    (tmp_path / "a.wav").write_bytes(b"")
    assert main(options(place, str(tmp_path / "a.wav"), "we felt sad")) == 0
    sound, text = rows_of(capsys.readouterr().out)
    assert sound["heard"] == "we felt sad" and sound["label"] == text["label"] and sound["scores"] == text["scores"]


WRONG = [
    (["--adapter", "/nowhere"], "no such folder"),
    (["--task", "snipps"], "did you mean 'snips'"),
    (["missing.wav"], "no such sound file"),
]


@pytest.mark.parametrize(("more", "told"), WRONG, ids=lambda value: str(value)[:30])
def test_what_is_wrong_is_told(place: Path, capsys: pytest.CaptureFixture[str], more: list[str], told: str) -> None:
    assert main(options(place, *more)) == 2
    assert told in capsys.readouterr().err.replace("\n", " ")


def test_a_folder_of_another_kind_is_told(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(options(place, "--adapter", str(place / "base"), "x")) == 2
    assert "holds no model that answers prompts" in capsys.readouterr().err
