"""Records, and every format there and back."""

from __future__ import annotations

import gzip
import io
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from toy_nbest import drawn_lists, nbest
from tunelet.base.errors import DataError, InputError
from tunelet.data.nbest import Hypothesis, NBest, NBestSet, joined, sha256_lists
from tunelet.data.nbest_files import FORMATS, read_nbest, stream_nbest, write_nbest
from tunelet.data.problems import ProblemLog

LISTS = [
    nbest("a", "the sea", ("the see", -1.0), ("the sea", -1.5), ("the see", -2.25), speaker="s1"),
    nbest("b-2", "", ("", -0.1)),
    nbest("c", None, ("é\u2028ü", 3.0)),
]
# what no writer is asked to keep: NUL and halves of surrogate pairs are refused by every reader
TEXT = st.text(st.characters(exclude_categories=("Cs",), exclude_characters="\0"), max_size=12)
IDS = st.text(st.characters(exclude_categories=("Cs",), exclude_characters="\0"), min_size=1, max_size=6).filter(
    lambda text: bool(text.strip())
)
FRESH = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=40, deadline=None)
NAMES = {"jsonl": "x.jsonl", "mlm-scoring": "x.json", "hyporadise": "x.json", "espnet": "folder", "kaldi": "folder"}


@given(drawn_lists())
def test_a_text_is_scored_once_and_spread_again(lists: list[NBest]) -> None:
    for one in lists:
        view = one.unique()
        assert len(set(view.texts)) == len(view.texts)
        assert view.spread(view.texts) == one.texts


def test_records() -> None:
    with pytest.raises(ValueError, match="no hypotheses"):
        NBest("a", ())
    with pytest.raises(ValueError, match="1 values for 2"):
        LISTS[0].unique().spread([1])
    assert LISTS[0].words == 2 and LISTS[2].words == 2  # U+2028 is white space
    changed = LISTS[0].with_texts(["x", "y", "z"])
    assert changed.scores == LISTS[0].scores and changed.texts == ("x", "y", "z")
    assert (changed.ref, changed.speaker) == (LISTS[0].ref, "s1")
    assert sha256_lists([changed]) != sha256_lists(LISTS[:1]) == NBestSet(tuple(LISTS[:1]), "jsonl", "x").sha256


def test_joined_sets_have_no_id_in_common() -> None:
    one, other = NBestSet(tuple(LISTS[:2]), "jsonl", "x.jsonl"), NBestSet(tuple(LISTS[1:]), "jsonl", "y.jsonl")
    with pytest.raises(DataError, match=r"y\.jsonl: id: 1 ids are also in x\.jsonl, such as 'b-2'"):
        joined([one, other])
    assert joined([one, replace(other, lists=other.lists[1:])]) == tuple(LISTS)


def there_and_back(form: str, folder: Path, lists: list[NBest]) -> tuple[NBestSet, tuple[str, ...]]:
    """The lists as they come back, and what the writer says it lost."""
    path = folder / f"{len(list(folder.iterdir()))}" / NAMES[form]
    path.parent.mkdir()
    written = write_nbest(path, lists, form)  # type: ignore[arg-type]
    assert (written.form, written.lists, written.path) == (form, len(lists), path)
    found = read_nbest(path)
    assert found.form == form and found.location == str(path)
    return found, written.lost


@FRESH
@given(lists=drawn_lists(TEXT, refs=False, speakers=True, ids=IDS))
def test_jsonl_keeps_everything(tmp_path: Path, lists: list[NBest]) -> None:
    found, lost = there_and_back("jsonl", tmp_path, lists)
    assert list(found.lists) == lists and found.scored and lost == ()


@FRESH
@given(lists=drawn_lists(TEXT, refs=False, speakers=True, ids=IDS))
def test_mlm_scoring_keeps_everything_but_speakers(tmp_path: Path, lists: list[NBest]) -> None:
    found, lost = there_and_back("mlm-scoring", tmp_path, lists)
    assert list(found.lists) == [replace(one, speaker=None) for one in lists] and found.scored
    assert lost == ("speakers",)


