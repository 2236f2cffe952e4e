"""AdaLoRA: starts with too much rank and gives it, step by step, to the modules where it matters.

AdaLoRA (Zhang et al. 2023, eq. 3) writes the update as P diag(e) Q, e = 0 at the start, and masks the entries of e
whose smoothed sensitivity times uncertainty (eq. 8-10) is least, until the mean rank is r. PEFT does this; here are
its schedule in shares of the run, its state for an exact resume, and the care that a saved adapter is what was trained.

Example:
    >>> METHOD.after_step(model, step=1)        # doctest: +SKIP
"""

from __future__ import annotations

import copy
import warnings
from typing import Any

import torch
from peft import AdaLoraConfig, get_peft_model_state_dict
from peft.utils.warning import PeftWarning
from torch import Tensor, nn

from tunelet.base.errors import ResumeError
from tunelet.tuning.lora import PEFT_BIAS
from tunelet.tuning.method import ADAPTER, Attached, Export, Method, MethodState, Plan, attach_peft, plain_config
from tunelet.tuning.settings import TuningSettings

_STATISTICS = ("ipt", "exp_avg_ipt", "exp_avg_unc")


def attach_adalora(model: nn.Module, settings: TuningSettings, plan: Plan) -> Attached:
    """Attach P, e, Q at the initial rank; the schedule spans `plan.total_steps`."""
    schedule = settings.adalora
    tuned = attach_peft(
        model,
        settings,
        plan,
        lambda common: AdaLoraConfig(
            init_r=settings.adalora_initial_rank,
            target_r=settings.r,
            lora_alpha=settings.alpha,
            lora_dropout=settings.dropout,
            bias=PEFT_BIAS[settings.bias],
            total_step=plan.total_steps,
            tinit=int(schedule.warmup_share * plan.total_steps),
            tfinal=int(schedule.final_share * plan.total_steps),
            deltaT=schedule.interval,
            beta1=schedule.beta1,
            beta2=schedule.beta2,
            orth_reg_weight=schedule.orthogonality,
            **common,
        ),
    )
    return Attached(tuned)


def allocate(model: nn.Module, step: int) -> None:
    """Update the sensitivities from the gradients of step `step` = 1, 2, ... and mask what falls out of the budget."""
    model.base_model.update_and_allocate(step)  # type: ignore[union-attr,operator]


def orthogonality(model: nn.Module) -> Tensor | None:
    """The weighted mean of |P^T P - I| and |Q Q^T - I| (eq. 4), which PEFT adds to a loss that the model computes."""
    terms = []
    for name, parameter in model.named_parameters():
        if ".lora_A." in name or ".lora_B." in name:
            gram = parameter @ parameter.T if ".lora_A." in name else parameter.T @ parameter
            terms.append(torch.linalg.norm(gram - torch.eye(gram.shape[0], device=gram.device, dtype=gram.dtype)))
    weight = _config(model).orth_reg_weight
    return weight * torch.stack(terms).mean() if terms and weight else None


def export(attached: Attached) -> Export:
    """The adapter with its masked directions cut away.

    Between two allocations the optimiser's momentum may move a masked e away from zero. Such a direction works in
    the live model, so it is kept: only masked directions whose e is exactly zero are cut.
    """
    config = _config(attached.model)
    held = config.rank_pattern
    config.rank_pattern = _live_pattern(attached.model, held)
    try:
        with warnings.catch_warnings():
            # PEFT takes a matrix whose directions were all cut for a shard that another process did not send
            warnings.filterwarnings("ignore", message=".*have invalid shape", category=PeftWarning)
            # it shortens the names in the pattern while it cuts, so the config is read after
            tensors = get_peft_model_state_dict(attached.model, save_embedding_layers=False)
        values = plain_config(copy.deepcopy(config))
    finally:
        config.rank_pattern = held
    return Export(values, {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()})


def state(model: nn.Module) -> MethodState:
    """The allocator's statistics and the mask."""
    allocator = model.base_model.rankallocator  # type: ignore[union-attr]
    tensors = {
        f"{kind}/{name}": tensor.detach().clone()
        for kind in _STATISTICS
        for name, tensor in getattr(allocator, kind).items()
    }
    return MethodState({"rank_pattern": copy.deepcopy(_config(model).rank_pattern)}, tensors)


def restore(model: nn.Module, saved: MethodState) -> None:
    """Put back what `state` gave.

    Raises:
        ResumeError: a part is missing.
    """
    if "rank_pattern" not in saved.values:
        raise ResumeError("the saved state lacks 'rank_pattern', which AdaLoRA needs to go on")
    parts: dict[str, dict[str, Tensor]] = {kind: {} for kind in _STATISTICS}
    devices = {name: parameter.device for name, parameter in model.base_model.model.named_parameters()}  # type: ignore[union-attr]
    for key, tensor in saved.tensors.items():
        kind, _, name = key.partition("/")
        if kind not in parts or name not in devices:
            raise ResumeError(f"the saved state holds {key!r}, which this model's AdaLoRA does not have")
        parts[kind][name] = tensor.to(devices[name], copy=True)
    if len({frozenset(part) for part in parts.values()}) != 1:
        raise ResumeError(f"the saved state holds unequal parts of AdaLoRA's statistics ({', '.join(_STATISTICS)})")
    for kind, part in parts.items():
        setattr(model.base_model.rankallocator, kind, part)  # type: ignore[union-attr]
    _config(model).rank_pattern = copy.deepcopy(saved.values["rank_pattern"])


def _config(model: nn.Module) -> AdaLoraConfig:
    config: AdaLoraConfig = model.peft_config[ADAPTER]  # type: ignore[index]
    return config


def _live_pattern(model: nn.Module, masked: dict[str, Any] | None) -> dict[str, list[bool]] | None:
    if masked is None:
        return None
    values = {
        name: parameter.detach().flatten().ne(0).tolist()
        for name, parameter in model.base_model.model.named_parameters()  # type: ignore[union-attr]
        if name.endswith(f".lora_E.{ADAPTER}")
    }
    return {name: [a or b for a, b in zip(masked[name], live, strict=True)] for name, live in values.items()}


METHOD = Method(
    attach=attach_adalora,
    after_step=allocate,
    regulariser=orthogonality,
    export=export,
    state=state,
    restore=restore,
)
