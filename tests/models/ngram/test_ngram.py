"""The n-gram model against the same formulae written with dictionaries, and against what probabilities must be."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tunelet.base.errors import DamagedFileError, InputError
from tunelet.models.ngram.counting import count
from tunelet.models.ngram.model import NGram
from tunelet.models.ngram.smoothing import smooth

word = st.sampled_from(["a", "b", "c", "d", "e"])
line = st.lists(word, min_size=1, max_size=7).map(" ".join)
corpus = st.lists(line, min_size=1, max_size=25)
TEXT = ["the cat sat on the mat", "the dog sat", "a cat ran", "the dog ran on", "on the mat the cat sat"] * 2 + [
    "a dog"
]


class Plain:
    """Interpolated modified Kneser-Ney with dictionaries."""

    def __init__(self, lines: list[str], order: int, prune: tuple[int, ...] = ()) -> None:
        self.order = order
        raw: list[Counter[tuple[str, ...]]] = [Counter() for _ in range(order + 1)]
        for text in lines:
            words = ["<s>", *text.split(), "</s>"]
            for n in range(1, order + 1):
                raw[n].update(tuple(words[i : i + n]) for i in range(len(words) - n + 1))
        self.words = sorted({w for (w,) in raw[1]} - {"<s>"} | {"<unk>"})
        least = [0, *prune, *[prune[-1] if prune else 0] * (order - len(prune))]
        self.kept: list[set[tuple[str, ...]]] = [set()]
        self.count: list[dict[tuple[str, ...], int]] = [{}]
        self.discount = [(0.0, 0.0, 0.0)]
        for n in range(1, order + 1):
            before: Counter[tuple[str, ...]] = Counter()
            if n < order:
                before.update(gram[1:] for gram in raw[n + 1])
            adjusted = {g: raw[n][g] if n == order or g[0] == "<s>" else before[g] for g in raw[n]}
            adjusted.pop(("<s>",), None)
            self.count.append(adjusted)
            self.kept.append({g for g in adjusted if raw[n][g] > least[n]})
            c = Counter(adjusted.values())
            if all(c[k] for k in (1, 2, 3, 4)):
                y = c[1] / (c[1] + 2 * c[2])
                found = tuple(k - (k + 1) * y * c[k + 1] / c[k] for k in (1, 2, 3))
                good = all(0 < d <= k for k, d in enumerate(found, start=1))
            self.discount.append(found if all(c[k] for k in (1, 2, 3, 4)) and good else (0.5, 1.0, 1.5))
        self.totals: dict[tuple[str, ...], int] = defaultdict(int)
        self.mass: dict[tuple[str, ...], float] = defaultdict(float)
        for n in range(1, order + 1):
            for g, a in self.count[n].items():
                self.totals[g[:-1]] += a
        for n in range(1, order + 1):
            for g in self.kept[n]:
                self.mass[g[:-1]] += self._discounted(g)

    def _discounted(self, gram: tuple[str, ...]) -> float:
        a = self.count[len(gram)][gram]
        return (a - self.discount[len(gram)][min(a, 3) - 1]) / self.totals[gram[:-1]]

    def p(self, context: tuple[str, ...], word: str) -> float:
        context = context[-(self.order - 1) :] if self.order > 1 else ()
        shorter = self.p(context[1:], word) if context else 1 / len(self.words)
        if not self.totals.get(context):
            return shorter
        gram = (*context, word)
        own = self._discounted(gram) if gram in self.kept[len(gram)] else 0.0
        return own + (1 - self.mass[context]) * shorter

    def log_p(self, text: str) -> float:
        words = ["<s>", *[w if w in self.words else "<unk>" for w in text.split()], "</s>"]
        return sum(math.log(self.p(tuple(words[:i]), words[i])) for i in range(1, len(words)))


@settings(deadline=None, max_examples=40)
@given(corpus, st.integers(1, 4), st.lists(st.lists(st.sampled_from("abcdez"), max_size=6).map(" ".join), max_size=4))
def test_it_is_the_dictionary_s(lines: list[str], order: int, texts: list[str]) -> None:
    model, plain = NGram.build(lines, order), Plain(lines, order)
    for tables, discounts in zip(model.tables, plain.discount[1:], strict=True):
        assert tables.discounts == pytest.approx(discounts)
    (found,) = model.score([texts])
    np.testing.assert_allclose(found, [plain.log_p(text) for text in texts], rtol=1e-5, atol=1e-5)


@settings(deadline=None, max_examples=25)
@given(corpus, st.lists(st.sampled_from("abcdez"), max_size=4), st.sampled_from([(), (0, 1), (0, 0, 1), (0, 1, 2)]))
def test_the_chances_of_all_words_sum_to_one(lines: list[str], context: list[str], prune: tuple[int, ...]) -> None:
    model = NGram.build(lines, 3, prune=prune)
    total = 0.0
    for words in ([*context, word] for word in (*model.vocabulary.words[3:], "unheard")):
        _, log_p, _ = model._tokens([" ".join(words)])
        total += math.exp(log_p[len(context)])
    _, log_p, _ = model._tokens([" ".join(context)])
    assert total + math.exp(log_p[-1]) == pytest.approx(1.0, abs=1e-5)


@settings(deadline=None, max_examples=25)
@given(corpus, st.sampled_from([(0, 1), (0, 0, 1), (0, 1, 2)]), st.lists(line, max_size=3))
def test_pruned_it_is_the_dictionary_s(lines: list[str], prune: tuple[int, ...], texts: list[str]) -> None:
    model, plain = NGram.build(lines, 3, prune=prune), Plain(lines, 3, prune)
    assert model.sizes[1:] == tuple(len(plain.kept[n]) for n in (2, 3))
    np.testing.assert_allclose(model.score([texts])[0], [plain.log_p(text) for text in texts], rtol=1e-5, atol=1e-5)


def test_saved_and_loaded_it_says_the_same(tmp_path: Path) -> None:
    model = NGram.build(TEXT, 3)
    model.save(tmp_path / "m.safetensors")
    again = NGram.load(tmp_path / "m.safetensors")
    lists = [["the cat sat", "", "a zebra ran"], [], ["mat"]]
    assert again.vocabulary.words == model.vocabulary.words
    assert (again.order, again.sizes, again.read) == (3, model.sizes, {"sentences": 11, "words": 46})
    for a, b in zip(model.score(lists), again.score(lists), strict=True):
        assert a.tolist() == b.tolist()
    data = bytearray((tmp_path / "m.safetensors").read_bytes())
    for wrong in (data[: len(data) // 2], b"", b"no model", data.replace(b"tunelet_ngram", b"tunelet_nrgam")):
        (tmp_path / "wrong").write_bytes(wrong)
        with pytest.raises(DamagedFileError, match="wrong: "):
            NGram.load(tmp_path / "wrong")
    with pytest.raises(DamagedFileError):
        NGram.load(tmp_path / "absent")


def test_perplexity_counts_what_it_foretells() -> None:
    model = NGram.build(TEXT, 3)
    found = model.perplexity(["the cat sat", "the zebra sat"])
    assert (found.tokens, found.unknown) == (8, 1)
    assert found.log_p == pytest.approx(sum(model.score([["the cat sat", "the zebra sat"]])[0]))
    assert found.known < found.value == pytest.approx(math.exp(-found.log_p / 8))
    uniform = NGram.build(["a b c d"], 1).perplexity(["a"])
    assert uniform.value == pytest.approx(
        1 / math.sqrt(Plain(["a b c d"], 1).p((), "a") * Plain(["a b c d"], 1).p((), "</s>"))
    )
    assert model.unknown([["the zebra emu", ""], []])[0].tolist() == [2, 0]


def test_lists_of_any_shape_and_progress() -> None:
    model = NGram.build(TEXT, 3)
    seen: list[tuple[int, int]] = []
    found = model.score([["the cat", "the cat"], [], [""]], progress=lambda done, of: seen.append((done, of)))
    assert [len(scores) for scores in found] == [2, 0, 1]
    assert found[0][0] == found[0][1] < 0
    assert seen == [(2, 2)]
    assert model.score([]) == []


def test_rare_words_can_count_as_unknown() -> None:
    model = NGram.build([*TEXT, "a gnu ran"], 2, minimum_count=2)
    assert "gnu" not in model.vocabulary.numbers
    assert model.score([["a gnu ran"]])[0][0] > NGram.build(TEXT, 2).score([["a gnu ran"]])[0][0]


def test_words_that_look_special_are_unknown() -> None:
    model = NGram.build(TEXT, 2)
    assert model.unknown([["<s> </s> <unk>"]])[0].tolist() == [3]
    assert math.isfinite(model.score([["<s>"]])[0][0])


def test_wrong_settings_are_told() -> None:
    for lines in ([], [" ", ""]):
        with pytest.raises(InputError, match="no word"):
            count(lines, 2)
    with pytest.raises(InputError, match="at least 1, found 0"):
        count(TEXT, 0)
    for prune in ((1,), (0, 2, 1), (0, 0, 0, 1), (-1, 0)):
        with pytest.raises(InputError, match="do not fall"):
            smooth(count(TEXT, 3), prune)
    with pytest.raises(InputError, match="no text"):
        NGram.build(TEXT, 2).perplexity([])
