"""Plain text: the order of the places, what is held out, and errors that name them all."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tunelet.base.errors import DataError
from tunelet.data.novels import read_lines, sentence_file
from tunelet.data.plain_text import PlainTextSettings, _drawn, find_text, hold_out


def book(path: Path, sentences: int = 4) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(" ".join(f"The {path.stem} said{' so' * n}." for n in range(sentences)), encoding="utf-8")
    return path


def lines_of(path: Path) -> list[str]:
    return list(read_lines(path))


def test_the_recipe_s_path_comes_first_and_alone(tmp_path: Path) -> None:
    first, deep = book(tmp_path / "a" / "cat.txt"), book(tmp_path / "a" / "b" / "dog.txt")
    (tmp_path / "a" / "notes.md").write_text("no", encoding="utf-8")
    wanted = PlainTextSettings(path=str(tmp_path / "a"))
    found = find_text(wanted, None, {"TUNELET_DATA": str(tmp_path)})
    assert (found.kind, found.files) == ("recipe", (deep, first))
    both = PlainTextSettings.model_validate({"path": [str(first), str(tmp_path / "a")]})
    assert find_text(both, None, {}).files == (first, deep)
    with pytest.raises(DataError, match="keep one of the two"):
        find_text(wanted, tmp_path, {})


def test_then_data_then_the_environment_then_the_embedded_text(tmp_path: Path) -> None:
    novel = book(tmp_path / "text" / "gutenberg_more" / "cat.txt")
    book(tmp_path / "text" / "other" / "dog.txt")
    environ = {"TUNELET_DATA": str(tmp_path)}
    given_folder = find_text(PlainTextSettings(), tmp_path / "text" / "other", environ)
    assert (given_folder.kind, [file.name for file in given_folder.files]) == ("argument", ["dog.txt"])
    found = find_text(PlainTextSettings(), None, environ)
    assert (found.kind, found.location, found.files) == ("environment", "TUNELET_DATA/text/gutenberg_more", (novel,))
    for settings_, variables in ((PlainTextSettings(source="embedded"), environ), (PlainTextSettings(), {})):
        embedded = find_text(settings_, None, variables)
        assert (embedded.kind, embedded.layout) == ("embedded", "lines")
    with pytest.raises(DataError, match="TUNELET_DATA is not set"):
        find_text(PlainTextSettings(source="environment"), None, {})
    with pytest.raises(DataError, match="has neither text/novels"):
        find_text(PlainTextSettings(source="environment", folders=("novels",)), None, environ)


def test_places_without_text_are_all_named(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    wanted = PlainTextSettings(path=(str(tmp_path / "empty"), str(tmp_path / "none")))
    with pytest.raises(DataError, match=r"(?s)empty: .*no \.txt file.*none: .*no such file or folder"):
        find_text(wanted, None, {})
    for path in ("", [], [""]):
        with pytest.raises(ValueError, match="expected a path"):
            PlainTextSettings.model_validate({"path": path})


def test_whole_books_are_held_out(tmp_path: Path) -> None:
    for name in ("ann", "ben", "cat", "dan", "eve", "fay"):
        book(tmp_path / "b" / f"{name}.txt")
    wanted = PlainTextSettings(path=str(tmp_path / "b"), validation=0.3)
    text = find_text(wanted, None, {})
    held = hold_out(text, wanted, tmp_path / "cache")
    assert held.unit == "book" and held.repeated == {"validation": 0, "test": 0}
    assert {split: (p.units, p.sentences) for split, p in held.parts.items()} == {
        "train": (3, 12),
        "validation": (2, 8),
        "test": (1, 4),
    }
    said = {split: {line.split()[1] for line in lines_of(part.file)} for split, part in held.parts.items()}
    assert not (said["train"] & said["test"]) and not (said["train"] & said["validation"])
    assert sum(len(names) for names in said.values()) == 6
    assert sum(part.words for part in held.parts.values()) == sum(
        len(line.split()) for part in held.parts.values() for line in lines_of(part.file)
    )
    assert hold_out(text, wanted, tmp_path / "other").sha256 == held.sha256
    other = [
        hold_out(text, wanted.model_copy(update={"seed": seed}), tmp_path / "cache").sha256 for seed in range(2, 6)
    ]
    assert any(sha256 != held.sha256 for sha256 in other)


def test_a_single_file_is_parted_into_passages(tmp_path: Path) -> None:
    file = tmp_path / "lines.txt"
    file.write_text("".join(f"Line {'x' * n}\n" for n in range(1, 101)), encoding="utf-8")
    wanted = PlainTextSettings(path=str(file), layout="lines", limit={"train": 10})
    held = hold_out(find_text(wanted, None, {}), wanted, tmp_path / "cache")
    assert held.unit == "passage"
    assert [part.sentences for part in held.parts.values()] == [10, 5, 5]
    validation = lines_of(held.parts["validation"].file)
    start = len(validation[0].split()[1])
    assert validation == [f"line {'x' * n}" for n in range(start, start + 5)]  # neighbours stay together
    file.write_text("One.\nTwo.\n", encoding="utf-8")
    with pytest.raises(DataError, match="found 2 sentences, expected at least 3"):
        hold_out(find_text(wanted, None, {}), wanted, tmp_path / "cache")


def test_sentences_that_stand_in_train_too_are_counted(tmp_path: Path) -> None:
    for number in range(3):
        book(tmp_path / "b" / f"b{number}.txt").write_text("He said so. She said no.", encoding="utf-8")
    wanted = PlainTextSettings(path=str(tmp_path / "b"))
    assert hold_out(find_text(wanted, None, {}), wanted, tmp_path / "c").repeated == {"validation": 2, "test": 2}


def test_a_line_is_a_sentence_where_the_layout_says_so(tmp_path: Path) -> None:
    file = tmp_path / "a.txt"
    file.write_text("It rained. It poured\nin the town\n\nno. 7\n", encoding="utf-8")
    as_lines = sentence_file([file], tmp_path, layout="lines")
    assert lines_of(as_lines) == ["it rained it poured", "in the town"]
    assert lines_of(sentence_file([file], tmp_path)) == ["it rained", "it poured in the town"]
    assert lines_of(sentence_file([file], tmp_path, layout="lines", numbers="keep"))[-1] == "no 7"


@settings(max_examples=100)
@given(st.integers(3, 60), st.floats(0.01, 0.49), st.floats(0.01, 0.49), st.integers(0, 9))
def test_every_unit_is_in_one_split_and_no_split_is_empty(units: int, first: float, second: float, seed: int) -> None:
    drawn = _drawn(units, {"validation": first, "test": second}, seed)
    assert sorted(unit for part in drawn.values() for unit in part) == list(range(units))
    assert all(drawn.values())
    assert len(drawn["validation"]) <= max(1, round(first * units))
