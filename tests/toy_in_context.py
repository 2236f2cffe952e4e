"""Toy causal language models that read letters, so that names of classes share beginnings."""

from __future__ import annotations

import string
from collections.abc import Sequence
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import BertConfig, BertLMHeadModel, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from toy_understanding import toy_example
from tunelet.data.understanding.asked import Asked
from tunelet.data.understanding.prompt import build_prompt
from tunelet.data.understanding.task import UnderstandingTask
from tunelet.models.in_context.tokens import PromptTokens
from tunelet.models.speech.protocol import drawing

ROOM = 700
LETTERS = string.ascii_letters + string.digits + string.punctuation


def toy_bert() -> tuple[Any, Any]:
    """A BERT that looks to the left, with [CLS] and [SEP]; white space is lost."""
    special = ("[PAD]", "[UNK]", "[CLS]", "[SEP]")
    words = [*special, *LETTERS, *(f"##{letter}" for letter in LETTERS)]
    backend = Tokenizer(models.WordPiece({word: i for i, word in enumerate(words)}, unk_token="[UNK]"))
    backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    backend.decoder = decoders.WordPiece()
    names = dict(zip(("pad_token", "unk_token", "cls_token", "sep_token"), special, strict=True))
    config = BertConfig(
        vocab_size=len(words),
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=24,
        max_position_embeddings=ROOM,
        initializer_range=0.4,
        is_decoder=True,
    )
    with drawing(1, "bert"):
        model = BertLMHeadModel(config)
        _undecided(model, words.index(","), words.index("[SEP]"))
    return model.eval(), PreTrainedTokenizerFast(tokenizer_object=backend, **names)


def toy_bytes() -> PreTrainedTokenizerFast:
    """Bytes, and a few merges of two, one of them over a blank and a letter."""
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    merges = [("Ġ", "s"), ("s", "u"), ("Ġs", "u"), ("Ċ", "Ċ"), (":", "Ċ")]
    words = ["<s>", "</s>", *letters, *("".join(pair) for pair in merges)]
    backend = Tokenizer(models.BPE({word: i for i, word in enumerate(words)}, merges))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(tokenizer_object=backend, bos_token="<s>", eos_token="</s>")


def toy_rope() -> tuple[Any, Any]:
    """A Llama with grouped queries over bytes."""
    tokenizer = toy_bytes()
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=16,
        intermediate_size=24,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=ROOM,
        initializer_range=0.4,
        bos_token_id=0,
        eos_token_id=1,
    )
    with drawing(1, "rope"):
        model = LlamaForCausalLM(config)
        _undecided(model, tokenizer.convert_tokens_to_ids(","), 1)
    return model.eval(), tokenizer


def _undecided(model: Any, comma: int, end: int) -> None:
    """Make a comma about as likely as the end, now more, now less, so that answers have one class or several."""
    with torch.no_grad():
        rows = model.get_output_embeddings().weight
        rows[comma] = rows[end] + 0.3 * torch.randn(rows.shape[1])


def asked(task: UnderstandingTask, text: str, *labels: str, shown: int = 0, **how: Any) -> Asked:
    """A question with so many demonstrations."""
    texts = ("dark clouds", "a warm day indeed", "so")
    pool = [toy_example(i, texts[i % 3], task.label_names[i % len(task.labels)]) for i in range(shown)]
    query = toy_example(99, text, *labels, split="test")
    return Asked(task, build_prompt(task, query, pool, **how), query)


def plain_values(language: Any, ids: Sequence[int], start: int) -> torch.Tensor:
    """log P of each token from `start` on, by one plain forward pass over the whole text."""
    with torch.no_grad():
        logits = language(input_ids=torch.tensor([list(ids)])).logits[0].double()
    return logits.log_softmax(-1)[torch.arange(start - 1, len(ids) - 1), torch.tensor(list(ids[start:]))]


def plain_score(language: Any, tokens: PromptTokens, question: Asked, classes: Sequence[int], **side: Any) -> float:
    """log P of a whole answer, by plain teacher forcing."""
    prompt = (*tokens.prefix(question.prompt), *tokens.sides(question.prompt, **side)[0])
    answer = tokens.answers(question.task, question.prompt.names).ids(classes)
    return float(plain_values(language, (*prompt, *answer), len(prompt)).sum())
