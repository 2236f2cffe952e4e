"""Peers and ours are given the same: examples, tokens, initial weights, and so, without dropout, the same losses."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import TrainerCallback

from tunelet.cli.bench import load
from tunelet.training.events import StepDone
from tunelet.tuning.settings import TuningSettings

trainer_jobs, our_jobs, train = load("common.trainer_jobs"), load("common.our_jobs"), load("train")


def seen(model: torch.nn.Module) -> list[tuple[int, ...]]:
    """A list that fills with the tokens of every text that the model is given, padding removed."""
    rows: list[tuple[int, ...]] = []

    def look(module: Any, arguments: Any, given: dict[str, torch.Tensor]) -> None:
        for ids, mask in zip(given["input_ids"], given["attention_mask"], strict=True):
            rows.append(tuple(ids[mask.bool()].tolist()))

    model.register_forward_pre_hook(look, with_kwargs=True)
    return rows


def test_an_epoch_of_either_is_the_same_texts(side: Any, tmp_path: Path) -> None:
    steps = 48 // side.batch
    peer = trainer_jobs.trainer_of(side, steps, str(tmp_path / "peer"))
    theirs = seen(peer.model)
    peer.train()
    loop = our_jobs.loop_of(side, steps, tmp_path / "ours")
    ours = seen(loop.tuned.model)
    for event in loop.events():
        if isinstance(event, StepDone) and event.step == steps:
            break
    assert len(ours) == 48
    assert Counter(ours) == Counter(theirs)


@pytest.mark.parametrize("method", ["lora", "full"])
def test_losses_after_equal_steps_agree_in_fp32_without_dropout(method: str, side: Any, tmp_path: Path) -> None:
    tuning = TuningSettings(method=method, targets="attention+linear", dropout=0.0)
    # one batch is the whole split, so that both see the same texts at each step
    own = side.model_copy(update={"tuning": tuning, "batch": 16, "limit": {"train": 16}, "learning_rate": 5e-3})
    loop = our_jobs.loop_of(own, 12, tmp_path / "ours")
    assert loop.tuned.engine is not None
    peer = trainer_jobs.trainer_of(own, 12, str(tmp_path / "peer"))
    peer.model.load_state_dict(loop.tuned.model.state_dict())
    theirs: list[float] = []
    peer.model.register_forward_hook(lambda module, given, output: theirs.append(float(output.loss.detach())))
    peer.train()
    # Trainer decays no weight by default, our optimiser's settings say the same
    ours = [event.loss for event in loop.events() if isinstance(event, StepDone)]
    assert len(ours) == 12
    assert ours == pytest.approx(theirs, abs=1e-4)
    assert ours[-1] < 0.9 * ours[0], "nothing was learned, so the losses agree for no reason"


@pytest.mark.parametrize("faster", ["fp32", "bf16"])
def test_the_contenders_differ_in_precision_and_padding_alone(
    side: Any, faster: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(train, "faster_precision", lambda: faster)
    sides = train.sides_of(side, ("trainer_fp32", "trainer_bf16", "padded_512"))
    assert list(sides) == ["trainer_fp32", "trainer_bf16", "padded_512", "ours"]
    same = {name: found.model_dump(exclude={"precision", "pad_to"}) for name, found in sides.items()}
    assert all(found == same["ours"] for found in same.values())
    assert {name: (found.precision, found.pad_to) for name, found in sides.items()} == {
        "trainer_fp32": ("fp32", None),
        "trainer_bf16": ("bf16", None),
        "padded_512": ("fp32", 512),
        "ours": (faster, None),
    }


def test_the_gate_counts_the_texts_of_whole_steps(side: Any, tmp_path: Path) -> None:
    orders = iter([{"steps": 2}, {"steps": 3}])
    answers: list[dict[str, Any]] = []

    class Line:
        def orders(self) -> Any:
            return orders

        def answer(self, value: dict[str, Any]) -> None:
            answers.append(value)

    gate = load("common.gate").Gate(Line())
    run = trainer_jobs.trainer_of(side, 100, str(tmp_path), callbacks=[trainer_jobs._Waits(gate)])
    texts = seen(run.model)
    gate.watch(run.model)
    run.train()
    assert [answer.get("steps") for answer in answers] == [None, 2, 3]
    assert run.state.global_step == 6
    measured = texts[side.batch :]
    assert sum(answer["tokens"] for answer in answers[1:]) == sum(map(len, measured))
    assert sum(answer["squares"] for answer in answers[1:]) == sum(len(row) ** 2 for row in measured)
    assert issubclass(trainer_jobs._Waits, TrainerCallback)
