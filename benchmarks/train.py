"""Training speed: ours beside Trainer + PEFT, in real tokens per second, and ours as a share of the machine's peak.

Each contender lives in a process of its own and is given blocks of whole steps in turn (A B C A B C ...). Tokens are
those of the attention mask; only steps are timed. Figures and ratios: docs/benchmarks.md. Not here: how a side trains
(`common.trainer_jobs`, `common.our_jobs`), what is counted as work (`common.work`).

Example:
    $ tunelet bench train --quick --json train.json
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from transformers import AutoConfig

from tunelet.evaluation.bootstrap import compare_over_seeds
from tunelet.models.bases import load_base
from tunelet.models.rates import faster_precision
from tunelet.models.settings import ModelSettings
from tunelet.tuning.settings import TuningSettings

from .common import roofline
from .common.processes import Worker, Workers, alternate
from .common.side import Side, dataset_of
from .common.summary import ratio, result, speed
from .common.work import Block, needed_flops, shape_of, trained_by

#: suffix of the ratios -> what trains, and the learning rate
SETTINGS: dict[str, tuple[TuningSettings, float]] = {
    "": (TuningSettings(method="lora", targets="qkv", r=8, alpha=16, dropout=0.1), 1e-3),
    "_linear": (TuningSettings(method="lora", targets="attention+linear", r=8, alpha=16, dropout=0.1), 1e-3),
    "_full": (TuningSettings(method="full"), 1e-4),
}


@dataclass(frozen=True)
class Plan:
    """How long to measure.

    Attributes:
        settings: keys of `SETTINGS`.
        peers: of `trainer_fp32`, `trainer_bf16` and `padded_512`.
        rounds: alternations.
        seconds: aimed at for one block; a block has `least_steps` at any rate.
        accuracy_steps, accuracy_seeds: for the accuracy after equal steps; no seeds, no such figure.
    """

    settings: tuple[str, ...] = ("", "_linear", "_full")
    peers: tuple[str, ...] = ("trainer_fp32", "trainer_bf16", "padded_512")
    rounds: int = 5
    seconds: float = 6.0
    least_steps: int = 2
    rate_seconds: float = 1.0
    roofline_seconds: float = 0.3
    accuracy_steps: int = 500
    accuracy_seeds: tuple[int, ...] = (1, 2, 3)


QUICK = Plan(
    ("",),
    ("trainer_fp32", "trainer_bf16"),
    rounds=3,
    seconds=2.5,
    rate_seconds=0.5,
    roofline_seconds=0.0,
    accuracy_seeds=(),
)


def measure(*, quick: bool, tell: Callable[[str], None]) -> dict[str, Any]:
    """Measure; see docs/benchmarks.md for the figures."""
    return compare(Side(), _quick(tell) if quick else Plan(), tell)


def _quick(tell: Callable[[str], None]) -> Plan:
    """A minute's worth: where bf16 is the slow type, a Trainer in bf16 alone would take several."""
    if faster_precision() == "bf16":
        return QUICK
    tell("this processor has no instructions for bf16: trainer_bf16 is left to the long form")
    return replace(QUICK, peers=("trainer_fp32",))


def plot(result: Mapping[str, Any]) -> str:
    """The roofline plot of a long measurement, as SVG."""
    return roofline.draw(result)


def compare(like: Side, plan: Plan, tell: Callable[[str], None]) -> dict[str, Any]:
    """Measure what `plan` says on the base and data of `like`."""
    data = dataset_of(like)
    ratios: dict[str, float] = {}
    figures: dict[str, Any] = {
        "data": {"kind": data.source.kind, "train": len(data.splits["train"])},
        "base": like.base,
        "batch": like.batch,
    }
    for suffix in plan.settings:
        tuning, learning_rate = SETTINGS[suffix]
        own = like.model_copy(update={"tuning": tuning, "learning_rate": learning_rate})
        sides = sides_of(own, plan.peers)
        kind = sides["ours"].precision
        tell(f"{tuning.method} {'' if tuning.method == 'full' else tuning.targets}: {', '.join(sides)}")
        found = _speeds(own, sides, plan, tell)
        ratios |= {f"vs_{peer}{suffix}": ratio(found, "ours", peer) for peer in plan.peers}
        ratios[f"share_of_peak{suffix}"] = found["ours"]["flops_per_second"] / found["rate"][kind]
        if "roofline" in found:
            figures["roofline"] = found.pop("roofline")
        figures[suffix.removeprefix("_") or "attention"] = found
        tell("  " + ", ".join(f"{name} {found[name]['tokens_per_second']:,.0f} tokens/s" for name in sides))
    if plan.accuracy_seeds:
        figures["accuracy_after_equal_steps"] = _accuracy(like, plan, tell)
    return result("train", ratios, figures)


