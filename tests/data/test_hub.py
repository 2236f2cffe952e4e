"""The hub: only when asked for, numbered labels by their names, and what happens without the package."""

from __future__ import annotations

import sys
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from data.broken_data import LABELS
from tunelet.base.errors import DataError, MissingExtraError
from tunelet.data.settings import DataSettings
from tunelet.data.sources import load_dataset


class Split(list[dict[str, Any]]):
    """Rows with the list of label names, as the package gives them."""

    features: dict[str, Any] = {"label": SimpleNamespace(names=list(LABELS))}  # noqa: RUF012


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What the stand-in for the package gives, by name; the names that were asked for are under ``asked``."""
    contents: dict[str, Any] = {"asked": []}

    def load(name: str) -> Any:
        contents["asked"].append(name)
        if name not in contents:
            raise ConnectionError("no network")
        return contents[name]

    module = ModuleType("datasets")
    module.load_dataset = load  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "datasets", module)
    return contents


def splits(**changes: Split) -> dict[str, Split]:
    good = {name: Split([{"text": "fine", "label": 1}]) for name in ("train", "validation", "test")}
    return {**good, **changes}


def test_numbered_labels_become_names(hub: dict[str, Any]) -> None:
    hub["dair-ai/emotion"] = splits()
    dataset = load_dataset(DataSettings(source="hub"), environ={})
    assert [e.labels for e in dataset.splits["test"]] == [("joy",)]
    assert (dataset.source.kind, dataset.source.location) == ("hub", "dair-ai/emotion")
    assert set(dataset.source.files) == {"train", "validation", "test"}


def test_a_dataset_that_is_named_comes_before_the_sample(hub: dict[str, Any]) -> None:
    hub["me/mine"] = splits()
    assert load_dataset(DataSettings(hub="me/mine"), environ={}).source.kind == "hub"


def test_the_hub_is_not_asked_unless_it_is_named(hub: dict[str, Any]) -> None:
    assert load_dataset(DataSettings(), environ={}).source.kind == "embedded"
    assert hub["asked"] == []


def test_bad_rows_and_missing_splits_are_told(hub: dict[str, Any]) -> None:
    hub["me/mine"] = splits(test=Split([{"text": "fine", "label": 1}, {"text": "", "label": 9}]))
    with pytest.raises(DataError) as caught:
        load_dataset(DataSettings(hub="me/mine"), environ={})
    places = [(p.file, p.line, p.field) for p in caught.value.problems]
    assert places == [("hub:me/mine/test", 2, "text"), ("hub:me/mine/test", 2, "label")]
    hub["me/mine"] = {"train": Split()}
    with pytest.raises(DataError, match="has no split validation, test; it has train"):
        load_dataset(DataSettings(hub="me/mine"), environ={})


def test_without_a_connection_the_way_out_is_told(hub: dict[str, Any]) -> None:
    with pytest.raises(DataError, match=r"no network.*TUNELET_DATA"):
        load_dataset(DataSettings(hub="me/other"), environ={})


def test_without_the_package_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'tunelet\[hub\]'"):
        load_dataset(DataSettings(source="hub"), environ={})


def test_a_task_without_a_name_on_the_hub(hub: dict[str, Any]) -> None:
    with pytest.raises(DataError, match=r"data\.hub: no dataset on the hub is known for task 'mine'"):
        load_dataset(DataSettings(task="mine", labels=["a", "b"], source="hub"), environ={})
