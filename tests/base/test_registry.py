"""A registry gives what was put in, refuses a second owner of a name, and helps with a wrong one."""

from __future__ import annotations

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tunelet.base.errors import InputError
from tunelet.base.registry import Registry, suggest, unknown_name

names = st.lists(st.text(string.ascii_lowercase + "-+", min_size=1, max_size=8), unique=True, max_size=12)


def filled(keys: list[str]) -> Registry[str]:
    registry = Registry[str]("method")
    for key in keys:
        registry.register(key)(key.upper())
    return registry


@given(names)
def test_it_holds_what_was_registered_in_alphabetical_order(keys: list[str]) -> None:
    registry = filled(keys)
    assert registry.names() == list(registry) == sorted(keys)
    assert all(key in registry and registry.get(key) == key.upper() for key in keys)


def test_the_decorator_gives_the_thing_back() -> None:
    def thing() -> int:
        return 3

    assert Registry("thing").register("three")(thing) is thing


def test_a_second_owner_of_a_name_is_a_programmers_mistake() -> None:
    registry = filled(["lora"])
    with pytest.raises(ValueError, match="'lora' is registered twice: 'LORA' and 'other'"):
        registry.register("lora")("other")
    assert registry.get("lora") == "LORA"


def test_a_wrong_name_is_told_the_nearest_and_all() -> None:
    with pytest.raises(InputError) as caught:
        filled(["lora", "dora", "full"]).get("lorra")
    assert str(caught.value) == "unknown method 'lorra'; did you mean 'lora'? Available: dora, full, lora"
    assert caught.value.__cause__ is None
    assert "nothing-like-it" not in filled(["lora"])


def test_an_empty_registry_says_so() -> None:
    assert unknown_name("shape", "x", []) == "unknown shape 'x' Available: none"


@pytest.mark.parametrize(
    ("name", "options", "meant"),
    [
        ("learning_rat", ["learning_rate", "epochs"], "learning_rate"),
        ("LoRA", ["lora", "dora"], "lora"),
        ("emotion", ["Emotion"], "Emotion"),
        ("zzzz", ["lora", "dora"], None),
        ("x", [], None),
    ],
)
def test_suggestions(name: str, options: list[str], meant: str | None) -> None:
    assert suggest(name, options) == meant


@given(st.text(max_size=12), names)
def test_a_suggestion_is_one_of_the_options(name: str, options: list[str]) -> None:
    assert suggest(name, options) in {*options, None}
    assert all(suggest(option, options) == option for option in options)
