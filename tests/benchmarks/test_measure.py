"""Every benchmark at toy size: its result has the stated shape, and its ratios are those of its figures."""

from __future__ import annotations

import json
import statistics
from pathlib import Path
from typing import Any

import pytest

from tunelet.base.errors import TrainingError
from tunelet.cli.bench import benchmarks, load

NAMES = ["fuse", "memory", "predict", "rescore", "sweep", "train", "understand"]


def told(text: str) -> None:
    assert text


def check_shape(name: str, found: dict[str, Any]) -> None:
    assert set(found) == {"name", "ratios", "figures", "machine"}
    assert found["name"] == name
    assert json.loads(json.dumps(found)) == found
    assert found["ratios"] and all(isinstance(value, float) and value > 0 for value in found["ratios"].values())
    assert found["machine"]["versions"]["torch"]


def median_rate(blocks: list[dict[str, Any]], unit: str) -> float:
    return statistics.median(block[unit] / block["seconds"] for block in blocks)


def test_the_benchmarks_are_the_files_that_measure() -> None:
    assert sorted(benchmarks()) == NAMES
    assert all(callable(load(name).measure) for name in NAMES)


@pytest.mark.slow
def test_train(side: Any) -> None:
    train = load("train")
    plan = train.Plan(
        ("", "_full"), ("trainer_fp32",), 2, 0.05, 2, 0.01, 0.001, accuracy_steps=3, accuracy_seeds=(1, 2)
    )
    found = train.compare(side, plan, told)
    check_shape("train", found)
    assert set(found["ratios"]) == {
        f"{ratio}{suffix}" for ratio in ("vs_trainer_fp32", "share_of_peak") for suffix in ("", "_full")
    }
    for suffix, key in (("", "attention"), ("_full", "full")):
        figures = found["figures"][key]
        ours = median_rate(figures["ours"]["blocks"], "tokens")
        assert len(figures["ours"]["blocks"]) == 2
        assert figures["ours"]["engine"] == "fast"
        for peer in plan.peers:
            theirs = median_rate(figures[peer]["blocks"], "tokens")
            assert found["ratios"][f"vs_{peer}{suffix}"] == pytest.approx(ours / theirs)
        share = figures["ours"]["flops_per_second"] / figures["rate"][figures["ours"]["precision"]]
        assert found["ratios"][f"share_of_peak{suffix}"] == pytest.approx(share)
    drawn = train.plot(found)
    assert drawn.count("<svg") == 1 and "trainer_fp32, fp32" in drawn and "FLOP per byte" in drawn
    accuracy = found["figures"]["accuracy_after_equal_steps"]
    assert set(accuracy["correct"]) == {"trainer_fp32", "ours"}
    means = {name: statistics.mean(counts) / accuracy["n"] for name, counts in accuracy["correct"].items()}
    assert accuracy["difference"] == pytest.approx(means["ours"] - means["trainer_fp32"])


def test_the_paper_s_padding_is_one_of_the_peers(side: Any, tmp_path: Path) -> None:
    train = load("train")
    wide = train.sides_of(side, ("padded_512",))["padded_512"]
    loader = load("common.trainer_jobs").trainer_of(wide, 1, str(tmp_path)).get_train_dataloader()
    assert next(iter(loader))["input_ids"].shape == (side.batch, 512)


@pytest.mark.slow
def test_predict(side: Any) -> None:
    predict = load("predict")
    found = predict.compare(side, predict.Plan(texts=18, rounds=2, train_steps=4, variants=("bf16",)), told)
    check_shape("predict", found)
    figures = found["figures"]
    peer = median_rate(figures["pipeline_merged"]["blocks"], "texts")
    assert found["ratios"]["vs_pipeline"] == pytest.approx(median_rate(figures["tunelet"]["blocks"], "texts") / peer)
    assert figures["tunelet"]["same_labels"] == figures["texts"] == 18


@pytest.mark.slow
def test_sweep(side: Any) -> None:
    sweep = load("sweep")
    found = sweep.compare(side, sweep.Plan(steps=2, rounds=1, limit=(48, 18, 18), together=2), told, only=1)
    check_shape("sweep", found)
    ours, theirs = (found["figures"][name]["blocks"] for name in ("ours", "trainer_processes"))
    rate = median_rate(ours, "runs") / median_rate(theirs, "runs")
    assert found["ratios"]["vs_trainer_processes"] == pytest.approx(rate)
    assert [len(scores) for scores in found["figures"]["test_accuracy"].values()] == [1, 1]


def test_the_sweep_is_the_paper_s_twelve_runs(side: Any, tmp_path: Path) -> None:
    sweep = load("sweep")
    texts = sweep.write_texts(load("common.side").dataset_of(side), tmp_path / "texts")
    recipe = sweep.load_recipe(sweep.write_recipe(tmp_path / "sweep.yaml", side, 2, texts))
    assert len(recipe.runs) == 12
    data = load("common.side").dataset_of(side)
    orders = [sweep.peer_order(run, data, texts) for run in recipe.runs]
    points = {(order["lora"]["r"], order["learning_rate"], len(order["lora"]["target_modules"])) for order in orders}
    assert points == {(r, rate, names) for r in (2, 8, 32) for rate in (3e-4, 1e-3) for names in (2, 4)}


