"""Counting what a training step holds: single operations by hand, a small BERT by relations, BERT-base by figures."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from peft import LoraConfig, get_peft_model
from torch import Tensor, nn
from transformers import BertConfig, BertForSequenceClassification

from tunelet.training.memory import (
    ByteMasks,
    MemoryBreakdown,
    SavedTensors,
    measure_memory,
    optimizer_bytes,
    saved_activations,
    tensor_bytes,
)

GIB = 2**30
TARGETS = {"qv": ["query", "value"], "attention+linear": ["query", "key", "value", "dense"]}


def small_config(**changes: object) -> BertConfig:
    return BertConfig(
        **{
            "vocab_size": 100,
            "hidden_size": 64,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "intermediate_size": 256,
            "max_position_embeddings": 128,
            "num_labels": 3,
            "attn_implementation": "eager",
            **changes,
        }
    )


def classifier(config: BertConfig, targets: str | None, dropout: float = 0.1, device: str = "cpu") -> nn.Module:
    """A BERT in train mode, trained in full (no targets) or by PEFT's LoRA, r 8."""
    with torch.device(device):
        model = BertForSequenceClassification(config)
        if targets is not None:
            lora = LoraConfig(
                task_type="SEQ_CLS", r=8, lora_alpha=16, lora_dropout=dropout, target_modules=TARGETS[targets]
            )
            model = get_peft_model(model, lora)
    return model.train()


def loss_of(model: nn.Module, batch: int, length: int) -> Callable[[], Tensor]:
    device = next(model.parameters()).device
    ids = torch.zeros(batch, length, dtype=torch.long, device=device)
    labels = torch.zeros(batch, dtype=torch.long, device=device)
    return lambda: model(input_ids=ids, labels=labels).loss


def kept(targets: str | None, dropout: float = 0.1) -> int:
    model = classifier(small_config(), targets, dropout)
    return saved_activations(loss_of(model, 4, 96), model)


class TestSingleOperations:
    def test_a_trained_layer_keeps_its_input_and_a_frozen_one_does_not(self) -> None:
        layer, batch = nn.Linear(8, 4), torch.ones(2, 8)
        assert saved_activations(lambda: layer(batch).sum(), layer) == 2 * 8 * 4
        layer.requires_grad_(False)
        assert saved_activations(lambda: layer(batch).sum(), layer) == 0

    def test_weights_count_only_when_the_model_is_not_given(self) -> None:
        layer, batch = nn.Linear(8, 4, bias=False), torch.ones(2, 8, requires_grad=True)
        # The weight is kept for the gradient of the input.
        assert saved_activations(lambda: layer(batch).sum()) == 2 * 8 * 4 + 8 * 4 * 4
        assert saved_activations(lambda: layer(batch).sum(), layer) == 2 * 8 * 4

    def test_a_view_counts_as_its_whole_storage_once(self) -> None:
        store = torch.ones(10, 10)
        weight = torch.ones(10, requires_grad=True)
        assert saved_activations(lambda: (weight * store[0]).sum() + (weight * store[:, 1]).sum(), None) == 400 + 0

    def test_a_shared_input_counts_once(self) -> None:
        layers, batch = nn.ModuleList(nn.Linear(8, 8) for _ in range(3)), torch.ones(2, 8)
        assert saved_activations(lambda: sum(layer(batch).sum() for layer in layers), layers) == 2 * 8 * 4

    def test_the_mask_of_dropout_has_four_bytes_on_the_cpu_and_one_as_on_cuda(self) -> None:
        batch = torch.ones(4, 8, requires_grad=True)
        drop = nn.Dropout(0.5)
        assert saved_activations(lambda: drop(batch).sum()) == 4 * 8 * 4
        with ByteMasks():
            assert saved_activations(lambda: drop(batch).sum()) == 4 * 8
            assert saved_activations(lambda: drop.eval()(batch).sum()) == 0

    def test_byte_masks_drop_as_dropout_does(self) -> None:
        batch = torch.ones(1000, requires_grad=True)
        with ByteMasks():
            out = nn.functional.dropout(batch, 0.25)
        out.sum().backward()
        assert out.detach().unique().tolist() == [0.0, pytest.approx(1 / 0.75)]
        assert batch.grad is not None and torch.equal(batch.grad, out.detach())
        assert 600 < int((out > 0).sum()) < 900

    @pytest.mark.parametrize("operation", [torch.exp, torch.tanh, lambda x: x.softmax(-1), lambda x: x * x])
    def test_everything_is_given_back_when_the_graph_goes(self, operation: Callable[[Tensor], Tensor]) -> None:
        batch = torch.ones(4, 8, requires_grad=True)
        with SavedTensors() as saved:
            loss = operation(batch).sum()
            assert saved.live == saved.peak == 4 * 8 * 4
        del loss
        assert saved.live == 0
        assert saved.peak == 4 * 8 * 4

    def test_a_backward_pass_gives_back_and_counts_no_more_than_the_peak(self) -> None:
        batch = torch.ones(4, 8, requires_grad=True)

        def step() -> Tensor:
            for _ in range(3):
                batch.exp().sum().backward()
            return batch.sum()

        assert saved_activations(step) == 4 * 8 * 4

    def test_gradients_are_the_same_with_and_without_counting(self) -> None:
        model = classifier(small_config(hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0), "qv", 0.0)
        loss = loss_of(model, 2, 16)
        gradients = []
        for watch in (None, SavedTensors(model)):
            model.zero_grad()
            if watch is None:
                loss().backward()
            else:
                with watch:
                    loss().backward()
            gradients.append([p.grad.clone() for p in model.parameters() if p.grad is not None])
        assert len(gradients[0]) > 0
        assert all(torch.equal(a, b) for a, b in zip(*gradients, strict=True))


