"""Toy language models that the tests make: a BERT with word pieces and a GPT-2, of random weights, and N-best lists."""

from __future__ import annotations

from pathlib import Path

import torch
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import BertConfig, BertModel, GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast

from tunelet.models.bases import Base, load_base
from tunelet.models.settings import ModelSettings

SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
WHOLE = ("the", "a", "cat", "dog", "sat", "ran", "on", "mat", "un", "re", "read", "do")
ENDINGS = ("##happy", "##ly", "##do", "##s", "##ing")
#: words of one, two and three pieces
WORDS = (*WHOLE[:8], "unhappy", "unhappyly", "redo", "cats", "reading", "reads")

hypotheses = st.lists(st.sampled_from(WORDS), max_size=6).map(" ".join)
some_lists = st.lists(st.lists(hypotheses, max_size=4), max_size=4)


def tokenizer(*, bert: bool = True) -> PreTrainedTokenizerFast:
    """Word pieces; with [CLS] and [SEP] around a text, or with <s> and </s> known but not added."""
    vocabulary = {word: index for index, word in enumerate((*SPECIAL, *WHOLE, *ENDINGS))}
    backend = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    backend.normalizer = normalizers.Lowercase()
    backend.pre_tokenizer = pre_tokenizers.Whitespace()
    if not bert:
        return PreTrainedTokenizerFast(tokenizer_object=backend, unk_token="[UNK]", eos_token="[SEP]")
    backend.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[(name, vocabulary[name]) for name in ("[CLS]", "[SEP]")]
    )
    names = dict(zip(("pad_token", "unk_token", "cls_token", "sep_token", "mask_token"), SPECIAL, strict=True))
    return PreTrainedTokenizerFast(tokenizer_object=backend, model_max_length=64, **names)


def toy_encoder(folder: Path, *, seed: int = 0) -> Base:
    """A BERT without a vocabulary head."""
    tokenizer().save_pretrained(folder)
    config = BertConfig(
        vocab_size=len(SPECIAL) + len(WHOLE) + len(ENDINGS),
        hidden_size=16,
        num_hidden_layers=3,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=64,
        initializer_range=0.3,
    )
    state = torch.get_rng_state()
    torch.manual_seed(seed)
    BertModel(config).save_pretrained(folder)
    torch.set_rng_state(state)
    return load_base(ModelSettings(base=str(folder), max_length=32))


def toy_decoder(folder: Path, *, seed: int = 0) -> Base:
    """A GPT-2."""
    tokenizer(bert=False).save_pretrained(folder)
    config = GPT2Config(
        vocab_size=len(SPECIAL) + len(WHOLE) + len(ENDINGS),
        n_positions=64,
        n_embd=16,
        n_layer=2,
        n_head=2,
        initializer_range=0.3,
        bos_token_id=3,
        eos_token_id=3,
    )
    state = torch.get_rng_state()
    torch.manual_seed(seed)
    GPT2LMHeadModel(config).save_pretrained(folder)
    torch.set_rng_state(state)
    return load_base(ModelSettings(base=str(folder), max_length=32))
