"""Spoken queries in `understand`: examples are spoken, a prefix model hears them, a recogniser's words are asked."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml

from toy_understand import toy_understand
from toy_voices import VOICES, Tones
from tunelet.base.errors import RecipeError
from tunelet.data import speaking
from tunelet.data.nbest import Hypothesis, NBest
from tunelet.data.recognisers.batch import Recognised
from tunelet.data.spoken import SpokenExample
from tunelet.data.understanding import spoken
from tunelet.models.speech.encoder_folder import LoadedEncoder, save_encoder
from tunelet.models.speech.small import SmallSettings, build_small
from tunelet.models.speech.soft_words import SpokenQueries
from tunelet.systems import load_recipe, run_recipe, understand_material
from tunelet.systems.understand_recipe import load_data
from tunelet.training.events import Note, Observer


@pytest.fixture
def recipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A recipe over examples without sound, with an encoder that nothing has trained."""

    def heard(examples: Sequence[SpokenExample], *rest: Any, **more: Any) -> Iterator[NBest]:
        for one in examples:
            assert one.audio.is_file()
            yield NBest(one.id, (Hypothesis("my cat", -1.0),), None, None)

    monkeypatch.setattr(spoken, "Espeak", Tones)
    monkeypatch.setattr(understand_material, "recognise", heard)
    for name in ("TRAIN_VOICES", "VALIDATION_VOICES", "TEST_VOICES"):
        monkeypatch.setattr(speaking, name, VOICES)
    settings = SmallSettings(width=16, layers=1, heads=2, mels=20, kernel=5)
    save_encoder(tmp_path / "ears", LoadedEncoder(build_small(settings, seed=1).eval()))
    path = toy_understand(tmp_path)
    tree = yaml.safe_load(path.read_text(encoding="utf-8"))
    tree["data"] |= {"k": [0, 1], "items": 3, "train_limit": 6, "validation": 3, "query": ["text", "speech"]}
    tree["data"] |= {"speak": True, "cascade": True}
    tree["model"] |= {"ears": str(tmp_path / "ears"), "heard_as": "characters"}
    tree["training"] |= {"max_steps": 2}
    tree |= {"seeds": [1], "runs": [{"name": "random", "approach": {"regime": "random", "query": "speech"}},
                                    {"name": "knn", "approach": {"regime": "knn"}}]}  # fmt: skip
    path.write_text(yaml.safe_dump(tree, sort_keys=False), encoding="utf-8")
    return path


