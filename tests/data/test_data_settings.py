"""The `data` section: defaults, what is refused, and that nothing heavy is imported for it."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest
from pydantic import ValidationError

from tunelet.data.settings import DataSettings


def test_the_default_is_the_emotion_task_from_wherever_it_is() -> None:
    settings = DataSettings()
    assert (settings.task, settings.source, settings.path, settings.limit) == ("emotion", "auto", None, {})


def test_labels_without_a_task_get_a_name_and_survive_being_written() -> None:
    settings = DataSettings(labels=["a", "b"])
    assert settings.task == "custom"
    assert DataSettings(**settings.model_dump(mode="json")) == settings


@pytest.mark.parametrize(
    "given",
    [
        {"taks": "emotion"},
        {"source": "disk"},
        {"limit": {"dev": 3}},
        {"limit": {"train": 0}},
        {"limit": {"train": "many"}},
        {"text_field": ""},
        {"labels": ["a", ""]},
        {"labels": "a"},
        {"multi_label": "perhaps"},
    ],
    ids=str,
)
def test_what_is_not_a_setting_is_refused(given: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        DataSettings(**given)


def test_every_field_is_described() -> None:
    assert [name for name, field in DataSettings.model_fields.items() if not field.description] == []


def test_the_layer_needs_no_torch() -> None:
    modules = "settings records sources audit tasks readers hub tokens batching limits"
    code = "import sys\n" + "".join(f"import tunelet.data.{name}\n" for name in modules.split())
    code += "print([m for m in ('torch', 'transformers', 'peft', 'datasets') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