@FRESH
@given(lists=drawn_lists(TEXT, refs=False))
def test_hyporadise_keeps_texts_and_references(tmp_path: Path, lists: list[NBest]) -> None:
    found, lost = there_and_back("hyporadise", tmp_path, lists)
    assert [(one.texts, one.ref) for one in found.lists] == [(one.texts, one.ref) for one in lists]
    assert [one.id for one in found.lists] == [str(i) for i in range(len(lists))]
    assert not found.scored and {score for one in found.lists for score in one.scores} == {0.0}
    assert ("scores" in lost) == any(score != 0 for one in lists for score in one.scores)


@pytest.mark.parametrize("form", ["espnet", "kaldi"])
@FRESH
@given(lists=drawn_lists(refs=False, speakers=True))
def test_folders_keep_everything(tmp_path: Path, form: str, lists: list[NBest]) -> None:
    found, lost = there_and_back(form, tmp_path, lists)
    # ESPnet has a file for each rank; a table of Kaldi keeps its own order: lists come back in the order written
    assert list(found.lists) == lists and found.scored and lost == ()


@pytest.mark.parametrize("form", ["espnet", "kaldi"])
def test_folders_collapse_white_space_and_say_so(tmp_path: Path, form: str) -> None:
    found, lost = there_and_back(form, tmp_path, [nbest("a", "the  sea", (" the\nsee", -1.0))])
    assert (found.lists[0].ref, found.lists[0].texts) == ("the sea", ("the see",))
    assert lost == ("white space inside texts",)


@pytest.mark.parametrize("name", ["x.jsonl.gz", "x.json.gz"])
def test_gzip_there_and_back_with_the_same_bytes(tmp_path: Path, name: str) -> None:
    write_nbest(tmp_path / name, LISTS)
    first = (tmp_path / name).read_bytes()
    write_nbest(tmp_path / name, LISTS)
    assert (tmp_path / name).read_bytes() == first and first[4:8] == bytes(4)  # no time of writing
    assert [one.texts for one in read_nbest(tmp_path / name).lists] == [one.texts for one in LISTS]


def packed(path: Path) -> None:
    path.with_name(path.name + ".gz").write_bytes(gzip.compress(path.read_bytes()))
    path.unlink()


@pytest.mark.parametrize(("form", "name"), [("espnet", "1best_recog/text"), ("kaldi", "score"), ("kaldi", "ref")])
def test_tables_may_be_compressed(tmp_path: Path, form: str, name: str) -> None:
    write_nbest(tmp_path / "f", LISTS[:2], form)  # type: ignore[arg-type]
    packed(tmp_path / "f" / name)
    assert list(read_nbest(tmp_path / "f").lists) == LISTS[:2]


def test_mlm_scoring_orders_by_number_and_needs_no_reference(tmp_path: Path) -> None:
    values = {"u": {"hyp_2": {"score": -2, "text": "b"}, "hyp_1": {"score": -1, "text": "a"}, "asr": "x"}}
    (tmp_path / "x.json").write_text(json.dumps(values))
    assert read_nbest(tmp_path / "x.json").lists == (nbest("u", None, ("a", -1.0), ("b", -2.0)),)


def test_espnet_reads_tensors_parts_and_references_from_elsewhere(tmp_path: Path) -> None:
    for part, name in ((10, "z"), (2, "b"), (1, "a"), (11, "y"), (3, "c")):
        folder = tmp_path / "d" / "logdir" / f"output.{part}" / "1best_recog"
        folder.mkdir(parents=True)
        (folder / "text").write_text(f"{name} THE SEA\n{name}2\n")
        (folder / "score").write_text(f"{name} tensor(-1.5)\n{name}2 tensor(-2., device='cuda:0')\n")
    (tmp_path / "refs").write_text("a THE SEA\nz2 A DOG\n")
    found = read_nbest(tmp_path / "d", references=tmp_path / "refs")
    assert [one.id for one in found.lists] == ["a", "a2", "b", "b2", "c", "c2", "z", "z2", "y", "y2"]
    assert [one.ref for one in found.lists[:1] + found.lists[7:8]] == ["THE SEA", "A DOG"]
    assert found.lists[1].hypotheses == (Hypothesis("", -2.0),)


