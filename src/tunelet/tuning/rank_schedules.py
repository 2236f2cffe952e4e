"""LoRA whose rank is not one number: high at first and then cut, other in each layer, or drawn anew at each step.

- ``warmup-rank``: trains at a higher rank R for a share of the steps; then each update s B A is cut to rank r by its
  singular values (the nearest of that rank), the optimiser's moments begin anew, and the error |dW - dW_r| / |dW| is
  logged. A and B keep their shape: the rows beyond r are zero, and with both factors zero their gradients are zero,
  so they stay; what is stored is of rank r.
- ``mixed-by-layer``: the rank rises evenly from the lowest layer to the highest, r on average (PEFT's rank_pattern).
- ``mixed-by-step``: each step draws b from 1..r and uses the first b directions alone, scaled by alpha / b (DyLoRA,
  Valipour et al. 2023, eq. 5-6); the whole model is used outside of training.

The scaling of a full update is alpha / r in all three. The first two are ours in this form. Not here: AdaLoRA.

Example:
    >>> [ranks_by_layer(8, 0.5, 6), ranks_by_layer(2, 0.5, 3)]
    [[4, 6, 7, 9, 10, 12], [1, 2, 3]]
"""

from __future__ import annotations

import re
import weakref
from dataclasses import dataclass, field
from typing import Any

import torch
from peft import LoraConfig
from torch import Tensor, nn

from tunelet.base.errors import InputError, Problem, ResumeError
from tunelet.base.streams import numpy_stream
from tunelet.tuning.lora import PEFT_BIAS, attach_lora
from tunelet.tuning.method import ADAPTER, Attached, Export, Method, MethodState, Plan, attach_peft, export_as_is
from tunelet.tuning.optimizers import Rates, adamw
from tunelet.tuning.settings import TuningSettings
from tunelet.tuning.targets import linear_modules, target_names

_SCHEDULE = "_tunelet_rank_schedule"
#: Singular values below this share of the first are rounding.
_NOISE = 1e-6
_OPTIMIZERS: weakref.WeakKeyDictionary[nn.Module, weakref.ref[torch.optim.Optimizer]] = weakref.WeakKeyDictionary()


@dataclass
class Schedule:
    """What a method keeps on its model.

    Attributes:
        r: the rank wanted.
        cut_after: warmup-rank: the step after which the rank is cut.
        seed: mixed-by-step: of the draws.
        step: steps that are done.
        log: rows for the run's log; warmup-rank's cut of each module.
    """

    r: int
    cut_after: int = 0
    seed: int = 0
    step: int = 0
    log: list[dict[str, Any]] = field(default_factory=list)


def rank_log(model: nn.Module) -> list[dict[str, Any]]:
    """The rank of each adapted ``module``, of any method; after a cut also its ``step`` and ``relative_error``.

    For AdaLoRA it is what its last allocation left.
    """
    schedule = getattr(model, _SCHEDULE, None)
    if schedule is not None and schedule.log:
        return [dict(row) for row in schedule.log]
    found = []
    for name, module in model.named_modules():
        if ADAPTER in getattr(module, "lora_E", {}):
            values: Any = module.lora_E
            config: Any = model.peft_config
            short = name.removeprefix("base_model.model.")
            mask = (config[ADAPTER].rank_pattern or {}).get(f"{short}.lora_E.{ADAPTER}")
            found.append({"module": short, "rank": int(values[ADAPTER].numel() if mask is None else sum(mask))})
    return found or [{"module": name, "rank": int(a.shape[0])} for name, a, _ in _factors(model)]


# warmup-rank


def attach_warmup(model: nn.Module, settings: TuningSettings, plan: Plan) -> Attached:
    """Attach a LoRA of the higher rank, scaled as one of rank r."""
    high = settings.rank_schedule.initial_rank or 4 * settings.r
    tuned = attach_peft(
        model,
        settings,
        plan,
        lambda common: LoraConfig(
            r=high,
            lora_alpha=settings.alpha * high / settings.r,
            lora_dropout=settings.dropout,
            bias=PEFT_BIAS[settings.bias],
            **common,
        ),
    )
    after = max(1, min(plan.total_steps, round(settings.rank_schedule.cut_at * plan.total_steps)))
    setattr(tuned, _SCHEDULE, Schedule(settings.r, cut_after=after))
    return Attached(tuned)


