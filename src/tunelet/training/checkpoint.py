"""Saved states of a run: everything that the next step depends on. Not here: adapter folders (`tuning.folder`).

A state is a folder ``step-00000250/`` that is published whole, with the sha256 of each file in its manifest.
Tensors lie in safetensors, the rest in JSON; nothing is pickled. The newest state that verifies is continued; a
damaged one is named and left aside; a state that lacks a part is an error, never a guess.

Example:
    >>> store = CheckpointStore(folder / "state")               # doctest: +SKIP
    >>> store.save(250, State(tensors={...}, values={...}))     # doctest: +SKIP
    >>> state = store.latest()                                  # doctest: +SKIP
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from tunelet.base.errors import DamagedFileError, ResumeError
from tunelet.base.files import publish_folder, read_json, verify_folder, write_json

TENSORS, VALUES = "tensors.safetensors", "values.json"


@dataclass
class State:
    """One saved state.

    Attributes:
        tensors: by name; names carry the part as a prefix, as in ``optimizer.0.exp_avg``.
        values: JSON-able parts by name.
    """

    tensors: dict[str, torch.Tensor] = field(default_factory=dict)
    values: dict[str, Any] = field(default_factory=dict)

    def part(self, name: str) -> Any:
        """The JSON-able part `name`.

        Raises:
            ResumeError: the state has no such part.
        """
        if name not in self.values:
            raise ResumeError(f"the saved state lacks the part {name!r}; it has {', '.join(sorted(self.values))}")
        return self.values[name]

    def tensors_of(self, part: str) -> dict[str, torch.Tensor]:
        """The tensors of one part, without its prefix."""
        prefix = part + "."
        return {name.removeprefix(prefix): tensor for name, tensor in self.tensors.items() if name.startswith(prefix)}

    def put_tensors(self, part: str, tensors: Mapping[str, torch.Tensor]) -> None:
        """Add the tensors of one part under its prefix."""
        self.tensors.update({f"{part}.{name}": tensor for name, tensor in tensors.items()})


@dataclass
class CheckpointStore:
    """The states of one run.

    Attributes:
        folder: where they lie.
        keep: how many stay.
        damaged: sentences about states that were left aside by `latest`.
    """

    folder: Path
    keep: int = 2
    damaged: list[str] = field(default_factory=list)

    def save(self, step: int, state: State) -> Path:
        """Publish the state after `step` optimiser steps, then drop the oldest beyond `keep`."""
        path = self.folder / f"step-{step:08d}"
        with publish_folder(path) as part:
            # one storage per tensor: safetensors refuses shared memory, and a slice would save its whole base
            save_file(
                {name: tensor.detach().cpu().contiguous().clone() for name, tensor in state.tensors.items()},
                part / TENSORS,
            )
            write_json(part / VALUES, state.values)
        for old in self._steps()[: -self.keep]:
            shutil.rmtree(old, ignore_errors=True)
        return path

    def latest(self) -> State | None:
        """The newest state that verifies, or None if there is none at all.

        Raises:
            ResumeError: there are states, but every one of them is damaged.
        """
        self.damaged = []
        steps = self._steps()
        for path in reversed(steps):
            try:
                entries = verify_folder(path)
            except DamagedFileError as error:
                self.damaged.append(f"{path.name} is damaged and was left aside ({error})")
                continue
            missing = {TENSORS, VALUES} - entries.keys()
            if missing:
                raise ResumeError(
                    f"{path}: the state lacks {', '.join(sorted(missing))}; remove the folder to start anew"
                )
            return State(load_file(path / TENSORS), read_json(path / VALUES))
        if steps:
            raise ResumeError("no saved state can be used:\n" + "\n".join(self.damaged))
        return None

    def clear(self) -> None:
        """Remove all states; a finished run needs none. Whoever is killed meanwhile leaves no half of one."""
        gone = self.folder.with_name(f".{self.folder.name}.gone.part")  # the next start clears it (`clear_parts`)
        shutil.rmtree(gone, ignore_errors=True)
        if self.folder.exists():
            self.folder.rename(gone)
        shutil.rmtree(gone, ignore_errors=True)

    def _steps(self) -> list[Path]:
        return sorted(path for path in self.folder.glob("step-*") if path.is_dir())


def optimizer_to(state: State, optimizer: torch.optim.Optimizer) -> None:
    """Add an optimiser's state: moments as tensors, the rest as JSON."""
    saved = optimizer.state_dict()
    plain: dict[str, dict[str, Any]] = {}
    for index, entries in saved["state"].items():
        plain[str(index)] = {key: value for key, value in entries.items() if not isinstance(value, torch.Tensor)}
        state.put_tensors(
            f"optimizer.{index}", {key: value for key, value in entries.items() if isinstance(value, torch.Tensor)}
        )
    groups = [
        {**group, "betas": list(group["betas"])} if "betas" in group else group for group in saved["param_groups"]
    ]
    state.values["optimizer"] = {"state": plain, "param_groups": groups}


def optimizer_from(state: State, optimizer: torch.optim.Optimizer) -> None:
    """Put an optimiser's state back.

    Raises:
        ResumeError: a part is missing, or the groups are not those of this optimiser.
    """
    saved = state.part("optimizer")
    groups = [
        {**group, "betas": tuple(group["betas"])} if "betas" in group else group for group in saved["param_groups"]
    ]
    sizes = [len(group["params"]) for group in groups]
    expected = [len(group["params"]) for group in optimizer.param_groups]
    if sizes != expected:
        raise ResumeError(f"the saved optimiser holds parameter groups of sizes {sizes}, this run has {expected}")
    entries: dict[int, dict[str, Any]] = {int(index): dict(values) for index, values in saved["state"].items()}
    for name, tensor in state.tensors_of("optimizer").items():
        index, key = name.split(".", 1)
        entries[int(index)][key] = tensor
    optimizer.load_state_dict({"state": entries, "param_groups": groups})


def random_to(state: State) -> None:
    """Add the states of torch's own generators (dropout draws from them)."""
    state.put_tensors("random", {"cpu": torch.get_rng_state()})
    if torch.cuda.is_available():
        state.put_tensors("random", {f"cuda{i}": s for i, s in enumerate(torch.cuda.get_rng_state_all())})


def random_from(state: State) -> None:
    """Put torch's generators back.

    Raises:
        ResumeError: the state was saved with another number of CUDA devices.
    """
    saved = state.tensors_of("random")
    if "cpu" not in saved:
        raise ResumeError("the saved state lacks the random state of the processor")
    torch.set_rng_state(saved.pop("cpu"))
    devices = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if len(saved) != devices:
        raise ResumeError(f"the state was saved with {len(saved)} CUDA devices, this machine has {devices}")
    for index in range(devices):
        torch.cuda.set_rng_state(saved[f"cuda{index}"], index)
