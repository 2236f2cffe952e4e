"""The system `rescore` at toy size: runs, stages, results, the adapter folder, the command line, the report."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from toy_language import toy_encoder
from toy_rescore import make_rescore, toy_lists
from toy_sweep import Toy
from tunelet.base.errors import AdapterError, DataError, InputError, RecipeError
from tunelet.cli import main
from tunelet.data.nbest_files import write_nbest
from tunelet.data.normalise import normaliser
from tunelet.data.spoken import embedded_speech
from tunelet.evaluation.transcripts import total, utterance_errors
from tunelet.report.result_schema import model_of, validate_as
from tunelet.systems import load_recipe, rescore_folder
from tunelet.training.events import Note, RunFinished, StepDone

SETS = ("dev", "heard")


@pytest.fixture(scope="module")
def rescored(tmp_path_factory: pytest.TempPathFactory) -> Toy:
    """A sweep that has ended; tests copy it before they change it."""
    folder = tmp_path_factory.mktemp("rescored")
    toy_encoder(folder / "base")
    toy = make_rescore(folder, folder / "base")
    toy.run()
    return toy


def test_a_sweep_has_its_three_kinds_of_runs(rescored: Toy) -> None:
    result = rescored.result()
    validate_as(model_of("rescore"), result)
    assert result["finished"]
    assert [run["name"] for run in result["runs"]] == ["ngram-seed1", "lora-seed1", "full-seed1"]
    ways = [list(run["metrics"]["heard"]["ways"]) for run in result["runs"]]
    assert ways == [["ngram"], ["ngram", "scorer", "combined"], ["ngram", "scorer", "combined"]]
    assert [run["metrics"]["heard"]["way"] for run in result["runs"]] == ["ngram", "combined", "combined"]
    trained = [run["resources"]["trainable_parameters"] for run in result["runs"]]
    assert trained[0] == 0 < trained[1] < trained[2]


def test_held_out_speakers_choose_and_do_not_train(rescored: Toy) -> None:
    splits = rescored.result()["data"]["splits"]
    assert splits["train"] + splits["dev"] == 24 and splits["heard"] == 12
    dev = {json.loads(line)["id"] for line in _rows(rescored, "lora-seed1", "dev")}
    speakers = {one.speaker for one in toy_lists("train", 24) if one.id in dev}
    others = {one.speaker for one in toy_lists("train", 24) if one.id not in dev}
    assert len(dev) == splits["dev"] and speakers and others and not speakers & others


@pytest.mark.parametrize("name", ["ngram-seed1", "lora-seed1", "full-seed1"])
def test_the_rates_are_those_of_the_rows_on_disk(rescored: Toy, name: str) -> None:
    lists = {one.id: one for one in [*toy_lists("train", 24), *toy_lists("heard", 12)]}
    (run,) = [run for run in rescored.result()["runs"] if run["name"] == name]
    for split in SETS:
        rows = [json.loads(line) for line in _rows(rescored, name, split)]
        refs = [str(lists[row["id"]].ref) for row in rows]
        errors = total(utterance_errors(refs, [row["text"] for row in rows], normaliser("lower")))
        found = run["metrics"][split]
        assert (found["errors_rescored"], found["words"], found["utterances"]) == (
            errors.errors,
            errors.words,
            len(rows),
        )
        assert found["wer_rescored"] == pytest.approx(errors.errors / errors.words)
        assert found["wer_oracle"] <= found["wer_rescored"]
        assert {unit for unit in found["ways"][found["way"]]["reduction"]} == {"utterances", "speakers"}
        for row in rows:
            scores = [entry["score"] for entry in row["nbest"]]
            assert scores == sorted(scores, reverse=True) and row["text"] == row["nbest"][0]["text"]
            assert all(e["score"] == pytest.approx(e["first_pass"] + e["second_pass"]) for e in row["nbest"])
            given = sorted((h.text, h.score) for h in lists[row["id"]].hypotheses)
            assert sorted((entry["text"], entry["first_pass"]) for entry in row["nbest"]) == given


def test_weights_never_do_harm_on_dev(rescored: Toy) -> None:
    for run in rescored.result()["runs"]:
        dev = run["metrics"]["dev"]
        assert dev["errors_oracle"] <= dev["errors_rescored"] <= dev["errors_first_pass"]
        for way, found in run["weights"].items():
            assert found["errors"] == dev["ways"][way]["errors"] and found["errors_before"] == dev["errors_first_pass"]
            assert all(found["weights"].get(key, 0) >= 0 for key in ("scorer", "ngram"))


def test_a_second_time_nothing_is_done(rescored: Toy, tmp_path: Path) -> None:
    copy = rescored.copy(tmp_path / "out")
    copy.run()
    assert [event.skipped for event in copy.told(RunFinished)] == [True] * 3
    assert not copy.told(StepDone)


def test_a_lost_run_takes_its_stages_from_the_cache(rescored: Toy, tmp_path: Path) -> None:
    copy = rescored.copy(tmp_path / "out")
    before = copy.result()["runs"]
    shutil.rmtree(copy.folder("lora-seed1"))
    copy.run(only="lora")
    told = " ".join(note.text for note in copy.told(Note))
    assert "n-gram scores" not in told and "reading" not in told
    for old, new in zip(before, copy.result()["runs"], strict=True):
        assert old["metrics"] == new["metrics"] and old["weights"] == new["weights"]


def test_a_damaged_stage_is_made_again(rescored: Toy, tmp_path: Path) -> None:
    copy = rescored.copy(tmp_path / "out")
    before = copy.result()["runs"][0]["metrics"]
    shutil.rmtree(copy.folder("ngram-seed1"))
    for path in [*(copy.out / ".cache").glob("*.npz"), *(copy.out / ".cache").glob("*.safetensors")]:
        path.write_bytes(path.read_bytes()[:100])
    copy.run(only="ngram")
    assert any("damaged" in note.text for note in copy.told(Note))
    assert copy.result()["runs"][0]["metrics"] == before


def test_an_interrupted_run_ends_as_one_that_was_not(rescored: Toy, tmp_path: Path) -> None:
    cut = rescored.fresh(tmp_path / "cut")
    with pytest.raises(KeyboardInterrupt):
        cut.run(only="lora", interrupted=lambda: len(cut.told(StepDone)) == 3)
    cut.run(only="lora")
    assert [event.step for event in cut.told(StepDone)] == [1, 2, 3, 4]
    (again,) = [run for run in cut.result()["runs"] if run["group"] == "lora"]
    (whole,) = [run for run in rescored.result()["runs"] if run["group"] == "lora"]
    assert again["metrics"] == whole["metrics"] and again["weights"] == whole["weights"]


def test_a_further_set_comes_with_data(rescored: Toy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TUNELET_DATA", str(rescored.data))
    write_nbest(tmp_path / "other.jsonl", toy_lists("other", 5))
    toy = Toy(rescored.recipe, tmp_path / "other.jsonl", tmp_path / "out")
    toy.run(only="ngram")
    assert toy.result()["runs"][0]["metrics"]["other"]["utterances"] == 5


def test_what_is_missing_is_told_at_once(rescored: Toy, tmp_path: Path) -> None:
    toy = rescored.fresh(tmp_path / "out")
    with pytest.raises(DataError) as caught:
        toy.run('data.train=["no-lists.jsonl"]', 'data.text=["no-book.txt"]')
    assert [problem.field for problem in caught.value.problems] == ["data.train", "data.text"]
    with pytest.raises(DataError, match="in train and in again"):
        toy.run("data.test={again: train.jsonl}")


def test_lists_that_teach_nothing_are_refused(rescored: Toy, tmp_path: Path) -> None:
    lists = [one.with_texts([one.texts[0]] * len(one)) for one in toy_lists("train", 24)]
    write_nbest(tmp_path / "same.jsonl", lists)
    with pytest.raises(InputError, match="differ in their word errors"):
        rescored.fresh(tmp_path / "out").run(f"data.train=[{tmp_path}/same.jsonl]", only="lora")


def test_every_strategy_of_ranks_trains_and_tells_its_ranks(rescored: Toy, tmp_path: Path) -> None:
    toy = rescored.fresh(tmp_path / "out")
    methods = ("adalora", "warmup-rank", "mixed-by-layer", "mixed-by-step")
    blocks = ", ".join(f"{{name: {name}, tuning: {{method: {name}, r: 2, dropout: 0.0}}}}" for name in methods)
    toy.run(f"runs=[{blocks}]", "tuning.adalora.interval=1", "data.text=[]")
    runs = toy.result()["runs"]
    assert [run["method"] for run in runs] == list(methods)
    for run in runs:
        assert list(run["weights"]) == ["scorer"] and run["metrics"]["heard"]["way"] == "scorer"
        assert all(row["rank"] >= 0 for row in run["ranks"]) and run["ranks"]
    assert {row["rank"] for row in runs[1]["ranks"]} == {2} and "relative_error" in runs[1]["ranks"][0]
    assert len({row["rank"] for row in runs[2]["ranks"]}) > 1
    told = toy.folder("warmup-rank-seed1") / "adapter" / "scorer" / "adapter_config.json"
    assert json.loads(told.read_text())["r"] == 2


def test_settings_that_mean_nothing_for_lists_are_refused(rescored: Toy) -> None:
    for setting in ("training.label_smoothing=0.1", "training.batch.pad_to=max", "training.select=loss"):
        with pytest.raises(RecipeError, match=setting.split("=")[0].split(".")[-1]):
            load_recipe(rescored.recipe, [setting])
    with pytest.raises(RecipeError, match="nothing would rescore"):
        load_recipe(rescored.recipe, ["scorer.kind=none", "data.text=[]"])


# the command line


def test_the_command_agrees_with_the_run(rescored: Toy, tmp_path: Path) -> None:
    for name in ("ngram-seed1", "lora-seed1", "full-seed1"):
        out, told = tmp_path / f"{name}.jsonl", tmp_path / f"{name}.json"
        assert _command(rescored, name, rescored.data / "heard.jsonl", "--out", str(out), "--json", str(told)) == 0
        rows = [json.loads(line) for line in out.read_text().splitlines()]
        ours = [json.loads(line) for line in _rows(rescored, name, "heard")]
        assert [row["id"] for row in rows] == [row["id"] for row in ours]
        for row, own in zip(rows, ours, strict=True):
            assert [e["score"] for e in row["nbest"]] == pytest.approx([e["score"] for e in own["nbest"]], abs=1e-2)
        (run,) = [run for run in rescored.result()["runs"] if run["name"] == name]
        found, values = run["metrics"]["heard"], json.loads(told.read_text())
        assert set(values) == {
            "utterances", "wer_first_pass", "wer_rescored", "wer_oracle", "relative_reduction", "hypotheses_per_second",
        }  # fmt: skip
        assert values["utterances"] == 12 and values["hypotheses_per_second"] > 0
        for key in ("wer_first_pass", "wer_rescored", "wer_oracle", "relative_reduction"):
            assert values[key] == pytest.approx(found[key])


def test_other_formats_are_rescored_too(rescored: Toy, tmp_path: Path) -> None:
    lists = toy_lists("heard", 12)
    write_nbest(tmp_path / "lists.json", lists)
    write_nbest(tmp_path / "lists.jsonl.gz", lists)
    answers = []
    for name in ("lists.json", "lists.jsonl.gz"):
        assert _command(rescored, "ngram-seed1", tmp_path / name, "--out", str(tmp_path / "out.jsonl")) == 0
        answers.append((tmp_path / "out.jsonl").read_text())
    assert answers[0] == answers[1]


def test_sound_is_recognised_and_rescored(rescored: Toy, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("pocketsphinx", reason="the extra 'offline' is not installed")
    heard = embedded_speech("test")[0]
    told = tmp_path / "told.json"
    capsys.readouterr()
    assert _command(rescored, "ngram-seed1", heard.audio, "--json", str(told)) == 0
    (row,) = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert row["id"] == heard.audio.stem and 1 < len(row["nbest"]) <= 33
    assert json.loads(told.read_text())["wer_first_pass"] is None
    assert _command(rescored, "ngram-seed1", heard.audio, str(rescored.data / "heard.jsonl")) == 2
    assert "is no sound file" in capsys.readouterr().err


def test_without_references_there_are_no_rates(
    rescored: Toy, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, told = tmp_path / "lists.jsonl", tmp_path / "told.json"
    path.write_text('{"id": "a", "nbest": [{"text": "the cat", "score": -1.0}, {"text": "", "score": -3.0}]}\n')
    capsys.readouterr()
    assert _command(rescored, "ngram-seed1", path, "--json", str(told)) == 0
    (row,) = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert row["id"] == "a" and len(row["nbest"]) == 2
    values = json.loads(told.read_text())
    rates = ("wer_first_pass", "wer_rescored", "wer_oracle", "relative_reduction")
    assert values["utterances"] == 1 and all(values[key] is None for key in rates)


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ('{"id": "b", "nbest": []}', "nbest"),
        ('{"id": "b", "nbest": [{"text": "x"}]}', "score"),
        ('{"id": "b", "nbest": [{"text": "x", "score": NaN}]}', "score"),
        ('{"id": "a", "nbest": [{"text": "x", "score": -1}]}', "also the id"),
        ('{"id": "b", "nbest"', "JSON"),
    ],
)
def test_broken_lists_are_told_with_their_place(
    rescored: Toy, tmp_path: Path, capsys: pytest.CaptureFixture[str], line: str, words: str
) -> None:
    path = tmp_path / "lists.jsonl"
    path.write_text(f'{{"id": "a", "nbest": [{{"text": "x", "score": -1}}]}}\n{line}\n')
    assert _command(rescored, "ngram-seed1", path, "--out", str(tmp_path / "out.jsonl")) == 2
    told = capsys.readouterr().err
    assert "lists.jsonl:2" in told and words in told
    assert not (tmp_path / "out.jsonl").exists()


def test_a_changed_adapter_is_refused(rescored: Toy, tmp_path: Path) -> None:
    folder = tmp_path / "adapter"
    shutil.copytree(rescored.folder("lora-seed1") / "adapter", folder)
    told = json.loads((folder / "rescorer.json").read_text())
    told["weights"]["scorer"] = 3.0
    (folder / "rescorer.json").write_text(json.dumps(told))
    with pytest.raises(AdapterError, match=r"rescorer\.json"):
        rescore_folder.load(folder)
    assert rescore_folder.load(folder, force=True).recipe.weights["scorer"] == 3.0
    with pytest.raises(AdapterError, match="not a rescorer"):
        rescore_folder.load(tmp_path)


def test_the_scorer_is_an_adapter_that_peft_reads(rescored: Toy) -> None:
    folder = rescored.folder("lora-seed1") / "adapter" / "scorer"
    config = json.loads((folder / "adapter_config.json").read_text())
    assert config["peft_type"] == "LORA" and config["r"] == 2
    assert (folder / "adapter_model.safetensors").is_file()


# the report


def test_the_report_shows_every_way_and_what_is_published(rescored: Toy, tmp_path: Path) -> None:
    copy = rescored.copy(tmp_path / "out")
    first = (copy.out / "report.html").read_text()
    (copy.out / "report.html").unlink()
    assert main(["report", str(copy.out)]) == 0
    assert (copy.out / "report.html").read_text() == first
    page = (copy.out / "report.md").read_text()
    for words in ("first pass", "oracle", "n-gram alone", "scorer alone", "scorer and n-gram", "published: Salazar"):
        assert words in page, words
    rows = (copy.out / "csv" / "word_errors.csv").read_text().splitlines()
    assert len(rows) == 1 + 2 * (1 + 3 + 3)


def _rows(toy: Toy, name: str, split: str) -> list[str]:
    return (toy.folder(name) / "rescored" / f"{split}.jsonl").read_text().splitlines()


def _command(toy: Toy, name: str, lists: Path, *more: str) -> int:
    return main(["rescore", str(lists), "--adapter", str(toy.folder(name) / "adapter"), *more])


def test_the_toy_lists_are_what_they_say() -> None:
    lists = toy_lists("train", 24)
    assert len({one.speaker for one in lists}) == 4
    assert {one.texts.index(str(one.ref)) for one in lists} == {0, 1}
