"""A toy causal language model in `understand`: frozen weights held in bf16, and gradients checkpointed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from toy_in_context import toy_rope
from toy_understand import toy_understand
from tunelet.data.understanding.tasks import find_task
from tunelet.systems import load_recipe, run_recipe
from tunelet.systems.understand_folder import ToldTask, load
from tunelet.systems.understand_models import KINDS
from tunelet.systems.understand_opened import Wanted
from tunelet.systems.understand_settings import UnderstandModelSettings
from tunelet.tuning.settings import TuningSettings


def test_weights_that_are_held_in_bf16_answer_too(tmp_path: Path) -> None:
    language, tokenizer = toy_rope()
    language.config.max_position_embeddings = 1500
    language.save_pretrained(tmp_path / "language")
    tokenizer.save_pretrained(tmp_path / "language")
    changes = ["model.kind=causal", f"model.base={tmp_path / 'language'}", "model.max_length=1400", "data.items=2"]
    changes += ["training.precision=bf16", "training.frozen=bf16", "training.max_steps=2", "seeds=[1]"]
    out = run_recipe(load_recipe(toy_understand(tmp_path), changes), out=tmp_path / "out", only="random-*")
    (run,) = json.loads((out / "result.json").read_text(encoding="utf-8"))["runs"]
    assert [(cell["task"], cell["k"], cell["n"]) for cell in run["cells"]] == [
        (task, k, 2) for task in ("moods", "places") for k in (0, 2)
    ]
    told = ToldTask(find_task(tmp_path / "tasks" / "places.yaml"), load(out / run["folder"] / "adapter"))
    (row,) = told.rows(["we were at home"])
    assert row["label"] in ("home", "work")


@pytest.mark.parametrize("wanted", [True, False])
def test_gradients_are_checkpointed_where_the_recipe_says_so(tmp_path: Path, wanted: bool) -> None:
    language, tokenizer = toy_rope()
    language.save_pretrained(tmp_path / "language")
    tokenizer.save_pretrained(tmp_path / "language")
    settings = UnderstandModelSettings(kind="causal", base=str(tmp_path / "language"))
    tuning = TuningSettings(r=2, alpha=4, gradient_checkpointing=wanted)
    opened = KINDS["causal"](Wanted(settings, tuning, None, True, 1, tmp_path))
    tuned = opened.prepare(tuning, 2)
    assert any(getattr(module, "gradient_checkpointing", False) for module in tuned.model.modules()) is wanted
