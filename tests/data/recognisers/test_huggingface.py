"""Speech models of transformers: a tiny Wav2Vec2 with CTC and a tiny Whisper, with random weights."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from transformers import (
    Wav2Vec2Config,
    Wav2Vec2CTCTokenizer,
    Wav2Vec2FeatureExtractor,
    Wav2Vec2ForCTC,
    Wav2Vec2Processor,
    WhisperConfig,
    WhisperFeatureExtractor,
    WhisperForConditionalGeneration,
    WhisperProcessor,
    WhisperTokenizer,
)

from tunelet.base.errors import BaseModelError, DataError, InputError
from tunelet.data.audio import Audio
from tunelet.data.recognisers.ctc import prefix_beam_search
from tunelet.data.recognisers.protocol import build, identity
from tunelet.data.recognisers.settings import HuggingFaceSettings, settings_from

SOUND = Audio(np.random.default_rng(0).normal(0, 0.1, 8000).astype(np.float32), 16000, "a.wav", "0" * 64, 16000, 1)


@pytest.fixture(scope="module")
def ctc(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("ctc")
    vocabulary = {"<pad>": 0, "<s>": 1, "</s>": 2, "<unk>": 3, "|": 4, "A": 5, "B": 6, "L": 7}
    (folder / "vocab.json").write_text(json.dumps(vocabulary))
    tokenizer = Wav2Vec2CTCTokenizer(str(folder / "vocab.json"))
    torch.manual_seed(0)
    config = Wav2Vec2Config(
        vocab_size=len(vocabulary),
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
        conv_dim=(8, 8),
        conv_stride=(20, 16),
        conv_kernel=(20, 16),
        num_feat_extract_layers=2,
        num_conv_pos_embeddings=4,
        num_conv_pos_embedding_groups=2,
        pad_token_id=0,
    )
    Wav2Vec2ForCTC(config).save_pretrained(folder)
    Wav2Vec2Processor(Wav2Vec2FeatureExtractor(), tokenizer).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def whisper(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("whisper")
    special = ["<|endoftext|>", "<|startoftranscript|>", "<|en|>", "<|transcribe|>", "<|notimestamps|>"]
    letters = ["a", "b", "c", "d", "Ġa", "Ġb"]
    vocabulary = {token: place for place, token in enumerate([*letters, *special])}
    (folder / "vocab.json").write_text(json.dumps(vocabulary))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    tokenizer = WhisperTokenizer(
        str(folder / "vocab.json"), str(folder / "merges.txt"), additional_special_tokens=special[1:]
    )
    torch.manual_seed(0)
    config = WhisperConfig(
        vocab_size=len(vocabulary),
        d_model=16,
        encoder_layers=1,
        decoder_layers=1,
        encoder_attention_heads=2,
        decoder_attention_heads=2,
        encoder_ffn_dim=16,
        decoder_ffn_dim=16,
        num_mel_bins=8,
        max_source_positions=50,
        max_target_positions=20,
        pad_token_id=6,
        bos_token_id=6,
        eos_token_id=6,
        decoder_start_token_id=7,
        suppress_tokens=None,
        begin_suppress_tokens=None,
        init_std=1.0,
    )
    model = WhisperForConditionalGeneration(config)
    model.generation_config.max_length = 10
    model.save_pretrained(folder)
    WhisperProcessor(WhisperFeatureExtractor(feature_size=8, chunk_length=1), tokenizer).save_pretrained(folder)
    return folder


def test_ctc_gives_different_texts_with_log_probabilities(ctc: Path) -> None:
    found = build(HuggingFaceSettings(model=str(ctc), n=5, beams=30)).nbest(SOUND)
    assert len(found) == 5
    assert len({one.text for one in found}) == 5
    assert all(one.score < 0 for one in found)
    assert [one.score for one in found] == sorted((one.score for one in found), reverse=True)
    assert all(set(one.text) <= set("ABL ") for one in found)


def test_the_answer_of_ctc_is_the_best_prefix_over_the_frames_of_the_model(ctc: Path) -> None:
    recogniser = build(HuggingFaceSettings(model=str(ctc), n=3, beams=50, symbols=8))
    found = recogniser.nbest(SOUND)
    inputs = recogniser._processor(SOUND.samples, sampling_rate=16000, return_tensors="pt")  # type: ignore[attr-defined]
    with torch.inference_mode():
        frames = recogniser._model(**inputs).logits[0].double().log_softmax(-1).numpy()  # type: ignore[attr-defined]
    prefix, score = prefix_beam_search(frames, beams=50)[0]
    letters = {4: " ", 5: "A", 6: "B", 7: "L"}
    assert found[0].text == " ".join("".join(letters.get(symbol, "") for symbol in prefix).split())
    assert found[0].score == pytest.approx(score)


def test_a_doubled_letter_stays_doubled(ctc: Path) -> None:
    recogniser = build(HuggingFaceSettings(model=str(ctc), n=1, beams=5))
    sure = torch.full((1, 5, 8), -20.0)
    sure[0, range(5), [6, 5, 7, 0, 7]] = 20.0
    recogniser._model = lambda **inputs: SimpleNamespace(logits=sure)  # type: ignore[attr-defined]
    assert recogniser.nbest(SOUND)[0].text == "BALL"


def test_a_model_that_writes_gives_different_texts_with_log_probabilities(whisper: Path) -> None:
    found = build(HuggingFaceSettings(model=str(whisper), n=4, beams=6)).nbest(SOUND)
    assert 2 <= len(found) <= 4
    assert len({one.text for one in found}) == len(found)
    assert all(np.isfinite(one.score) and one.score < 0 for one in found)
    assert not any("<|" in one.text for one in found)


def test_the_score_of_a_written_text_is_that_of_the_model(whisper: Path) -> None:
    recogniser = build(HuggingFaceSettings(model=str(whisper), n=1, beams=6))
    written = recogniser._by_writing(SOUND)  # type: ignore[attr-defined]
    inputs = recogniser._processor(SOUND.samples, sampling_rate=16000, return_tensors="pt")  # type: ignore[attr-defined]
    model = recogniser._model  # type: ignore[attr-defined]
    from transformers import GenerationMixin

    prompt = recogniser._prompt()  # type: ignore[attr-defined]
    ids = GenerationMixin.generate(
        model, **inputs, decoder_input_ids=torch.tensor([prompt]), num_beams=6, do_sample=False
    )
    logits = model(inputs.input_features, decoder_input_ids=ids[:, :-1]).logits.log_softmax(-1)
    steps = logits.gather(-1, ids[:, 1:, None])[0, len(prompt) - 1 :, 0]
    assert written[0][1] == pytest.approx(steps.sum().item(), abs=1e-4)


def test_the_same_sound_gives_the_same_list(ctc: Path, whisper: Path) -> None:
    for folder in (ctc, whisper):
        recogniser = build(HuggingFaceSettings(model=str(folder), n=3))
        assert recogniser.nbest(SOUND) == recogniser.nbest(SOUND)


def test_the_identity_knows_files_and_settings_but_not_the_place(ctc: Path, tmp_path: Path) -> None:
    settings = HuggingFaceSettings(model=str(ctc), n=3)
    copy = tmp_path / "copy"
    copy.mkdir()
    for file in ctc.iterdir():
        (copy / file.name).write_bytes(file.read_bytes())
    assert identity(settings) == build(settings).identity == identity(HuggingFaceSettings(model=str(copy), n=3))
    assert identity(settings) != identity(HuggingFaceSettings(model=str(ctc), n=4))
    (copy / "config.json").write_text((copy / "config.json").read_text() + "\n")
    assert identity(settings) != identity(HuggingFaceSettings(model=str(copy), n=3))


def test_what_cannot_be_heard_is_told(ctc: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"a\.wav: 0\.5 seconds of sound, expected at most 0\.2"):
        build(HuggingFaceSettings(model=str(ctc), max_seconds=0.2)).nbest(SOUND)
    with pytest.raises(InputError, match="5 beams cannot give 10 hypotheses"):
        build(HuggingFaceSettings(model=str(ctc), n=10, beams=5))
    with pytest.raises(BaseModelError, match="cannot be loaded as a speech model"):
        build(HuggingFaceSettings(model=str(tmp_path)))


def test_settings_come_back_from_what_they_dump(ctc: Path) -> None:
    settings = HuggingFaceSettings(model=str(ctc))
    assert settings_from(settings.model_dump()) == settings