def test_tasks_are_asked_by_text_by_sound_and_by_what_was_heard(
    recipe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    together: list[int] = []
    hear = LoadedEncoder.heard

    def counted(self: LoadedEncoder, examples: Sequence[Any]) -> Iterator[Any]:
        together.extend([len(examples)] if examples else [])
        return hear(self, examples)

    monkeypatch.setattr(LoadedEncoder, "heard", counted)
    folder = run_recipe(load_recipe(recipe), out=tmp_path / "out")
    result = json.loads((folder / "result.json").read_text(encoding="utf-8"))
    random, knn = result["runs"]
    ways = {(cell["query"], cell["cascade"]) for cell in random["cells"]}
    assert ways == {("text", False), ("speech", False), ("speech", True)}
    # a control hears nothing
    assert {(cell["query"], cell["cascade"]) for cell in knn["cells"]} == {("text", False), ("speech", True)}
    assert all(cell["n"] == 3 for cell in result["cells"])
    cells = {(c["task"], c["k"], c["query"], c["cascade"]): c for c in knn["cells"]}
    text = (folder / knn["folder"] / cells["places", 1, "speech", True]["answers_file"]).read_text(encoding="utf-8")
    shown = {json.dumps(json.loads(line)["demonstrations"]) for line in text.splitlines()}
    assert len(shown) == 1  # everything was heard as the same words
    assert len(list((folder / ".cache" / "spoken").glob("*.flac"))) == 6 + 3 + 3 + 3
    # each sound once, and those of a task together
    assert together == [6 + 3, 3, 3]


@pytest.mark.parametrize("matching", [True, False])
def test_what_is_shown_before_a_spoken_query_is_near_to_what_was_heard(
    recipe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, matching: bool
) -> None:
    def shown(query: str, run: dict[str, Any]) -> list[str]:
        cell = next(
            c for c in run["cells"] if (c["task"], c["k"], c["query"], c["cascade"]) == ("places", 1, query, False)
        )
        lines = (folder / run["folder"] / cell["answers_file"]).read_text(encoding="utf-8").splitlines()
        return [json.dumps(json.loads(line)["demonstrations"]) for line in lines]

    if matching:  # vectors of what was heard are compared, else what is written down
        monkeypatch.setattr(SpokenQueries, "__call__", lambda self, queries: [self._embeddings[5:7]] * len(queries))
    else:
        monkeypatch.setattr(SpokenQueries, "written", lambda self, queries: ["my cat"] * len(queries))
    tree = yaml.safe_load(recipe.read_text(encoding="utf-8"))
    tree["model"] |= {"matching": matching}
    recipe.write_text(yaml.safe_dump(tree, sort_keys=False), encoding="utf-8")
    folder = run_recipe(load_recipe(recipe), out=tmp_path / "out", only="random-*")
    (run,) = json.loads((folder / "result.json").read_text(encoding="utf-8"))["runs"]
    assert len({*shown("speech", run)}) == 1 < len({*shown("text", run)})


def test_long_work_with_sound_is_told_of_and_done_by_several_workers(
    recipe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Any] = []

    def heard(examples: Sequence[SpokenExample], *rest: Any, **more: Any) -> Iterator[NBest]:
        asked.append(more["workers"])
        for done, one in enumerate(examples, start=1):
            more["observer"](Recognised(one.id, done, len(examples), cached=done == 1))
            yield NBest(one.id, (Hypothesis("my cat", -1.0),), None, None)

    monkeypatch.setattr(understand_material, "recognise", heard)
    notes: list[str] = []
    run_recipe(load_recipe(recipe, ["data.workers=3"]), out=tmp_path / "out", observer=into(notes))
    assert asked == [3] * len(asked)
    assert asked
    said = [note for note in notes if note.startswith("recognising places:")]
    assert said == ["recognising places: 2 of 3", "recognising places: 3 of 3"]  # what was there is not told
    assert "speaking places: 3 of 3" in notes
    # how many work on it changes no answer
    hashes = {load_hash(recipe, [f"data.workers={workers}"]) for workers in (1, 3)}
    assert len(hashes) == 1


def test_a_control_stops_while_its_sound_is_made_and_tells_of_it(recipe: Path, tmp_path: Path) -> None:
    only_knn = load_recipe(recipe, ["runs=[{name: knn, approach: {regime: knn}}]"])
    notes: list[str] = []

    def stop() -> bool:
        return any(note.startswith("speaking") for note in notes)

    with pytest.raises(KeyboardInterrupt):
        run_recipe(only_knn, out=tmp_path / "out", observer=into(notes), interrupted=stop)
    assert not list((tmp_path / "out").rglob("*.flac"))


def into(notes: list[str]) -> Observer:
    """An observer that keeps what it is told."""
    return lambda event: notes.append(event.text) if isinstance(event, Note) else None


def load_hash(recipe: Path, overrides: list[str]) -> str:
    """What the data of a recipe are known by."""
    return str(load_data(load_recipe(recipe, overrides), None).sha256)


def test_ears_that_are_none_are_told(recipe: Path) -> None:
    for ears, told in (("nowhere", "neither a folder nor a recipe"), ("fuse-quick", "a recipe of 'fuse'")):
        with pytest.raises(RecipeError, match=told):
            load_data(load_recipe(recipe, [f"model.ears={ears}"]), None)
