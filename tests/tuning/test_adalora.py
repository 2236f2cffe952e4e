"""AdaLoRA's schedule, and that what is saved in the middle of it is what was trained."""

from __future__ import annotations

import warnings
from pathlib import Path

import pytest
import torch
from peft.utils.warning import PeftWarning

from toy_tuned import BATCH, GOLD, TASK, logits, toy_loaded, train, trained_on, tuned_on
from tunelet.base.errors import ResumeError
from tunelet.models.bases import Base
from tunelet.tuning.folder import load_adapter, save_adapter
from tunelet.tuning.tuned import Tuned


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Base:
    return toy_loaded(tmp_path_factory.mktemp("base"))


def live(tuned: Tuned) -> int:
    """Directions whose singular value is not zero."""
    return sum(int(p.ne(0).sum()) for name, p in tuned.model.named_parameters() if ".lora_E." in name)


def test_the_rank_falls_from_the_initial_to_the_target_mean(base: Base) -> None:
    tuned = tuned_on(base, method="adalora", total_steps=20, adalora={"interval": 1})
    modules = sum(".lora_E." in name for name, _ in tuned.trainable())
    optimizer = tuned.optimizer(learning_rate=0.02)
    ranks = []
    for step in range(1, 21):
        train(tuned, optimizer, range(step, step + 1))
        ranks.append(live(tuned))
    assert ranks[:2] == [6 * modules] * 2  # a tenth of the steps at 1.5 r
    assert ranks == sorted(ranks, reverse=True)
    assert ranks[13:] == [4 * modules] * 7  # the last three tenths at r on average


@pytest.mark.parametrize("steps", [1, 4, 5, 9, 12])
def test_saved_at_any_step_it_says_the_same(base: Base, steps: int, tmp_path: Path) -> None:
    """With three steps between allocations, momentum wakes directions that the last one masked."""
    tuned = trained_on(base, steps=steps, method="adalora", total_steps=12, adalora={"interval": 3})
    save_adapter(tmp_path / "a", tuned, base, TASK)
    torch.testing.assert_close(logits(load_adapter(tmp_path / "a").model), logits(tuned.model), atol=1e-5, rtol=1e-5)


def test_a_matrix_that_lost_all_directions_is_saved_without_a_word(base: Base, tmp_path: Path) -> None:
    tuned = trained_on(base, steps=6, method="adalora", total_steps=12, adalora={"interval": 1})
    pattern = tuned.model.peft_config["default"].rank_pattern
    name = next(iter(pattern))
    pattern[name] = [False] * len(pattern[name])
    next(p for key, p in tuned.model.named_parameters() if name in key).data.zero_()
    with warnings.catch_warnings():
        warnings.simplefilter("error", PeftWarning)
        save_adapter(tmp_path / "a", tuned, base, TASK)
    torch.testing.assert_close(logits(load_adapter(tmp_path / "a").model), logits(tuned.model), atol=1e-5, rtol=1e-5)


def test_saving_does_not_change_what_comes_after(base: Base, tmp_path: Path) -> None:
    ends = []
    for save in (False, True):
        tuned = tuned_on(base, method="adalora", adalora={"interval": 2})
        optimizer = tuned.optimizer(learning_rate=0.02)
        for step in range(1, 13):
            train(tuned, optimizer, range(step, step + 1))
            if save and step in (4, 9, 10):
                save_adapter(tmp_path / "a", tuned, base, TASK)
        ends.append(tuned.trainable_state())
    assert all(tensor.equal(ends[1][name]) for name, tensor in ends[0].items())


def test_the_regulariser_is_what_peft_adds_to_its_own_loss(base: Base) -> None:
    tuned = trained_on(base, method="adalora")
    with torch.no_grad():
        whole = tuned.model(**BATCH, labels=GOLD).loss
        alone = torch.nn.functional.cross_entropy(tuned.model(**BATCH).logits, GOLD)
        term = tuned.regulariser()
    assert term is not None and term > 0
    torch.testing.assert_close(whole, alone + term)


def test_a_state_with_a_part_missing_is_refused(base: Base) -> None:
    tuned = trained_on(base, method="adalora", steps=3)
    state = tuned.state_dict()
    name = next(key for key in state["tensors"] if key.startswith("ipt/"))
    fewer = {key: tensor for key, tensor in state["tensors"].items() if key != name}
    for wrong in (
        {"values": state["values"]},
        {"values": {**state["values"], "state": {}}, "tensors": state["tensors"]},
        {"values": state["values"], "tensors": fewer},
        {"values": state["values"], "tensors": {**state["tensors"], "ipt/none": torch.zeros(1)}},
        {"values": {**state["values"], "method": "lora"}, "tensors": state["tensors"]},
        {"values": {**state["values"], "frozen_parts": "0"}, "tensors": state["tensors"]},
    ):
        with pytest.raises(ResumeError):
            tuned_on(base, method="adalora").load_state_dict(wrong)
    tuned_on(base, method="adalora").load_state_dict(state)