def sides_of(own: Side, peers: Sequence[str]) -> dict[str, Side]:
    """The contenders of one setting: the same data, model and settings; precision and padding differ.

    Ours computes in what `tunelet run` chooses on this machine.
    """
    all_peers = {
        "trainer_fp32": own.model_copy(update={"precision": "fp32"}),
        "trainer_bf16": own.model_copy(update={"precision": "bf16"}),
        "padded_512": own.model_copy(update={"precision": "fp32", "pad_to": 512}),
    }
    ours = own.model_copy(update={"precision": faster_precision()})
    return {peer: all_peers[peer] for peer in peers} | {"ours": ours}


def _speeds(own: Side, sides: Mapping[str, Side], plan: Plan, tell: Callable[[str], None]) -> dict[str, Any]:
    """Name -> speed of each side; ``rate``: the machine's products, bf16 and fp32."""
    roof: dict[str, Any] = {}
    with Workers() as workers:
        started = {
            name: workers.start("train_ours" if name == "ours" else "train_trainer", side.model_dump(mode="json"))
            for name, side in sides.items()
        }
        facts = {name: worker.wait() for name, worker in started.items()}
        steps = {name: _steps(worker, plan) for name, worker in started.items()}
        asks: dict[str, Callable[[], dict[str, Any]]] = {
            name: _asking(worker, {"steps": steps[name]}) for name, worker in started.items()
        }
        asks["rate"] = _asking(started["ours"], {"rate": plan.rate_seconds})
        answers = alternate(asks, plan.rounds, tell)
        if plan.roofline_seconds and own.tuning == SETTINGS[""][0]:
            roof = {"roofline": started["ours"].ask({"roofline": plan.roofline_seconds})}
    rates = answers.pop("rate")
    found: dict[str, Any] = {name: speed(blocks) | facts[name] for name, blocks in answers.items()}
    found["rate"] = {kind: statistics.median(rate[kind] for rate in rates) for kind in ("bf16", "fp32")}
    shape, trained = _shape(own), trained_by(own.tuning)
    for name, blocks in answers.items():
        done = [
            needed_flops(shape, trained, Block(block["texts"], block["tokens"], block["squares"])) / block["seconds"]
            for block in blocks
        ]
        found[name]["flops_per_second"] = statistics.median(done)
        found[name]["precision"] = sides[name].precision
        found[name]["rows"] = statistics.mean(block["tokens"] / block["steps"] for block in blocks)
    return found | roof


def _steps(worker: Worker, plan: Plan) -> int:
    """How many steps make a block of about `plan.seconds`, from a short one that also warms up."""
    trial = worker.ask({"steps": plan.least_steps})
    if trial["seconds"] < 0.3 * plan.seconds:  # too short to judge by, and still warming up
        trial = worker.ask({"steps": 4 * plan.least_steps})
    wanted: float = plan.seconds * trial["steps"] / trial["seconds"]
    return max(plan.least_steps, round(wanted))


def _accuracy(like: Side, plan: Plan, tell: Callable[[str], None]) -> dict[str, Any]:
    """Test accuracy of the fp32 peer and of ours after the same number of steps, over seeds, with a paired interval."""
    tuning, learning_rate = SETTINGS[""]
    own = like.model_copy(update={"tuning": tuning, "learning_rate": learning_rate})
    sides = sides_of(own, ("trainer_fp32",))
    answers: dict[str, list[dict[str, Any]]] = {}
    for name, side in sides.items():
        with Workers() as workers:
            worker = workers.start("learn_ours" if name == "ours" else "learn_trainer", side.model_dump(mode="json"))
            worker.wait()
            answers[name] = [worker.ask({"seed": seed, "steps": plan.accuracy_steps}) for seed in plan.accuracy_seeds]
    gold = answers["ours"][0]["gold"]
    predicted = {name: [answer["predicted"] for answer in found] for name, found in answers.items()}
    correct = {
        name: [sum(p == g for p, g in zip(row, gold, strict=True)) for row in rows] for name, rows in predicted.items()
    }
    paired = compare_over_seeds("accuracy", gold, predicted["ours"], predicted["trainer_fp32"], seed=1)
    right = ", ".join(f"{name} {counts}" for name, counts in correct.items())
    tell(f"right after {plan.accuracy_steps} steps, of {len(gold)}: {right}")
    return {
        "steps": plan.accuracy_steps,
        "seeds": list(plan.accuracy_seeds),
        "n": len(gold),
        "correct": correct,
        "difference": paired.difference,
        "low": paired.low,
        "high": paired.high,
        "p": paired.p,
    }


def _shape(own: Side) -> Any:
    folder = load_base(ModelSettings(base=own.base, max_length=own.max_length)).folder
    return shape_of(AutoConfig.from_pretrained(folder), len(dataset_of(own).task.label_names))


def _asking(worker: Worker, order: dict[str, Any]) -> Callable[[], dict[str, Any]]:
    return lambda: worker.ask(order)