def optimizer_to_reset(model: nn.Module, settings: TuningSettings, rates: Rates) -> torch.optim.Optimizer:
    """AdamW, remembered so that the cut can reset its moments."""
    made = adamw(model, settings, rates)
    _OPTIMIZERS[model] = weakref.ref(made)
    return made


def cut_when_due(model: nn.Module, step: int) -> None:
    """After the step of the cut: cut every update, and let the optimiser begin anew for what was cut."""
    schedule = _schedule(model)
    schedule.step = step
    if step != schedule.cut_after:
        return
    known = _OPTIMIZERS.get(model)
    optimizer = None if known is None else known()
    for name, a, b in _factors(model):
        error = cut_(a, b, schedule.r)
        schedule.log.append({"module": name, "step": step, "rank": schedule.r, "relative_error": error})
        for parameter in (a, b):
            for moment in () if optimizer is None else optimizer.state.get(parameter, {}).values():
                if isinstance(moment, Tensor):
                    moment.zero_()


@torch.no_grad()
def cut_(a: Tensor, b: Tensor, r: int) -> float:
    """Replace B A, with A (R, in) and B (out, R), by the nearest matrix of rank r, in place.

    The two factors share each singular value evenly. Directions that the update does not use yet keep a row of A of
    the usual length, so that they can still be learned.

    Returns:
        |B A - (B A)_r| / |B A| in the Frobenius norm; 0 where B A is zero.
    """
    q_b, r_b = torch.linalg.qr(b.double())
    q_a, r_a = torch.linalg.qr(a.double().T)
    u, s, v = torch.linalg.svd(r_b @ r_a.T, full_matrices=False)
    kept = min(r, len(s))
    length = float(a.double().norm(dim=1).mean()) or 1.0
    left, right = (q_b @ u)[:, :kept], (v @ q_a.T)[:kept]
    used = s[:kept] > _NOISE * s[0]
    share = torch.where(used, s[:kept].clamp_min(1e-300).sqrt(), length)
    whole = float(s.norm())
    error = float(s[kept:].norm()) / whole if whole > 0 else 0.0
    a.zero_()
    b.zero_()
    a[:kept] = (share[:, None] * right).to(a.dtype)
    b[:, :kept] = (left * torch.where(used, s[:kept] / share, 0.0)).to(b.dtype)
    return error


def export_cut(attached: Attached) -> Export:
    """The adapter at the rank that it has: r after the cut, the higher one before."""
    found = export_as_is(attached)
    schedule = _schedule(attached.model)
    high, alpha = found.config["r"], found.config["lora_alpha"]
    rank = schedule.r if schedule.log else high
    config = {**found.config, "r": rank, "lora_alpha": _whole(alpha * rank / high)}

    def shortened(name: str, tensor: Tensor) -> Tensor:
        if ".lora_A." in name:
            return tensor[:rank].contiguous()
        return tensor[:, :rank].contiguous() if ".lora_B." in name else tensor

    return Export(config, {name: shortened(name, tensor) for name, tensor in found.tensors.items()})


# mixed-by-layer


def ranks_by_layer(r: int, spread: float, layers: int) -> list[int]:
    """Ranks from the lowest layer, (1 - spread) r, evenly to the highest, (1 + spread) r; at least 1."""
    places = [0.0 if layers == 1 else 2 * layer / (layers - 1) - 1 for layer in range(layers)]
    return [max(1, round(r * (1 + spread * place))) for place in places]


