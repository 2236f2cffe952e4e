"""The checks of an adapter folder, each naming both sides: what the folder says, and what is there.

Not here: the order in which they run (`folder`). A check reports to `Refusals`, which raises, or with ``force`` notes
what was overridden and goes on.

Example:
    >>> refusals = Refusals(force=False)
    >>> refusals.refuse([])
    >>> refusals.overridden
    ()
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

from torch import Tensor, nn

from tunelet.base.errors import AdapterError, Problem
from tunelet.base.files import sha256_file
from tunelet.models.bases import Base
from tunelet.tuning.manifest import NAME, Manifest, Stated
from tunelet.tuning.method import ADAPTER
from tunelet.tuning.probes import Probe, worst_difference

_COPY_AGAIN = "copy or download the folder again"


class Refusals:
    """Where problems go: into an error, or, if `force`, onto a list that the loaded adapter carries."""

    def __init__(self, force: bool) -> None:
        self._force = force
        self._overridden: list[str] = []

    @property
    def overridden(self) -> tuple[str, ...]:
        """The problems that were forced."""
        return tuple(self._overridden)

    def refuse(self, problems: Sequence[Problem]) -> None:
        """Raise `AdapterError` with all `problems`, if there are any and they are not forced."""
        if problems and not self._force:
            raise AdapterError(problems)
        self._overridden += map(str, problems)


def file_problems(folder: Path, manifest: Stated) -> list[Problem]:
    """Files that are missing or not what was saved."""
    problems = []
    for name, entry in manifest.files.items():
        path = folder / name
        if not path.is_file():
            message = f"the file is missing; {NAME} lists it with {entry.bytes} bytes"
            problems.append(Problem(message, path, hint=_COPY_AGAIN))
            continue
        size = path.stat().st_size
        if size != entry.bytes:
            message = f"the file has {size} bytes, {NAME} says {entry.bytes}: it is cut off or changed"
            problems.append(Problem(message, path, hint=_COPY_AGAIN))
        elif (found := sha256_file(path)) != entry.sha256:
            message = f"the content has sha256 {found}, {NAME} says {entry.sha256}: it was changed after saving"
            problems.append(Problem(message, path, hint=_COPY_AGAIN))
    return problems


def label_problems(folder: Path, manifest: Manifest, stored: Sequence[str] | None, where: str) -> list[Problem]:
    """The label list against the one that was stored with the head's weights."""
    if stored is None:
        message = f"found no label list in {where}, expected {_list(manifest.label_names)} as in {NAME}"
        return [Problem(message, folder / where)]
    if tuple(stored) == manifest.label_names:
        return []
    same = sorted(stored) == sorted(manifest.label_names)
    what = "the order of the labels was changed" if same else "the labels were changed"
    message = f"{what}: {NAME} lists {_list(manifest.label_names)}, {where} was saved for {_list(stored)}"
    return [Problem(message, folder / NAME, field="task.labels", hint="the order is that of the model's outputs")]


def base_problems(folder: Path, manifest: Stated, base: Base) -> list[Problem]:
    """The base and its tokenizer against those of the training."""
    problems = []
    if base.fingerprint != manifest.base.fingerprint:
        problems.append(
            Problem(
                f"the adapter was trained on {manifest.base.name!r} (fingerprint {manifest.base.fingerprint[:16]}), "
                f"this base is {base.name!r} (fingerprint {base.fingerprint[:16]})",
                folder / NAME,
                field="base.fingerprint",
                hint="give the base of the training",
            )
        )
    if base.tokenizer_sha256 != manifest.base.tokenizer_sha256:
        problems.append(tokenizer_problem(folder, manifest, base.name, base.tokenizer_sha256))
    return problems


def tokenizer_problem(folder: Path, manifest: Stated, name: str, found: str) -> Problem:
    """A tokenizer that is not the training's."""
    return Problem(
        f"the tokenizer of the training ({manifest.base.name!r}) has sha256 {manifest.base.tokenizer_sha256[:16]}, "
        f"that of {name!r} has {found[:16]}",
        folder / NAME,
        field="base.tokenizer_sha256",
    )


def scaling_problems(folder: Path, manifest: Stated, model: nn.Module) -> list[Problem]:
    """The numbers that multiply the updates, as saved and as the loaded modules have them."""
    now = scalings(model)
    problems = []
    for name in sorted(now.keys() | manifest.scaling.keys()):
        said, found = manifest.scaling.get(name), now.get(name)
        if said is None or found is None or not math.isclose(said, found, rel_tol=1e-6):
            problems.append(
                Problem(
                    f"the scaling is {said} in {NAME} and {found} in the loaded module (adapter_config.json)",
                    folder / NAME,
                    field=f"scaling.{name}",
                    hint="r, lora_alpha or use_rslora was edited after saving",
                )
            )
    return problems


def seal_problems(folder: Path, manifest: Stated) -> list[Problem]:
    """Whether anything in `tunelet.json` was edited that no other check compares."""
    expected = manifest.expected_seal()
    if expected == manifest.seal:
        return []
    message = f"the file was edited after saving: its seal says {manifest.seal[:16]}, its content gives {expected[:16]}"
    return [Problem(message, folder / NAME, field="seal", hint=_COPY_AGAIN)]


def probe_problems(folder: Path, manifest: Stated, now: Sequence[Probe]) -> list[Problem]:
    """The logits of the probe texts, as saved and now."""
    worst = worst_difference(manifest.probes, now)
    if worst <= manifest.tolerance:
        return []
    saved, found = (_numbers(probes[0].logits) for probes in (manifest.probes, now))
    message = (
        f"the adapter does not answer as when it was saved: to {manifest.probes[0].text!r} it gave {saved}, now "
        f"{found}; the largest difference of a logit is {worst:.3g}, allowed is {manifest.tolerance:g}"
    )
    return [Problem(message, folder / NAME, field="probes")]


def tensor_problems(path: Path, stored: Mapping[str, Tensor], held: Mapping[str, Tensor]) -> list[Problem]:
    """The tensors of a file against those that the model holds after loading: PEFT drops what it cannot place."""
    problems = [
        Problem(f"the file holds {name} {tuple(stored[name].shape)}, the model on this base has no such tensor", path)
        for name in stored
        if name not in held
    ]
    problems += [
        Problem(f"the model has {name} {tuple(held[name].shape)}, the file does not hold it", path)
        for name in held
        if name not in stored
    ]
    problems += [
        Problem(f"{name} is not in the model as it is in the file", path)
        for name in stored
        if name in held and not stored[name].equal(held[name].to(stored[name].dtype))
    ]
    return problems


def scalings(model: nn.Module) -> dict[str, float]:
    """The number that multiplies the update of each adapted module, by the module's name in the base.

    alpha / r; alpha / sqrt(r) for rsLoRA; alpha / (initial rank) for AdaLoRA. VeRA and whole models have none.
    """
    found = {}
    for name, module in model.named_modules():
        scaling = getattr(module, "scaling", None)
        if not isinstance(scaling, dict) or ADAPTER not in scaling:
            continue
        number = float(scaling[ADAPTER])
        ranks = getattr(module, "ranknum", None)
        if ranks is not None and ADAPTER in ranks:
            number /= float(ranks[ADAPTER]) + 1e-5  # as PEFT computes it
        found[name.removeprefix("base_model.model.")] = number
    return found


def _list(labels: Sequence[str]) -> str:
    return f"({', '.join(labels)})"


def _numbers(values: Sequence[float]) -> str:
    return "(" + ", ".join(f"{value:.4f}" for value in values) + ")"
