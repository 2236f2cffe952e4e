"""A saved state is all there or an error; a damaged one is named and an older one used; restoring is exact."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tunelet.base import files
from tunelet.base.errors import ResumeError
from tunelet.training.checkpoint import (
    TENSORS,
    VALUES,
    CheckpointStore,
    State,
    optimizer_from,
    optimizer_to,
    random_from,
    random_to,
)


def state(number: int = 0) -> State:
    return State({"model.w": torch.full((3,), float(number))}, {"step": number, "identity": "x"})


def saved(folder: Path, *steps: int, keep: int = 5) -> CheckpointStore:
    store = CheckpointStore(folder / "state", keep=keep)
    for step in steps:
        store.save(step, state(step))
    return store


def flip(file: Path) -> None:
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)


def cut(file: Path) -> None:
    os.truncate(file, file.stat().st_size // 2)


def step_of(found: State | None) -> int | None:
    return None if found is None else found.part("step")


# --- parts


def test_a_part_that_is_missing_is_an_error_that_says_what_there_is() -> None:
    with pytest.raises(ResumeError, match="lacks the part 'batches'; it has identity, step"):
        state().part("batches")


def test_tensors_are_kept_apart_by_their_part() -> None:
    held = State()
    held.put_tensors("model", {"a.b": torch.ones(1)})
    held.put_tensors("model_2", {"c": torch.zeros(1)})
    held.put_tensors("optimizer.1", {"m": torch.ones(2)})
    held.put_tensors("optimizer.10", {"m": torch.zeros(2)})
    assert list(held.tensors_of("model")) == ["a.b"]
    assert list(held.tensors_of("optimizer")) == ["1.m", "10.m"]
    assert held.tensors_of("optimizer.1")["m"].tolist() == [1.0, 1.0]
    assert held.tensors_of("nothing") == {}


# --- the store

tensors = st.sampled_from(
    [
        lambda: torch.randn(3, 2),
        lambda: torch.randn(4).to(torch.bfloat16),
        lambda: torch.tensor(5),
        lambda: torch.arange(6, dtype=torch.uint8),
        lambda: torch.randn(4, 6).T,  # not contiguous
        lambda: torch.randn(100)[10:12],  # a view of a larger storage
        lambda: torch.empty(0, 3),
        lambda: torch.nn.Parameter(torch.randn(2)),
        lambda: torch.tensor([float("nan"), float("inf"), -0.0]),
    ]
)


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(tensors, max_size=4), st.dictionaries(st.text(max_size=5), st.integers() | st.text(max_size=5)))
def test_what_was_saved_comes_back_bit_for_bit(
    tmp_path: Path, made: list[Callable[[], torch.Tensor]], values: dict[str, int | str]
) -> None:
    store = CheckpointStore(tmp_path / "state")
    given_tensors = {f"part.{i}": make() for i, make in enumerate(made)}
    store.save(1, State(given_tensors, {"values": values}))
    found = store.latest()
    assert found is not None
    assert found.part("values") == values
    assert found.tensors.keys() == given_tensors.keys()
    for name, tensor in given_tensors.items():
        assert found.tensors[name].dtype == tensor.dtype
        assert found.tensors[name].shape == tensor.shape
        as_bytes = [t.detach().contiguous().reshape(-1).view(torch.uint8) for t in (found.tensors[name], tensor)]
        assert torch.equal(*as_bytes)


def test_two_names_of_one_tensor_are_two_tensors_on_disk(tmp_path: Path) -> None:
    shared = torch.ones(3)
    store = CheckpointStore(tmp_path)
    store.save(1, State({"model.a": shared, "average.a": shared}))
    found = store.latest()
    assert found is not None
    assert sorted(found.tensors) == ["average.a", "model.a"]


def test_a_slice_does_not_bring_its_whole_storage(tmp_path: Path) -> None:
    path = CheckpointStore(tmp_path).save(1, State({"a": torch.zeros(1_000_000)[:2]}))
    assert (path / TENSORS).stat().st_size < 1000


def test_nothing_saved_is_none(tmp_path: Path) -> None:
    assert CheckpointStore(tmp_path / "state").latest() is None


def test_the_newest_is_continued_and_the_oldest_go(tmp_path: Path) -> None:
    store = saved(tmp_path, 5, 50, 500, 5000, keep=2)
    assert step_of(store.latest()) == 5000
    assert sorted(path.name for path in store.folder.iterdir()) == ["step-00000500", "step-00005000"]


def test_a_step_that_is_saved_again_replaces_the_first(tmp_path: Path) -> None:
    store = saved(tmp_path, 5)
    store.save(5, State({}, {"step": 6}))
    assert step_of(store.latest()) == 6


def test_clear_removes_everything(tmp_path: Path) -> None:
    store = saved(tmp_path, 1, 2)
    store.clear()
    assert store.latest() is None
    assert not store.folder.exists()


def test_a_clear_that_dies_leaves_no_half_of_a_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = saved(tmp_path, 1, 2)

    def die(path: Path, ignore_errors: bool) -> None:
        if path.exists():
            (path / "step-00000002" / TENSORS).unlink()
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("tunelet.training.checkpoint.shutil.rmtree", die)
        with pytest.raises(KeyboardInterrupt):
            store.clear()
    assert store.latest() is None  # as before the first save, so the run starts anew
    files.clear_parts(tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("file", [TENSORS, VALUES, files.MANIFEST])
@pytest.mark.parametrize("damage", [flip, cut, Path.unlink], ids=["flipped", "cut", "missing"])
def test_a_damaged_newest_state_is_named_and_the_older_one_used(
    file: str, damage: Callable[[Path], None], tmp_path: Path
) -> None:
    store = saved(tmp_path, 10, 20, 30)
    damage(store.folder / "step-00000030" / file)
    assert step_of(store.latest()) == 20
    (sentence,) = store.damaged
    assert "step-00000030 is damaged and was left aside" in sentence
    # a manifest that lost a bit may blame the file whose hash it no longer holds
    assert file in sentence or file == files.MANIFEST


def test_two_damaged_states_are_both_named(tmp_path: Path) -> None:
    store = saved(tmp_path, 10, 20, 30)
    flip(store.folder / "step-00000030" / TENSORS)
    flip(store.folder / "step-00000020" / VALUES)
    assert step_of(store.latest()) == 10
    assert [sentence.split()[0] for sentence in store.damaged] == ["step-00000030", "step-00000020"]
    assert step_of(store.latest()) == 10
    assert len(store.damaged) == 2


def test_when_all_are_damaged_it_is_an_error_and_no_fresh_start(tmp_path: Path) -> None:
    store = saved(tmp_path, 10, 20)
    for step in (10, 20):
        flip(store.folder / f"step-{step:08d}" / TENSORS)
    with pytest.raises(ResumeError, match="no saved state can be used") as caught:
        store.latest()
    assert all(name in str(caught.value) for name in ("step-00000010", "step-00000020", "sha256"))
    assert caught.value.exit_status == 1


@pytest.mark.parametrize("file", [TENSORS, VALUES])
def test_a_state_that_was_published_without_a_part_is_an_error(file: str, tmp_path: Path) -> None:
    store = saved(tmp_path, 10)
    path = store.folder / "step-00000020"
    with files.publish_folder(path) as part:
        for name in {TENSORS, VALUES} - {file}:
            (part / name).write_bytes((store.folder / "step-00000010" / name).read_bytes())
    with pytest.raises(ResumeError, match=f"step-00000020: the state lacks {file}"):
        store.latest()


@pytest.mark.parametrize("stage", ["written", "synced"])
def test_a_save_that_dies_leaves_the_state_before(stage: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = saved(tmp_path, 10)

    def hook(now: str, path: Path) -> None:
        if now == stage:
            raise KeyboardInterrupt

    monkeypatch.setattr(files, "fault_hook", hook)
    with pytest.raises(KeyboardInterrupt):
        store.save(20, state(20))
    assert step_of(store.latest()) == 10
    assert store.damaged == []


# --- optimisers


def model() -> torch.nn.Module:
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.Dropout(0.5), torch.nn.Linear(8, 2))


def adamw(net: torch.nn.Module, fused: bool = False) -> torch.optim.Optimizer:
    first, *rest = net.parameters()
    groups = [{"params": [first], "lr": 3e-2, "weight_decay": 0.1}, {"params": rest}]
    return torch.optim.AdamW(groups, lr=1e-2, betas=(0.8, 0.99), fused=fused)


def train(net: torch.nn.Module, optimizer: torch.optim.Optimizer, steps: int) -> None:
    for _ in range(steps):
        net(torch.randn(5, 4)).square().mean().backward()
        optimizer.step()
        optimizer.zero_grad()


def through_disk(held: State, folder: Path) -> State:
    store = CheckpointStore(folder)
    store.save(1, held)
    found = store.latest()
    assert found is not None
    return found


def weights(net: torch.nn.Module) -> list[torch.Tensor]:
    return [parameter.detach().clone() for parameter in net.parameters()]


@pytest.mark.parametrize(
    "make",
    [
        lambda net: adamw(net),
        lambda net: adamw(net, fused=True),
        lambda net: torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9),
    ],
    ids=["adamw", "fused adamw", "sgd"],
)
def test_training_goes_on_bit_for_bit(make: Callable[[torch.nn.Module], torch.optim.Optimizer], tmp_path: Path) -> None:
    """Weights, moments, step counts, groups and the dropout that is still to be drawn: all as without the break."""
    net = model()
    optimizer = make(net)
    train(net, optimizer, 4)
    held = State()
    optimizer_to(held, optimizer)
    random_to(held)
    held.put_tensors("model", dict(net.named_parameters()))
    held = through_disk(held, tmp_path)
    train(net, optimizer, 4)
    again = model()
    restored = make(again)
    torch.manual_seed(12345)
    again.load_state_dict(held.tensors_of("model"))
    optimizer_from(held, restored)
    random_from(held)
    train(again, restored, 4)
    assert all(torch.equal(a, b) for a, b in zip(weights(net), weights(again), strict=True))
    assert optimizer.state_dict()["param_groups"] == restored.state_dict()["param_groups"]


def test_an_optimiser_before_its_first_step_is_saved_too(tmp_path: Path) -> None:
    held = State()
    optimizer_to(held, adamw(model()))
    held = through_disk(held, tmp_path)
    restored = adamw(model())
    optimizer_from(held, restored)
    assert restored.state_dict()["state"] == {}


def test_the_optimisers_part_is_plain_json(tmp_path: Path) -> None:
    net = model()
    optimizer = adamw(net)
    train(net, optimizer, 1)
    held = State()
    optimizer_to(held, optimizer)
    assert json.loads(json.dumps(held.values)) == held.values
    assert {name.split(".")[-1] for name in held.tensors} == {"step", "exp_avg", "exp_avg_sq"}


def test_an_optimiser_of_other_groups_is_refused() -> None:
    held = State()
    optimizer_to(held, adamw(model()))
    other = torch.optim.AdamW(model().parameters(), lr=1e-2)
    with pytest.raises(ResumeError, match=r"groups of sizes \[1, 3\], this run has \[4\]"):
        optimizer_from(held, other)


def test_a_state_without_the_optimiser_is_refused() -> None:
    with pytest.raises(ResumeError, match="lacks the part 'optimizer'"):
        optimizer_from(State(), adamw(model()))


# --- random states


def test_dropout_goes_on_where_it_was(tmp_path: Path) -> None:
    torch.manual_seed(7)
    drop = torch.nn.Dropout(0.5)
    drop(torch.ones(10))
    held = State()
    random_to(held)
    held = through_disk(held, tmp_path)
    expected = [drop(torch.ones(50)) for _ in range(3)]
    torch.manual_seed(8)
    random_from(held)
    assert all(torch.equal(drop(torch.ones(50)), draw) for draw in expected)
    assert len(held.tensors_of("random")) >= 1


def test_a_state_without_the_random_state_is_refused() -> None:
    with pytest.raises(ResumeError, match="lacks the random state"):
        random_from(State())


def test_another_number_of_gpus_is_refused() -> None:
    held = State()
    random_to(held)
    held.put_tensors("random", {"cuda99": torch.get_rng_state()})
    with pytest.raises(ResumeError, match="CUDA devices"):
        random_from(held)