def test_kaldi_costs_are_negated_and_words_text_is_a_name_too(tmp_path: Path) -> None:
    (tmp_path / "words_text").write_text("a-b-10 x\n" + "".join(f"a-b-{i} y\n" for i in range(1, 10)))
    (tmp_path / "cost").write_text("".join(f"a-b-{i} {i}.5\n" for i in range(1, 11)))
    (one,) = read_nbest(tmp_path).lists
    assert one.id == "a-b" and one.scores == tuple(-i - 0.5 for i in range(1, 11)) and one.texts[-1] == "x"


def test_speaker_rules(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    write_nbest(path, [nbest("1272-128104-0000", "a", ("a", -1.0), speaker="given")])
    speakers = {rule: read_nbest(path, speaker=rule).speakers for rule in ("field", "librispeech", "none")}
    assert speakers == {"field": ("given",), "librispeech": ("1272",), "none": ()}


def test_a_speaker_may_be_a_number_and_other_fields_are_ignored(tmp_path: Path) -> None:
    row = {"id": 7, "nbest": [{"text": "a", "score": 1, "tokens": [1]}], "speaker": 3, "more": None}
    (tmp_path / "x.jsonl").write_bytes(b"\xef\xbb\xbf" + json.dumps(row).encode() + b"\r\n\n")
    assert read_nbest(tmp_path / "x.jsonl").lists == (nbest("7", None, ("a", 1.0), speaker="3"),)


def test_streaming_stops_at_the_first_problem_or_reports_it() -> None:
    source = b'{"id": "a", "nbest": [{"text": "x", "score": 1}]}\n{"id": "b"}\n{"id": "c", "nbest": []}\n'
    stream = stream_nbest(io.BytesIO(source), "in")
    assert next(stream).id == "a"
    with pytest.raises(DataError, match="in:2: nbest: missing"):
        next(stream)
    log = ProblemLog("in")
    assert [one.id for one in stream_nbest(io.BytesIO(source), report=log)] == ["a"]
    assert [(problem.line, problem.field) for problem in log.problems()] == [(2, "nbest"), (3, "nbest")]


def filled(folder: Path) -> Path:
    (folder / "f").mkdir()
    (folder / "f" / "mine").write_text("keep")
    return folder / "f"


@pytest.mark.parametrize(
    ("path", "form", "lists", "message"),
    [
        (lambda folder: folder / "x.txt", None, LISTS, "tells no format"),
        (lambda folder: folder / "x", "mlm", LISTS, "Available: espnet"),
        (lambda folder: folder / "x.jsonl", None, [], "no lists to write"),
        (filled, "kaldi", LISTS, "not an empty folder"),
        (lambda folder: folder / "f", "espnet", [nbest("a b", None, ("x", 1.0))], "white space"),
    ],
)
def test_what_cannot_be_written_is_refused(
    tmp_path: Path, path: Callable[[Path], Path], form: str, lists: list[NBest], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        write_nbest(path(tmp_path), lists, form)  # type: ignore[arg-type]
    assert [entry.name for entry in tmp_path.rglob("*") if entry.is_file()] in ([], ["mine"])


def test_every_format_is_tested() -> None:
    assert set(FORMATS) == set(NAMES)


def test_the_real_lists(real_data: Path) -> None:
    found = read_nbest(
        real_data / "nbest" / "librispeech_espnet100" / "test_clean.jsonl", speaker="librispeech", need_references=True
    )
    assert (len(found), len(found.speakers), {len(one) for one in found.lists}) == (2620, 40, {10})