class TestTheAnomalyOfThePaper:
    """LoRA on attention + linear needs more activation memory than full fine-tuning, and dropout is why."""

    def test_attention_and_linear_with_dropout_keeps_more_than_full(self) -> None:
        assert kept("attention+linear") > kept(None)

    def test_attention_and_linear_without_dropout_keeps_less_than_full(self) -> None:
        assert kept("attention+linear", dropout=0.0) < kept(None)

    def test_query_and_value_keep_less_than_full_with_dropout_or_not(self) -> None:
        full = kept(None)
        assert kept("qv", dropout=0.0) < kept("qv") < full

    def test_the_difference_is_a_mask_and_a_copy_for_each_module_exactly(self) -> None:
        batch, length, hidden, inner, layers = 4, 96, 64, 256, 2
        tokens = batch * length
        # With dropout each module keeps its own dropped-out copy of its input: query, key, value, the dense layer after
        # attention and the first of the feed-forward pair see `hidden` numbers a token, the second sees `inner`; the
        # pooler sees one token a text.
        copies = layers * tokens * (5 * hidden + inner) + batch * hidden
        # Each keeps a mask as well, but for the first layer's query, key and value: nothing before them is trained.
        masks = copies - 3 * tokens * hidden
        # Without dropout modules keep the inputs themselves. Query, key and value share one; the pooler's is a view,
        # and keeps the whole last layer alive.
        inputs = layers * tokens * (3 * hidden + inner) + tokens * hidden
        found = kept("attention+linear", dropout=0.1) - kept("attention+linear", dropout=0.0)
        assert found == 4 * (copies + masks - inputs)

    @pytest.mark.parametrize(
        ("targets", "dropout", "gib"),
        [
            (None, 0.0, 9.76),
            ("qv", 0.1, 8.41),
            ("attention+linear", 0.1, 10.90),
            ("attention+linear", 0.0, 9.75),
        ],
    )
    def test_bert_base_at_16_by_512_keeps_the_published_figures(
        self, targets: str | None, dropout: float, gib: float
    ) -> None:
        # On the meta device tensors have shapes and no data, so ten gibibytes are counted in none.
        config = BertConfig(num_labels=6, attn_implementation="eager")
        model = classifier(config, targets, dropout, device="meta")
        with ByteMasks():
            found = saved_activations(loss_of(model, 16, 512), model)
        assert round(found / GIB, 2) == gib

    @pytest.mark.parametrize(("targets", "dropout"), [(None, 0.0), ("qv", 0.1), ("attention+linear", 0.1)])
    def test_the_meta_device_counts_what_the_cpu_counts(self, targets: str | None, dropout: float) -> None:
        real = classifier(small_config(), targets, dropout)
        shape = classifier(small_config(), targets, dropout, device="meta")
        assert saved_activations(loss_of(shape, 4, 32), shape) == saved_activations(loss_of(real, 4, 32), real) > 0