def attach_by_layer(model: nn.Module, settings: TuningSettings, plan: Plan) -> Attached:
    """Attach a LoRA with a rank for each layer; modules outside of layers get r.

    Raises:
        InputError: no targeted module is in a numbered layer.
    """
    names = target_names(model, settings.targets)
    layers: dict[str, int] = {}
    for path in linear_modules(model):
        found = re.match(r".*?\.(\d+)\.", path)
        if found and (isinstance(names, str) or any(path == name or path.endswith(f".{name}") for name in names)):
            layers[path] = int(found[1])
    if not layers:
        raise InputError(Problem("no target is in a numbered layer", field="targets", hint="method: lora"))
    ranks = ranks_by_layer(settings.r, settings.rank_schedule.spread, max(layers.values()) + 1)
    pattern = {path: ranks[layer] for path, layer in layers.items()}
    alphas = {path: _whole(settings.alpha * rank / settings.r) for path, rank in pattern.items()}
    attached = attach_lora(model, settings, plan, rank_pattern=pattern, alpha_pattern=alphas)
    setattr(attached.model, _SCHEDULE, Schedule(settings.r))
    return attached


# mixed-by-step


class FirstDirections:
    """A forward hook on A: in training, A x with all but the first b directions zero, times r / b."""

    def __init__(self, schedule: Schedule) -> None:
        self.schedule = schedule

    def __call__(self, module: nn.Module, inputs: Any, output: Tensor) -> Tensor | None:
        if not module.training:
            return None
        r, b = self.schedule.r, rank_of_step(self.schedule, self.schedule.step + 1)
        scale = torch.zeros(r, dtype=output.dtype, device=output.device)
        scale[:b] = r / b
        return output * scale


def rank_of_step(schedule: Schedule, step: int) -> int:
    """b of a step: a function of the seed and the step's number alone."""
    return int(numpy_stream(schedule.seed, "mixed rank", step).integers(1, schedule.r + 1))


def attach_by_step(model: nn.Module, settings: TuningSettings, plan: Plan) -> Attached:
    """Attach a LoRA whose directions are switched by the step."""
    attached = attach_lora(model, settings, plan)
    schedule = Schedule(settings.r, seed=plan.seed)
    setattr(attached.model, _SCHEDULE, schedule)
    for module in attached.model.modules():
        if ADAPTER in getattr(module, "lora_A", {}):
            module.lora_A[ADAPTER].register_forward_hook(FirstDirections(schedule))  # type: ignore[index,union-attr]
    return attached


def count_step(model: nn.Module, step: int) -> None:
    """Go on to the next step's rank."""
    _schedule(model).step = step


# shared


def state(model: nn.Module) -> MethodState:
    """The step, and the log, which says whether the cut is done."""
    schedule = _schedule(model)
    return MethodState({"step": schedule.step, "log": [dict(row) for row in schedule.log]})


def restore(model: nn.Module, saved: MethodState) -> None:
    """Put back what `state` gave.

    Raises:
        ResumeError: a part is missing.
    """
    schedule = _schedule(model)
    try:
        schedule.step, schedule.log = int(saved.values["step"]), [dict(row) for row in saved.values["log"]]
    except KeyError as missing:
        raise ResumeError(f"the saved state lacks {missing}, which the rank schedule needs to go on") from None


def _schedule(model: nn.Module) -> Schedule:
    found: Schedule = getattr(model, _SCHEDULE)
    return found


def _factors(model: nn.Module) -> list[tuple[str, nn.Parameter, nn.Parameter]]:
    """Name, A (r, in) and B (out, r) of every adapted module, in the model's order."""
    found = []
    for name, module in model.named_modules():
        if ADAPTER in getattr(module, "lora_A", {}):
            a: Any = module.lora_A
            b: Any = module.lora_B
            found.append((name.removeprefix("base_model.model."), a[ADAPTER].weight, b[ADAPTER].weight))
    return found


def _whole(value: float) -> float | int:
    return int(value) if float(value).is_integer() else float(value)


WARMUP = Method(
    attach=attach_warmup,
    optimizer=optimizer_to_reset,
    after_step=cut_when_due,
    export=export_cut,
    state=state,
    restore=restore,
)
BY_LAYER = Method(attach=attach_by_layer)
BY_STEP = Method(attach=attach_by_step, after_step=count_step, state=state, restore=restore)
