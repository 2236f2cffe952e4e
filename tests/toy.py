"""Toy bases and data that the tests make: a BERT of a few thousand random weights and a task that it can learn."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

WORDS = [
    "i",
    "feel",
    "felt",
    "am",
    "was",
    "we",
    "she",
    "he",
    "they",
    "my",
    "so",
    "very",
    "quite",
    "a",
    "the",
    "and",
    "not",
    "at",
    "in",
    "of",
    "happy",
    "glad",
    "sad",
    "low",
    "angry",
    "cross",
    "afraid",
    "scared",
    "loved",
    "fond",
    "amazed",
    "stunned",
    "today",
    "home",
    "work",
    "dog",
    "cat",
    "rain",
    "sun",
    "friend",
    "letter",
    "train",
]
SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")


def toy_base(folder: Path, *, hidden: int = 16, layers: int = 2, seed: int = 0) -> Path:
    """A BERT with random weights and a word tokenizer, saved as Hugging Face does; returns the folder."""
    vocabulary = {word: index for index, word in enumerate((*SPECIAL, *WORDS))}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[(name, vocabulary[name]) for name in ("[CLS]", "[SEP]")]
    )
    names = dict(zip(("pad_token", "unk_token", "cls_token", "sep_token", "mask_token"), SPECIAL, strict=True))
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, model_max_length=512, **names).save_pretrained(folder)
    config = BertConfig(
        vocab_size=len(vocabulary),
        hidden_size=hidden,
        num_hidden_layers=layers,
        num_attention_heads=2,
        intermediate_size=2 * hidden,
        max_position_embeddings=512,
        initializer_range=0.3,  # the usual 0.02 leaves so small a model deaf to its input
    )
    state = torch.get_rng_state()
    torch.manual_seed(seed)
    BertModel(config).save_pretrained(folder)
    torch.set_rng_state(state)
    return folder


#: label -> the words that give it away
EMOTIONS = {
    "sadness": ("sad", "low"),
    "joy": ("happy", "glad"),
    "love": ("loved", "fond"),
    "anger": ("angry", "cross"),
    "fear": ("afraid", "scared"),
    "surprise": ("amazed", "stunned"),
}


def toy_texts(folder: Path, *, train: int = 48, other: int = 18) -> Path:
    """Files of a six-label task that follows one word of the text; returns the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    fillers = ("today", "at home", "and so", "at work", "in the rain", "my friend", "the dog", "a letter", "the train")
    number = 0
    for split, count in (("train", train), ("validation", other), ("test", other)):
        rows = []
        for _ in range(count):
            label, words = list(EMOTIONS.items())[number % 6]
            text = (
                f"i feel {words[number // 6 % 2]} {fillers[number // 12 % 9]} {'very ' * (number % 5)}{split} n{number}"
            )
            rows.append(json.dumps({"text": text, "label": label}))
            number += 1
        (folder / f"{split}.jsonl").write_text("\n".join(rows) + "\n", encoding="utf-8")
    return folder
