"""YAML as recipes may use it: plain data with lines; what is more than that is refused with its line."""

from __future__ import annotations

import json
import math
import string
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from tunelet.base.errors import RecipeError
from tunelet.base.yaml_lines import MAX_DEPTH, dotted, plain_scalar, read_yaml, write_yaml

keys = st.text(string.ascii_letters + string.digits + " _-.é:#\"'", min_size=1, max_size=8)
scalars = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(string.digits + "eE+-._", max_size=6)
    | st.text(string.printable.replace("\x0b", "").replace("\x0c", "") + "é☃", max_size=12)
)
trees = st.dictionaries(
    keys,
    st.recursive(
        scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=3), max_leaves=10
    ),
    min_size=1,
    max_size=4,
)


def refused(text: str) -> list[str]:
    with pytest.raises(RecipeError) as caught:
        read_yaml(text, "r.yaml")
    assert caught.value.exit_status == 2
    return [str(problem) for problem in caught.value.problems]


# --- values


@given(trees)
def test_json_is_read_as_json_reads_it(tree: dict[str, Any]) -> None:
    assert read_yaml(json.dumps(tree, indent=1), "r.yaml").data == tree


@given(trees)
def test_what_is_written_is_read_back(tree: dict[str, Any]) -> None:
    assert read_yaml(write_yaml(tree), "r.yaml").data == tree


@pytest.mark.parametrize("text", ["08", "1e3", "1_0", ".inf", "~", "True", "", "1.", "x: y", "a\nb"])
def test_a_text_that_looks_like_something_else_stays_a_text(text: str) -> None:
    assert read_yaml(write_yaml({"a": [text, {text or "k": text}]}), "r.yaml").data == {
        "a": [text, {text or "k": text}]
    }


def test_what_stands_twice_is_written_twice() -> None:
    shared = [1, 2]
    assert read_yaml(write_yaml({"a": shared, "b": shared}), "r.yaml").data == {"a": [1, 2], "b": [1, 2]}


@given(scalars.filter(lambda value: not isinstance(value, str)))
def test_a_scalar_written_by_pyyaml_has_its_value(value: Any) -> None:
    assert read_yaml(yaml.safe_dump({"a": value}), "r.yaml").data == {"a": value}


@given(st.integers())
def test_integers(value: int) -> None:
    assert plain_scalar(str(value)) == value
    assert plain_scalar(f"{value:+_}") == value
    assert type(plain_scalar(str(value))) is int


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_floats(value: float) -> None:
    for text in (repr(value), f"{value:e}", f"{value:+.17E}"):
        assert plain_scalar(text) == float(text)
        assert type(plain_scalar(text)) is float


@given(st.text(string.printable, max_size=10) | st.text(max_size=6))
def test_any_text_has_a_value_and_a_text_stays_itself(text: str) -> None:
    value = plain_scalar(text)
    assert not isinstance(value, str) or value == text


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-3", 0.001),  # a text in YAML 1.1
        ("1.", 1.0),
        (".5", 0.5),
        ("1_000", 1000),
        ("012", 12),
        ("0x10", "0x10"),
        ("1__0", "1__0"),
        ("1_", "1_"),
        ("_1", "_1"),
        ("1:30", "1:30"),
        ("2001-01-01", "2001-01-01"),
        ("true", True),
        ("False", False),
        ("yes", "yes"),
        ("on", "on"),
        ("No", "No"),
        ("null", None),
        ("~", None),
        ("", None),
        ("none", "none"),
        (".inf", math.inf),
        ("-.inf", -math.inf),
        ("inf", "inf"),
        ("nan", "nan"),
        ("١", "١"),
    ],
)
def test_words_and_numbers_are_those_of_yaml_1_2(text: str, value: Any) -> None:
    found = plain_scalar(text)
    assert (found, type(found)) == (value, type(value))


def test_nan_and_numbers_beyond_all_bounds_are_values_that_a_schema_can_refuse() -> None:
    assert math.isnan(plain_scalar(".NaN"))
    assert plain_scalar("9" * 400) == 10**400 - 1
    assert plain_scalar("9" * 10_000) == math.inf
    assert plain_scalar("1e999") == math.inf


@pytest.mark.parametrize("written", ["'1e-3'", '"1e-3"', "|-\n  1e-3", ">-\n  1e-3"])
def test_what_is_quoted_is_a_text(written: str) -> None:
    assert read_yaml(f"a: {written}", "r.yaml").data == {"a": "1e-3"}


# --- lines