def test_memory() -> None:
    memory = load("memory")
    size = memory.Size(layers=4, hidden=32, heads=2, vocabulary=50, batch=4, length=64)
    found = memory.compare(size, None, told)
    check_shape("memory", found)
    names = {"lora_linear_over_full", "lora_attention_over_full", "peft_linear_over_full"}
    assert set(found["ratios"]) == names | {f"{name}_eager" for name in names} | {"checkpointing_over_lora_linear"}
    checkpointing = found["figures"]["checkpointing"]["lora_linear"]["held_at_once"]
    plain = found["figures"]["ours"]["lora_linear"]["held_at_once"]
    assert found["ratios"]["checkpointing_over_lora_linear"] == pytest.approx(checkpointing / plain)
    assert checkpointing < plain
    for attention, suffix in (("sdpa", ""), ("eager", "_eager")):
        figures = found["figures"]
        full = figures[attention]["full"]["held_at_once"]
        ours = figures["ours"]["lora_linear"]["held_at_once"]
        assert found["ratios"][f"lora_linear_over_full{suffix}"] == pytest.approx(ours / full)
        theirs = figures[attention]["peft_linear"]["held_at_once"]
        assert found["ratios"][f"peft_linear_over_full{suffix}"] == pytest.approx(theirs / full)


def test_two_layers_and_three_tell_of_four_exactly() -> None:
    memory = load("memory")
    size = memory.Size(layers=4, hidden=32, heads=2, vocabulary=50, batch=4, length=32)
    assert memory.count_ours(size, "lora_linear") == memory._count_real(size, "lora_linear", "fp32")


def test_a_worker_that_fails_is_told_with_its_last_line(side: Any) -> None:
    processes = load("common.processes")
    wrong = side.model_dump(mode="json") | {"base": "nowhere/at/all"}
    with processes.Workers() as workers, pytest.raises(TrainingError, match=r"train_ours.*no such folder"):
        workers.start("train_ours", wrong).wait()


@pytest.mark.slow
def test_rescore(side: Any) -> None:
    rescore = load("rescore")
    lists = rescore.made_lists(["i feel happy today at home", "she was sad", "the dog and the cat", "we felt low"])
    assert [len(row) for row in lists] == [10] * 4 and lists == rescore.made_lists([row[0] for row in lists])
    plan = rescore.Plan({"pll": 2, "cls": 4, "causal": 3}, rounds=2)
    found = rescore.compare(side.base, lists, plan, told)
    check_shape("rescore", found)
    assert set(found["ratios"]) == set(rescore.RATIOS)
    for name, (scorer, ours, peer) in rescore.RATIOS.items():
        sides = found["figures"][scorer]
        rate = median_rate(sides[ours]["blocks"], "hypotheses") / median_rate(sides[peer]["blocks"], "hypotheses")
        assert found["ratios"][name] == pytest.approx(rate)
        assert sides[peer]["largest_relative_difference"] < 1e-5


@pytest.mark.slow
def test_fuse(side: Any) -> None:
    fuse = load("fuse")
    plan = fuse.Plan(variants=("", "_texts", "_one"), batches=2, rounds=2, size=4, length=12, experts=2)
    found = fuse.compare(side.base, side.data_dir, plan, told)
    check_shape("fuse", found)
    peers = ("set_adapter", "adapter_names", "merged_models")
    assert set(found["ratios"]) == {f"grouped_vs_{peer}{suffix}" for peer in peers for suffix in plan.variants}
    for suffix, key in (("", "full"), ("_texts", "texts"), ("_one", "one")):  # eight texts each
        figures = found["figures"][key]
        for peer in peers:
            rate = median_rate(figures["ours"]["blocks"], "texts") / median_rate(figures[peer]["blocks"], "texts")
            assert found["ratios"][f"grouped_vs_{peer}{suffix}"] == pytest.approx(rate)
            assert figures[peer]["largest_difference"] < 1e-5 and figures[peer]["blocks"][0]["texts"] == 8


def test_batches_are_full_or_padded_as_a_loader_pads(side: Any) -> None:
    fuse = load("fuse")
    plan = fuse.Plan(batches=2, size=3, length=6)
    texts = ["i feel happy", "she", "the dog and the cat and the rain", "so", "he was low", "sun"]
    full = fuse.make_batches(side.base, texts, plan, own_length=False)
    assert [[len(row) for row in batch] for batch in full] == [[6] * 3] * 2
    assert all(token is not None for batch in full for row in batch for token in row)
    real = fuse.make_batches(side.base, texts, plan, own_length=True)
    assert [[sum(token is not None for token in row) for row in batch] for batch in real] == [[5, 3, 6], [3, 5, 3]]
    assert [len({len(row) for row in batch}) for batch in real] == [1, 1]