class TestMeasureMemory:
    def test_the_four_parts_of_an_adam_step(self) -> None:
        layer, batch = nn.Linear(8, 4), torch.ones(2, 8)
        layer.bias.requires_grad_(False)
        optimizer = torch.optim.AdamW([layer.weight])
        before = measure_memory(layer, optimizer, lambda: layer(batch).sum())
        assert before == MemoryBreakdown(parameters=36 * 4, gradients=32 * 4, optimizer=0, saved_activations=64)
        layer(batch).sum().backward()
        optimizer.step()
        after = measure_memory(layer, optimizer, lambda: layer(batch).sum())
        assert after.optimizer == 2 * 32 * 4 + 4  # two moments and the number of the step
        assert after.total == 36 * 4 + 32 * 4 + after.optimizer + 64
        assert after.to_json() == {
            "parameters": 144,
            "gradients": 128,
            "optimizer": 260,
            "saved_activations": 64,
        }

    def test_it_leaves_no_trace(self) -> None:
        model = classifier(small_config(), "qv")
        loss = loss_of(model, 2, 16)
        weights = {name: value.clone() for name, value in model.state_dict().items()}
        marked = next(p for p in model.parameters() if p.requires_grad)
        marked.grad = torch.full_like(marked, 7.0)
        stream = torch.get_rng_state()
        measure_memory(model, None, loss)
        assert torch.equal(torch.get_rng_state(), stream)
        assert torch.equal(marked.grad, torch.full_like(marked, 7.0))
        assert [p for p in model.parameters() if p.grad is not None] == [marked]
        assert all(torch.equal(value, weights[name]) for name, value in model.state_dict().items())

    def test_gradients_are_put_back_when_the_loss_fails(self) -> None:
        layer = nn.Linear(2, 2)
        layer.weight.grad = torch.ones(2, 2)

        def fail() -> Tensor:
            raise RuntimeError("no batch")

        with pytest.raises(RuntimeError, match="no batch"):
            measure_memory(layer, None, fail)
        assert layer.weight.grad is not None and torch.equal(layer.weight.grad, torch.ones(2, 2))

    def test_lora_saves_gradients_and_state_but_not_weights(self) -> None:
        found = {}
        for targets in (None, "attention+linear"):
            model = classifier(small_config(), targets)
            trained = [p for p in model.parameters() if p.requires_grad]
            optimizer = torch.optim.AdamW(trained)
            loss = loss_of(model, 2, 16)
            loss().backward()
            optimizer.step()
            optimizer.zero_grad()
            found[targets] = measure_memory(model, optimizer, loss)
            assert found[targets].gradients == sum(p.numel() for p in trained) * 4
            assert found[targets].optimizer == 2 * found[targets].gradients + 4 * len(trained)
        full, lora = found[None], found["attention+linear"]
        assert lora.gradients < full.gradients / 2
        assert lora.optimizer < full.optimizer / 2
        assert lora.parameters > full.parameters

    def test_tied_weights_count_once(self) -> None:
        first, second = nn.Linear(4, 4, bias=False), nn.Linear(4, 4, bias=False)
        second.weight = first.weight
        assert tensor_bytes(nn.ModuleList([first, second]).parameters()) == 4 * 4 * 4
        assert tensor_bytes([first.weight, second.weight, first.weight[0]]) == 4 * 4 * 4

    def test_nested_optimiser_state_is_found(self) -> None:
        layer = nn.Linear(4, 4, bias=False)
        optimizer = torch.optim.SGD(layer.parameters(), momentum=0.9)
        optimizer.state[layer.weight] = {"moments": [torch.zeros(4), {"inner": torch.zeros(2)}], "step": 3}
        assert optimizer_bytes(optimizer) == 4 * 4 + 2 * 4