@given(st.lists(st.tuples(st.integers(0, 3), st.sampled_from(["# note", ""])), min_size=1, max_size=6))
def test_each_key_has_its_line(gaps: list[tuple[int, str]]) -> None:
    text, expected = "", {}
    for number, (gap, between) in enumerate(gaps):
        text += f"{between}\n" * gap + f"key{number}:\n  - {number}\n"
        lines = text.count("\n")
        expected[f"key{number}",] = lines - 1
        expected[f"key{number}", 0] = lines
    tree = read_yaml(text, "r.yaml")
    assert {path: tree.line(path) for path in expected} == expected


def test_the_line_of_what_is_not_there_is_that_of_the_nearest_part() -> None:
    tree = read_yaml("\na:\n  b: 1\n", "r.yaml")
    assert (tree.line(("a", "b")), tree.line(("a", "c", "d")), tree.line(("x",))) == (3, 2, 2)
    assert str(tree.problem("wrong", ("a", "c"), hint="mend it")) == "r.yaml:2: a.c: wrong. Hint: mend it"


@pytest.mark.parametrize(
    ("path", "text"), [((), ""), (("a",), "a"), (("a", "b", 0, "c"), "a.b[0].c"), (("seeds", 2), "seeds[2]")]
)
def test_dotted_paths(path: tuple[str | int, ...], text: str) -> None:
    assert dotted(path) == text


# --- what is refused


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", ["r.yaml", "the file is empty", "tunelet recipes"]),
        ("# only a comment\n", ["the file is empty"]),
        ("a: 1\na: 2\n", ["r.yaml:2: a", "stands twice", "line 1"]),
        ("x:\n  a: 1\n  b: 1\n  a: 2\n", ["r.yaml:4: x.a", "stands twice", "line 2"]),
        ("a:\n\t- 1\n", ["r.yaml:2", "\\t", "indent with spaces"]),
        ("a: [1, 2\nb: 3\n", ["r.yaml:2", "not YAML"]),
        ("a: b: c\n", ["r.yaml:1", "not YAML"]),
        ("a: 'x\n", ["r.yaml", "not YAML"]),
        ("ok: 1\na: &x 1\nb: *x\n", ["r.yaml:2", "the anchor &x"]),
        ("a: 1\nb: *nowhere\n", ["r.yaml:2", "the alias *nowhere"]),
        ("a: !!python/object/apply:os.system ['true']\n", ["r.yaml:1", "!!python/object/apply:os.system"]),
        ("a: 1\nb: !mine {x: 1}\n", ["r.yaml:2", "the tag !mine"]),
        ("a: !!str 1\n", ["r.yaml:1", "the tag !!str"]),
        ("!!python/name:os.system a: 1\n", ["r.yaml:1", "the tag !!python/name:os.system"]),
        ("? [1, 2]\n: 3\n", ["r.yaml:1", "a key must be a text"]),
        ("? {a: 1}\n: 3\n", ["r.yaml:1", "a key must be a text"]),
        ("a: 1\n---\nb: 1\n", ["r.yaml:2", "another document"]),
        ("%YAML 3.0\n---\na: 1\n", ["r.yaml:1", "YAML"]),
        ("a: 1\nb: x\x00y\n", ["r.yaml:2", "U+0000"]),
        ("a: \x1b[31m\n", ["r.yaml:1", "U+001B"]),
    ],
)
def test_what_a_recipe_may_not_hold_is_refused_with_its_line(text: str, says: list[str]) -> None:
    (problem,) = refused(text)
    assert [part for part in says if part not in problem] == []


def test_duplicate_keys_are_told_all_at_once() -> None:
    assert len(refused("a: 1\na: 2\nb: {c: 1, c: 2}\n")) == 2


def test_an_alias_bomb_is_refused_before_it_grows() -> None:
    lines = ["a0: &a0 [x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 30)]
    (problem,) = refused("\n".join(lines))
    assert "r.yaml:1" in problem


@pytest.mark.parametrize("text", ["[" * 100_000, "{a: " * 100_000, "- " * 100_000, "a: " + "[" * 500 + "]" * 500])
def test_depth_is_refused_before_the_stack_ends(text: str) -> None:
    (problem,) = refused(text)
    assert f"deeper than {MAX_DEPTH} levels" in problem


def test_the_depth_that_is_allowed_is_read() -> None:
    text = "[" * MAX_DEPTH + "1" + "]" * MAX_DEPTH
    data = read_yaml(text, "r.yaml").data
    for _ in range(MAX_DEPTH):
        (data,) = data
    assert data == 1


@given(st.text(max_size=60) | st.text("abc:-[]{}&*!?|>'\"%@`#, \n\t01.~<", max_size=60))
def test_any_text_is_read_or_refused_by_name(text: str) -> None:
    try:
        tree = read_yaml(text, "r.yaml")
    except RecipeError as error:
        assert error.problems
        assert all(problem.file == "r.yaml" for problem in error.problems)
    else:
        assert tree.line(()) is not None
