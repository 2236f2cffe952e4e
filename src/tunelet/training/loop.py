"""The one training loop. It yields events and knows no task: the system gives the loss and the evaluation.

Not here: what trains (`tuning`), how examples become batches (`data.batching`), what is done with the best weights
(the system). Device and autocast are Accelerate's; a run is one process.

The order inside a step: ``accumulate`` batches forward and backward, clip, check, ``optimizer.step()``, the method's
own ``after_step`` (AdaLoRA allocates ranks there), ``zero_grad``, average, log. Then, where due, evaluate and save.

Example:
    >>> loop = Loop(tuned=..., objective=..., ...)          # doctest: +SKIP
    >>> for event in loop.events():                         # doctest: +SKIP
    ...     observer(event)
    >>> loop.load_best()                                    # doctest: +SKIP
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState, GradientState
from safetensors.torch import load_file, save_file

from tunelet.base.errors import NonFiniteLossError, ResumeError, TrainingError
from tunelet.base.files import publish_folder, verify_folder, write_json
from tunelet.base.streams import derive_seed
from tunelet.training.averaging import WeightAverage
from tunelet.training.checkpoint import (
    CheckpointStore,
    State,
    optimizer_from,
    optimizer_to,
    random_from,
    random_to,
)
from tunelet.training.events import Evaluated, Event, Note, StepDone
from tunelet.training.resources import ResourceMeter
from tunelet.training.schedule import factor
from tunelet.training.settings import TrainingSettings
from tunelet.training.stopping import EarlyStopping
from tunelet.training.tracking import JsonlTracker, Tracker
from tunelet.tuning.tuned import Tuned

#: the reproducer of a run that stopped over a loss that is not finite
NON_FINITE = "non-finite.json"


class Objective(Protocol):
    """What a system gives the loop."""

    def batch(self, indices: np.ndarray) -> dict[str, torch.Tensor]:
        """The tensors of the training examples `indices`; ``attention_mask`` (N, T) tells the real tokens."""

    def loss(self, model: torch.nn.Module, batch: dict[str, torch.Tensor]) -> torch.Tensor:
        """Mean loss over the examples of the batch, a scalar that carries a gradient."""

    def evaluate(self, model: torch.nn.Module) -> dict[str, float]:
        """Metrics on the validation split, the selection metric among them."""

    def names(self, indices: np.ndarray) -> list[str]:
        """What the examples are called in an error message."""


class Batches(Protocol):
    """An endless, resumable sequence of batches (`tunelet.data.batching.LengthBucketBatches`)."""

    batches_per_epoch: int

    def next(self) -> np.ndarray: ...

    def state_dict(self) -> dict[str, Any]: ...

    def load_state_dict(self, state: dict[str, Any]) -> None: ...


@dataclass
class Draft:
    """A step on its way.

    Attributes:
        parts: examples of each of its batches.
        rate: learning rate.
        examples: in all batches.
        loss_sum: over the examples so far.
        tokens, padded: so far, without and with padding.
    """

    parts: list[np.ndarray]
    rate: float
    examples: int
    loss_sum: float = 0.0
    tokens: int = 0
    padded: int = 0

    def weight(self, part: np.ndarray) -> float:
        """Share of a batch in the step's mean loss."""
        return len(part) / self.examples


