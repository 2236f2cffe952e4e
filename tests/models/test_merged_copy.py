"""A merged copy answers as the module does, and leaves it alone."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from toy_prefix import base_in, questions
from tunelet.models.merged_copy import merged_copy
from tunelet.models.prefix.model import build_prefix
from tunelet.models.prompt_model import remembering
from tunelet.tuning.methods import prepare
from tunelet.tuning.settings import TuningSettings


def test_an_adapted_model_remembers_with_merged_weights(tmp_path: Path) -> None:
    model = build_prefix(base_in(tmp_path / "base"), blocks=True)
    assert merged_copy(model.language) is model.language
    asked = questions(6, shown=2)
    untuned = [answer.scores for answer in model.answer(asked)]
    tuned = prepare(model, TuningSettings(method="lora", targets="attention+linear", r=2), total_steps=3, seed=1)
    with torch.no_grad():
        for name, parameter in tuned.model.named_parameters():
            if "lora_B" in name:
                parameter.normal_(std=0.3, generator=torch.Generator().manual_seed(4))
    tuned.use_fast_path(torch.float32, seed=1)
    before = {name: value.clone() for name, value in tuned.model.state_dict().items()}
    expected = [answer.scores for answer in model.answer(asked)]
    with remembering(model):
        assert model._remembered is not None and model._remembered._language is not model.language
        assert "forward" not in vars(model._remembered._language) and "forward" in vars(model.language)
        found = [answer.scores for answer in model.answer(asked)]
    for own, other, first in zip(found, expected, untuned, strict=True):
        assert own is not None and other is not None and first is not None
        np.testing.assert_allclose(own, other, atol=1e-4)
        assert np.abs(own - first).max() > 1e-2
    after = tuned.model.state_dict()
    assert before.keys() == after.keys() and all(torch.equal(before[name], after[name]) for name in before)
