"""Spoken queries as vectors, and the folder of an encoder: kept, read again, refused where they do not fit."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from tunelet.base.errors import BaseModelError, DamagedFileError, DataError
from tunelet.data.token_cache import tokenizer_sha256
from tunelet.data.understanding.task import UnderstandingExample
from tunelet.models.ngram.model import NGram
from tunelet.models.prefix.protocol import SpeechVectors
from tunelet.models.speech.encoder_folder import LoadedEncoder, clips_of, load_encoder, save_encoder
from tunelet.models.speech.protocol import drawing
from tunelet.models.speech.small import SmallSettings, build_small
from tunelet.models.speech.soft_pieces import SoftPieces
from tunelet.models.speech.soft_words import SpokenQueries
from tunelet.models.speech.word_search import SearchWeights, WordSearch

TINY = SmallSettings(width=16, layers=1, heads=2, mels=20, kernel=5)
SEARCH = WordSearch(NGram.build(["the cat", "the dog", "we saw it"], order=2), SearchWeights(weight=0.5))
TABLE = torch.randn(40, 6, generator=torch.Generator().manual_seed(1))


def letters(extra: str = "") -> Any:
    """A tokenizer of single letters."""
    words = ["[UNK]", *"abcdefghijklmnopqrstuvwxyz'", *([extra] if extra else [])]
    backend = Tokenizer(models.WordLevel({word: i for i, word in enumerate(words)}, unk_token="[UNK]"))
    backend.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    return PreTrainedTokenizerFast(tokenizer_object=backend, unk_token="[UNK]")


def a_loaded(tokenizer: Any, /, **changes: Any) -> LoadedEncoder:
    with drawing(1, "pieces"):
        pieces = SoftPieces(TINY, [3, 9, 5])
    made = LoadedEncoder(build_small(TINY, seed=1).eval(), pieces.eval(), tokenizer_sha256(tokenizer), {"clips": 3})
    return replace(made, **{"search": SEARCH, **changes})


def queries(folder: Path, *seconds: float) -> list[UnderstandingExample]:
    stream = np.random.default_rng(1)
    made = []
    for number, length in enumerate(seconds):
        path = folder / f"{number}.wav"
        soundfile.write(path, 0.3 * stream.standard_normal(round(16_000 * length)), 16_000)
        made.append(UnderstandingExample(str(number), "?", ("x",), "test", path))
    return made


@pytest.mark.parametrize("how", ["words", "pieces", "characters"])
def test_vectors_stand_in_the_space_of_the_words(tmp_path: Path, how: Any) -> None:
    tokenizer = letters()
    heard = SpokenQueries(a_loaded(tokenizer), TABLE, tokenizer, how=how)
    assert isinstance(heard, SpeechVectors)
    asked = queries(tmp_path, 0.8, 0.3, 0.01)
    vectors = heard(asked)
    assert all(v.shape[1] == 6 and len(v) >= 1 and v.dtype == torch.float32 for v in vectors)
    # alone as in company, and in any order
    torch.testing.assert_close(SpokenQueries(a_loaded(tokenizer), TABLE, tokenizer, how=how)(asked[1:2])[0], vectors[1])
    assert torch.equal(heard(asked[::-1])[0], vectors[2])
    # what was heard can enter a graph
    assert (vectors[0] * torch.ones(6, requires_grad=True)).sum().requires_grad


@pytest.mark.parametrize("how", ["words", "pieces", "characters"])
def test_hearing_together_changes_no_vector(tmp_path: Path, how: Any) -> None:
    tokenizer, asked = letters(), queries(tmp_path, 0.6, 0.2, 1.1, 0.35, 0.9)
    loaded = a_loaded(tokenizer)
    together = SpokenQueries(loaded, TABLE, tokenizer, how=how)(asked)
    alone = SpokenQueries(loaded, TABLE, tokenizer, how=how)
    for query, vectors in zip(asked, together, strict=True):
        torch.testing.assert_close(vectors, alone([query])[0], rtol=0.0, atol=1e-5)


def test_what_was_heard_is_kept_on_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tokenizer, asked = letters(), queries(tmp_path, 0.5, 0.4)
    first = SpokenQueries(a_loaded(tokenizer), TABLE, tokenizer, cache=tmp_path / "cache")(asked)
    again = SpokenQueries(a_loaded(tokenizer), TABLE, tokenizer, cache=tmp_path / "cache")
    monkeypatch.setattr(LoadedEncoder, "heard", lambda self, rest: iter(()) if not rest else pytest.fail("heard again"))
    assert all(torch.equal(a, b) for a, b in zip(again(asked), first, strict=True))
    other = SpokenQueries(a_loaded(tokenizer), 2 * TABLE, tokenizer, cache=tmp_path / "cache")
    assert other.fingerprint != again.fingerprint


def test_a_part_of_a_sound_is_another_query(tmp_path: Path) -> None:
    tokenizer, asked = letters(), queries(tmp_path, 1.0)
    parts = [replace(asked[0], seconds=times) for times in ((0.0, 0.5), (0.5, 1.0))]
    samples = clips_of([*parts, *asked])
    np.testing.assert_array_equal(np.concatenate(samples[:2]), samples[2])
    vectors = SpokenQueries(a_loaded(tokenizer), TABLE, tokenizer, how="pieces")([*asked, *parts])
    assert len({v.numpy().tobytes() for v in vectors}) == 3
    with pytest.raises(DataError, match="ends before second 3"):
        clips_of([replace(asked[0], seconds=(3.0, 4.0))])


def test_all_sounds_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    good, bad = queries(tmp_path, 0.5, 0.5)
    assert bad.audio is not None
    bad.audio.write_bytes(b"RIFFxxxxWAVE")
    silent = UnderstandingExample("none", "?", ("x",))
    with pytest.raises(DataError) as caught:
        clips_of([good, bad, silent])
    assert "1.wav" in str(caught.value) and "'none'" in str(caught.value)
    tokenizer = letters()
    with pytest.raises(DataError, match="no sound"):
        SpokenQueries(a_loaded(tokenizer), TABLE, tokenizer)([silent])


def test_pieces_of_another_tokenizer_are_refused() -> None:
    tokenizer = letters()
    with pytest.raises(BaseModelError, match="another tokenizer"):
        SpokenQueries(a_loaded(tokenizer), TABLE, letters("zz"))
    with pytest.raises(BaseModelError, match="no head over word pieces"):
        SpokenQueries(a_loaded(tokenizer, pieces=None, tokenizer=""), TABLE, tokenizer)
    SpokenQueries(a_loaded(tokenizer, pieces=None, tokenizer=""), TABLE, letters("zz"), how="characters")


def test_words_are_those_of_the_search_and_their_embeddings_stand_in_the_prompt(tmp_path: Path) -> None:
    tokenizer, asked = letters(), queries(tmp_path, 0.6, 1.0)
    heard = SpokenQueries(a_loaded(tokenizer), TABLE, tokenizer, how="words")
    written = heard.written(asked)
    assert {word for text in written for word in text.split()} <= {*SEARCH.language.vocabulary.words}
    for text, vectors in zip(written, heard(asked), strict=True):
        ids = tokenizer(text, add_special_tokens=False)["input_ids"] or [tokenizer.unk_token_id]
        assert torch.equal(vectors, TABLE[torch.tensor(ids)])
    # letters alone are what the other ways write
    others = [SpokenQueries(a_loaded(tokenizer), TABLE, tokenizer, how=how) for how in ("pieces", "characters")]
    assert others[0].written(asked) == others[1].written(asked) != written
    assert len({heard.fingerprint, *(other.fingerprint for other in others)}) == 3


def test_an_encoder_without_a_search_is_refused_for_words() -> None:
    with pytest.raises(BaseModelError, match="no search for words"):
        SpokenQueries(a_loaded(letters(), search=None), TABLE, letters(), how="words")


@pytest.mark.parametrize("changes", [{}, {"pieces": None, "tokenizer": ""}, {"search": None}])
def test_a_folder_gives_the_same_encoder(tmp_path: Path, changes: dict[str, Any]) -> None:
    made = a_loaded(letters(), **changes)
    save_encoder(tmp_path / "encoder", made)
    loaded = load_encoder(tmp_path / "encoder")
    assert loaded.fingerprint == made.fingerprint and loaded.facts == {"clips": 3}
    asked = queries(tmp_path, 0.6, 0.4)
    assert loaded.transcribe(asked) == made.transcribe(asked)


def test_folders_that_hold_no_encoder_are_refused(tmp_path: Path) -> None:
    with pytest.raises(BaseModelError, match="holds no speech encoder"):
        load_encoder(tmp_path)
    save_encoder(tmp_path / "e", a_loaded(letters()))
    (tmp_path / "e" / "model.safetensors").write_bytes(b"")
    with pytest.raises(DamagedFileError, match=r"model\.safetensors"):
        load_encoder(tmp_path / "e")
    for number, change in enumerate(({"format": 9}, {"settings": {"width": 7}}, {"pieces": {"layers": 5}})):
        folder = tmp_path / f"f{number}"
        save_encoder(folder, a_loaded(letters()))
        stated = {**json.loads((folder / "encoder.json").read_text()), **change}
        (folder / "encoder.json").write_text(json.dumps(stated))
        (folder / "manifest.json").write_text('{"files": {}}')
        with pytest.raises(BaseModelError, match=r"encoder\.json"):
            load_encoder(folder)