@dataclass
class Loop:
    """One run of training.

    Attributes:
        tuned: the model and what trains in it.
        optimizer: over the trainable parameters.
        objective: loss and evaluation.
        batches: order of the training examples.
        settings: the recipe's section.
        total_steps: planned optimiser steps.
        folder: the run's folder.
        seed: the run's seed; dropout draws from its stream.
        identity: hash of the resolved run; a saved state of another is refused.
        meter: seconds, tokens, memory.
        trackers: told of every logged row; whoever opened them closes them.
        interrupted: asked after every step; True saves the state and raises KeyboardInterrupt.
    """

    tuned: Tuned
    optimizer: torch.optim.Optimizer
    objective: Objective
    batches: Batches
    settings: TrainingSettings
    total_steps: int
    folder: Path
    seed: int
    identity: str
    meter: ResourceMeter
    trackers: list[Tracker] = field(default_factory=list)
    interrupted: Callable[[], bool] = lambda: False

    def __post_init__(self) -> None:
        self.step = 0
        self.log = JsonlTracker(self.folder / "metrics.jsonl")
        self.checkpoints = CheckpointStore(self.folder / "state")
        lower = self.settings.select in ("loss", "wer")
        self.stopping = EarlyStopping(self.settings.patience, lower_is_better=lower)
        self.average = WeightAverage(self.settings.average_decay)
        self.accelerator = _accelerator(self.settings.precision)
        self._model = self.accelerator.prepare_model(self.tuned.model)
        self._peaks = [group["lr"] for group in self.optimizer.param_groups]
        self._loss_sum, self._loss_count = 0.0, 0
        self._restored = False

    def restore(self) -> list[Note]:
        """Go to the newest saved state, or to the start if there is none; what is worth telling about it.

        Once for a run: a second call does nothing. Between it and `events` nothing may draw from torch's generators.

        Raises:
            ResumeError: the saved state is not of this run, or lacks a part.
        """
        if self._restored:
            return []
        self._restored = True
        (self.folder / NON_FINITE).unlink(missing_ok=True)
        state = self.checkpoints.latest()
        notes = [Note(sentence) for sentence in self.checkpoints.damaged]
        if state is None:
            torch.manual_seed(derive_seed(self.seed, "dropout"))
            return notes
        self._load(state)
        return [*notes, Note(f"going on from step {self.step} of {self.total_steps}")]

    def events(self) -> Iterator[Event]:
        """Train to the end, from where `restore` puts the run.

        Raises:
            NonFiniteLossError: the loss or the gradient is not finite; the examples are named.
            ResumeError: the saved state is not of this run, or lacks a part.
            KeyboardInterrupt: `interrupted` said so; the state is saved.
        """
        yield from self.restore()
        while not self.ended:
            yield self._advance()
            yield from self.settle(self.interrupted)
        self.close()

    def evaluate_start(self) -> Iterator[Event]:
        """Evaluate the weights that training begins from, so that it has to beat them; a run that goes on did already.

        For weights that are an answer of their own; others need not ask. Before `events`.
        """
        yield from self.restore()
        if self.step == 0 and self.stopping.best_step is None:
            yield self._evaluate()

    @property
    def ended(self) -> bool:
        """Whether there is no step left to take."""
        return self.step >= self.total_steps or self.stopping.should_stop

    def settle(self, interrupted: Callable[[], bool]) -> Iterator[Event]:
        """What is due after a step: evaluation, and the state on disk.

        Raises:
            KeyboardInterrupt: `interrupted` said so, and the state is saved.
        """
        evaluated = self.step % self.evaluate_every == 0 or self.step == self.total_steps
        if evaluated:
            yield self._evaluate()
        stop = interrupted()
        if stop or (evaluated if self.settings.save_every is None else self.step % self.settings.save_every == 0):
            self.save()
        if stop:
            raise KeyboardInterrupt

    def close(self) -> None:
        """Let go of what training alone needs."""
        self.accelerator.unwrap_model(self._model, keep_fp32_wrapper=False)
        self.log.finish()

    @property
    def evaluate_every(self) -> int:
        """Steps between evaluations."""
        if self.settings.evaluate_every == "epoch":
            return max(1, self.batches.batches_per_epoch // self.settings.batch.accumulate)
        return self.settings.evaluate_every

    @property
    def epoch(self) -> float:
        """Passes over the training split so far."""
        return self.step * self.settings.batch.accumulate / self.batches.batches_per_epoch

    @property
    def stopped(self) -> str:
        """Why training ended."""
        return "patience" if self.stopping.should_stop and self.step < self.total_steps else "epochs"

    def load_best(self) -> int:
        """Put the best evaluated weights into the model; returns their step.

        Raises:
            ResumeError: they are not on disk.
        """
        folder = self.folder / "state" / "best"
        if not folder.is_dir() or self.stopping.best_step is None:
            raise ResumeError(f"{folder}: the best weights are missing; remove {folder.parent} to train anew")
        verify_folder(folder)
        self.tuned.load_trainable_state(load_file(folder / "weights.safetensors"))
        return self.stopping.best_step

    def loss(self, indices: np.ndarray) -> torch.Tensor:
        """Loss of the training examples `indices` as a step computes it: in training mode, under autocast."""
        self._model.train()
        return self.loss_of(self.batch(indices))

    def batch(self, indices: np.ndarray) -> dict[str, torch.Tensor]:
        """The tensors of training examples, on the device; what else a batch holds is left alone."""
        device = self.accelerator.device
        found = self.objective.batch(indices)
        return {key: value.to(device) if isinstance(value, torch.Tensor) else value for key, value in found.items()}

    def loss_of(self, batch: dict[str, torch.Tensor]) -> torch.Tensor:
        """Mean loss over a batch, with what the method adds."""
        with self.accelerator.autocast():
            loss, term = self.objective.loss(self._model, batch), self.tuned.regulariser()
        return loss if term is None else loss + term

    def save(self) -> None:
        """Save the whole state of the run after the current step."""
        state = State()
        state.put_tensors("model", self.tuned.trainable_state())
        method = self.tuned.state_dict()
        state.put_tensors("method", method["tensors"])
        state.put_tensors("average", self.average.weights)
        optimizer_to(state, self.optimizer)
        random_to(state)
        state.values |= {
            "step": self.step,
            "identity": self.identity,
            "method": method["values"],
            "batches": self.batches.state_dict(),
            "stopping": self.stopping.state_dict(),
            "meter": self.meter.state_dict(),
            "log": self.log.state_dict(),
            "loss": {"sum": self._loss_sum, "count": self._loss_count},
        }
        self.checkpoints.save(self.step, state)

    def _load(self, state: State) -> None:
        if state.part("identity") != self.identity:
            raise ResumeError(
                f"{self.checkpoints.folder}: the saved state belongs to run {state.part('identity')}, "
                f"this is run {self.identity}; remove the folder to start anew"
            )
        self.tuned.load_trainable_state(state.tensors_of("model"))
        self.tuned.load_state_dict({"values": state.part("method"), "tensors": state.tensors_of("method")})
        self.average = WeightAverage(self.settings.average_decay, state.tensors_of("average"))
        optimizer_from(state, self.optimizer)
        self.batches.load_state_dict(state.part("batches"))
        self.stopping.load_state_dict(state.part("stopping"))
        self.meter.load_state_dict(state.part("meter"))
        self.log.load_state_dict(state.part("log"))
        loss = state.part("loss")
        self._loss_sum, self._loss_count = loss["sum"], loss["count"]
        self.step = state.part("step")
        random_from(state)

    def _advance(self) -> StepDone:
        """One optimiser step."""
        with self.meter.training():
            draft = self.begin()
            for part in draft.parts:
                batch = self.batch(part)
                loss = self.loss_of(batch)
                self.accelerator.backward(loss * draft.weight(part))
                self.count(draft, part, float(loss.detach()), batch["attention_mask"])
            self.apply(draft)
        return self.end(draft)

    def begin(self) -> Draft:
        """Take the next batches, and the learning rate of the step."""
        self._model.train()
        parts = [self.batches.next() for _ in range(self.settings.batch.accumulate)]
        return Draft(parts, self._set_rate(), sum(len(part) for part in parts))

    def count(self, draft: Draft, part: np.ndarray, loss: float, mask: torch.Tensor) -> None:
        """Add a batch, whose gradient was computed, to the step.

        Raises:
            NonFiniteLossError: its loss is not finite.
        """
        if not math.isfinite(loss):
            self._stop_non_finite("loss", loss, [part])
        draft.loss_sum += loss * len(part)
        draft.tokens += int(mask.sum())
        draft.padded += mask.numel()

    def apply(self, draft: Draft) -> None:
        """Change the weights.

        Raises:
            NonFiniteLossError: the gradient is not finite.
        """
        self._apply_gradient(draft.parts)
        self.step += 1
        self.tuned.after_step(self.step)
        self.optimizer.zero_grad(set_to_none=True)
        begin = self.settings.average_from
        if begin is not None and self.step > begin * self.total_steps:
            self.average.update(dict(self.tuned.trainable()))

    def end(self, draft: Draft) -> StepDone:
        """Count and log the step."""
        self.meter.count_step(samples=draft.examples, tokens=draft.tokens, padded_tokens=draft.padded)
        self._loss_sum, self._loss_count = self._loss_sum + draft.loss_sum, self._loss_count + draft.examples
        if self.step % self.settings.log_every == 0 or self.step == self.total_steps:
            self._write({"train_loss": self._loss_sum / self._loss_count, "learning_rate": draft.rate})
            self._loss_sum, self._loss_count = 0.0, 0
        return StepDone(self.step, self.total_steps, draft.loss_sum / draft.examples, draft.rate, draft.tokens)

    def _set_rate(self) -> float:
        warmup = round(self.settings.warmup * self.total_steps)
        scale = factor(self.settings.schedule, step=self.step, total=self.total_steps, warmup=warmup)
        for group, peak in zip(self.optimizer.param_groups, self._peaks, strict=True):
            group["lr"] = peak * scale
        return float(self._peaks[0] * scale)

    def _apply_gradient(self, indices: list[np.ndarray]) -> None:
        parameters = [p for group in self.optimizer.param_groups for p in group["params"] if p.grad is not None]
        largest = math.inf if self.settings.gradient_clip is None else self.settings.gradient_clip
        norm = float(torch.nn.utils.clip_grad_norm_(parameters, largest))
        if not math.isfinite(norm):
            self._stop_non_finite("gradient norm", norm, indices)
        self.optimizer.step()

    def _evaluate(self) -> Evaluated:
        with self.meter.evaluation(), self.average.applied(self.tuned):
            metrics = self.objective.evaluate(self.tuned.model)
            best = self.stopping.update(metrics[self.settings.select], self.step)
            if best:
                with publish_folder(self.folder / "state" / "best") as part:
                    weights = {
                        k: v.detach().cpu().contiguous().clone() for k, v in self.tuned.trainable_state().items()
                    }
                    save_file(weights, part / "weights.safetensors")
        self._write({"validation": metrics})
        return Evaluated(self.step, metrics, best)

    def _write(self, row: dict[str, Any]) -> None:
        row = {"epoch": round(self.epoch, 6), **row}
        for tracker in (self.log, *self.trackers):
            tracker.log(row, self.step)

    def _stop_non_finite(self, what: str, value: float, indices: list[np.ndarray]) -> None:
        """Leave a reproducer beside the run and stop."""
        named = [name for part in indices for name in self.objective.names(part)]
        path = self.folder / NON_FINITE
        write_json(
            path, {"what": what, "value": str(value), "step": self.step + 1, "seed": self.seed, "examples": named}
        )
        raise NonFiniteLossError(
            f"the {what} is {value} at step {self.step + 1}; the batch holds the examples {', '.join(named[:16])}"
            f"{' ...' if len(named) > 16 else ''} (all in {path}). Hint: a lower training.learning_rate, "
            "training.warmup, training.gradient_clip, or precision fp32"
        )


def _accelerator(precision: str) -> Accelerator:
    # Accelerate keeps its settings in a process-wide singleton; runs of one process may differ in precision
    AcceleratorState._reset_state()
    GradientState._reset_state()
    accelerator = Accelerator(mixed_precision="bf16" if precision == "bf16" else "no")
    if accelerator.num_processes > 1:
        # every process would write the same run folder; several runs on several devices are a sweep's business
        raise TrainingError(f"a run trains in one process, and {accelerator.num_processes} were launched")
    return accelerator
