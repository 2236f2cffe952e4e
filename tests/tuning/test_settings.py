"""The section `tuning` of a recipe."""

from __future__ import annotations

import subprocess
import sys

import pytest
from pydantic import ValidationError

from tunelet.tuning.settings import TuningSettings


def test_defaults_are_the_papers() -> None:
    settings = TuningSettings()
    assert (settings.method, settings.targets, settings.r, settings.alpha) == ("lora", "attention", 8, 16)


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"targets": "atention"}, "did you mean 'attention'?"),
        ({"targets": "query"}, "[query]"),
        ({"targets": []}, "empty"),
        ({"method": "lorra"}, "'lora'"),
        ({"r": 0}, "greater than or equal to 1"),
        ({"dropout": 1.0}, "less than 1"),
        ({"rank": 8}, "Extra inputs"),
        ({"method": "adalora", "adalora": {"initial_rank": 8}}, "must be above r = 8"),
        ({"layers": []}, "at least one layer"),
        ({"layers": [-1, 2]}, "counted from 0"),
        ({"compile": True, "engine": "fast"}, "compile is for PEFT's modules"),
        ({"adalora": {"warmup_share": 0.5, "final_share": 0.5}}, "leave no steps"),
    ],
)
def test_what_is_refused(values: dict[str, object], said: str) -> None:
    with pytest.raises(ValidationError) as caught:
        TuningSettings.model_validate(values)
    assert said in str(caught.value)


def test_layers_are_told_once_and_in_order() -> None:
    assert TuningSettings.model_validate({"layers": [5, 4, 5]}).layers == (4, 5)


def test_settings_need_no_torch() -> None:
    code = (
        "import sys, tunelet.tuning.settings, tunelet.models.settings;"
        "print([m for m in ('torch', 'transformers', 'peft') if m in sys.modules])"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"


def test_every_field_is_described() -> None:
    def fields(schema: dict[str, object]) -> list[tuple[str, dict[str, object]]]:
        return list(schema.get("properties", {}).items())  # type: ignore[attr-defined]

    schema = TuningSettings.model_json_schema()
    for part in (schema, *schema["$defs"].values()):
        for name, field in fields(part):
            assert field.get("description"), name
