"""A tiny Qwen2-Audio of random weights that reads bytes and hears a second, with its processor."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from transformers import (
    Qwen2AudioConfig,
    Qwen2AudioForConditionalGeneration,
    Qwen2AudioProcessor,
    WhisperFeatureExtractor,
)

from toy_in_context import toy_bytes
from tunelet.models.speech.protocol import drawing

MARKS = ("<|AUDIO|>", "<|audio_bos|>", "<|audio_eos|>", "<|im_start|>", "<|im_end|>")


def toy_qwen(room: int = 700) -> tuple[Any, Any]:
    """The model and its processor."""
    tokenizer = toy_bytes()
    tokenizer.add_special_tokens({"additional_special_tokens": list(MARKS)})
    processor = Qwen2AudioProcessor(WhisperFeatureExtractor(feature_size=8, chunk_length=1), tokenizer)
    text = {
        "model_type": "qwen2",
        "vocab_size": len(tokenizer),
        "hidden_size": 16,
        "intermediate_size": 24,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
        "max_position_embeddings": room,
        "initializer_range": 0.3,
    }
    sound = {
        "model_type": "qwen2_audio_encoder",
        "num_mel_bins": 8,
        "encoder_layers": 1,
        "encoder_attention_heads": 2,
        "encoder_ffn_dim": 16,
        "d_model": 16,
        "max_source_positions": 50,
        "initializer_range": 0.3,
    }
    config = Qwen2AudioConfig(
        audio_config=sound, text_config=text, audio_token_index=tokenizer.convert_tokens_to_ids("<|AUDIO|>")
    )
    with drawing(1, "qwen"):
        model = Qwen2AudioForConditionalGeneration(config).eval()
    return model, processor


def toy_qwen_folder(folder: Path, room: int = 700) -> Path:
    """The same, saved as Hugging Face does; returns the folder."""
    model, processor = toy_qwen(room)
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder
