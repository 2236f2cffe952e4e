"""An adapter folder that is not what was saved is refused, and the message names both sides."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from toy import toy_base
from toy_tuned import TASK, logits, toy_loaded, trained_on, tuned_on
from tunelet.base.errors import AdapterError, BaseModelError, DamagedFileError, TrainingError, TuneletError
from tunelet.base.files import sha256_file
from tunelet.models.bases import Base
from tunelet.tuning.folder import load_adapter, save_adapter
from tunelet.tuning.manifest import Manifest
from tunelet.tuning.stored import LABELS, WEIGHTS


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Base:
    return toy_loaded(tmp_path_factory.mktemp("base"))


@pytest.fixture(scope="module")
def saved(base: Base, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("saved") / "adapter"
    save_adapter(folder, trained_on(base, method="lora"), base, TASK)
    return folder


@pytest.fixture
def folder(saved: Path, tmp_path: Path) -> Path:
    """A copy to be damaged."""
    return Path(shutil.copytree(saved, tmp_path / "adapter"))


def edit(path: Path, change: Callable[[dict[str, Any]], None]) -> None:
    values = json.loads(path.read_text())
    change(values)
    path.write_text(json.dumps(values, indent=2, ensure_ascii=False) + "\n")


def hash_again(folder: Path, *, seal: bool = False) -> None:
    """Make the hashes in tunelet.json true again, as somebody would who really wants the edit; the seal if asked."""

    def change(values: dict[str, Any]) -> None:
        for name, entry in values["files"].items():
            entry |= {"sha256": sha256_file(folder / name), "bytes": (folder / name).stat().st_size}
        if seal:
            values["seal"] = Manifest.model_validate(values).expected_seal()

    edit(folder / "tunelet.json", change)


def set_alpha(folder: Path, alpha: int) -> None:
    edit(folder / "adapter_config.json", lambda values: values.update(lora_alpha=alpha))


def write_tensors(folder: Path, change: Callable[[dict[str, torch.Tensor]], None]) -> None:
    tensors = load_file(folder / WEIGHTS)
    change(tensors)
    notes = {"format": "pt", LABELS: json.dumps(TASK.label_names)}
    save_file(tensors, folder / WEIGHTS, metadata=notes)
    hash_again(folder, seal=True)


def refused(folder: Path, *sides: str, **options: Any) -> str:
    with pytest.raises(AdapterError) as caught:
        load_adapter(folder, **options)
    message = str(caught.value)
    for side in sides:
        assert side in message
    assert caught.value.exit_status == 2
    return message


def test_untouched_it_loads(folder: Path) -> None:
    assert load_adapter(folder).overridden == ()


def test_wrong_base(folder: Path, base: Base, tmp_path: Path) -> None:
    wider = toy_base(tmp_path / "wider", hidden=32)
    refused(folder, base.name, str(wider), base.fingerprint[:16], base=str(wider))


def test_another_base_of_the_same_shape(folder: Path, base: Base, tmp_path: Path) -> None:
    twin = toy_base(tmp_path / "twin", seed=1)
    refused(folder, base.name, str(twin), base.fingerprint[:16], base=str(twin))


def test_a_base_with_fewer_layers(folder: Path, tmp_path: Path) -> None:
    refused(folder, "fingerprint", base=str(toy_base(tmp_path / "short", layers=1)))


def test_a_copy_of_the_base_elsewhere_is_the_base(folder: Path, base: Base, tmp_path: Path) -> None:
    copy = shutil.copytree(base.folder, tmp_path / "copy")
    assert load_adapter(folder, base=str(copy)).overridden == ()


def test_another_tokenizer(folder: Path, base: Base, tmp_path: Path) -> None:
    other = Path(shutil.copytree(base.folder, tmp_path / "other"))

    def swap(values: dict[str, Any]) -> None:
        vocabulary = values["model"]["vocab"]
        vocabulary["happy"], vocabulary["sad"] = vocabulary["sad"], vocabulary["happy"]

    edit(other / "tokenizer.json", swap)
    refused(folder, "tokenizer", base.tokenizer_sha256[:16], str(other), base=str(other))


def test_no_base_where_the_adapter_says(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(BaseModelError, match=r"no such folder(.|\n)*needs the base"):
        load_adapter(folder, base=str(tmp_path / "nowhere"))


def test_labels_in_another_order(folder: Path) -> None:
    edit(folder / "tunelet.json", lambda values: values["task"]["labels"].reverse())
    refused(folder, "order", "(cross, glad, sad)", "(sad, glad, cross)")
    hash_again(folder, seal=True)
    refused(folder, "order", "(cross, glad, sad)", "(sad, glad, cross)")


def test_a_renamed_label(folder: Path) -> None:
    edit(folder / "tunelet.json", lambda values: values["task"]["labels"][0].update(name="happy"))
    refused(folder, "labels were changed", "(happy, glad, cross)", "(sad, glad, cross)")


def test_one_label_less(folder: Path) -> None:
    edit(folder / "tunelet.json", lambda values: values["task"]["labels"].pop())
    refused(folder, "(sad, glad)", "(sad, glad, cross)")


def test_edited_alpha(folder: Path) -> None:
    before = sha256_file(folder / "adapter_config.json")
    set_alpha(folder, 17)
    refused(folder, "adapter_config.json", before, sha256_file(folder / "adapter_config.json"))


def test_edited_alpha_with_true_hashes(folder: Path) -> None:
    set_alpha(folder, 32)
    hash_again(folder, seal=True)
    refused(folder, "scaling", "4.0", "8.0")


def test_edited_scaling(folder: Path) -> None:
    edit(folder / "tunelet.json", lambda values: values["scaling"].update(dict.fromkeys(values["scaling"], 2.0)))
    refused(folder, "scaling", "2.0", "4.0")


def test_alpha_and_scaling_edited_together_do_not_answer_the_same(folder: Path) -> None:
    set_alpha(folder, 32)
    edit(folder / "tunelet.json", lambda values: values["scaling"].update(dict.fromkeys(values["scaling"], 8.0)))
    hash_again(folder)
    refused(folder, "seal")
    hash_again(folder, seal=True)
    refused(folder, "does not answer", "now")


@pytest.mark.parametrize("key", ["max_length", "trainable_parameters", "method"])
def test_any_edit_breaks_the_seal(folder: Path, key: str) -> None:
    edit(folder / "tunelet.json", lambda values: values.update({key: 30 if key != "method" else "dora"}))
    refused(folder, "edited after saving", "seal")


def test_a_flipped_byte(folder: Path) -> None:
    path = folder / WEIGHTS
    before = sha256_file(path)
    data = bytearray(path.read_bytes())
    data[-5] ^= 1
    path.write_bytes(data)
    refused(folder, WEIGHTS, before, sha256_file(path))


def test_a_file_cut_off(folder: Path) -> None:
    path = folder / WEIGHTS
    size = path.stat().st_size
    path.write_bytes(path.read_bytes()[: size // 2])
    refused(folder, f"{size // 2} bytes", f"tunelet.json says {size}")
    hash_again(folder, seal=True)
    refused(folder, WEIGHTS, "not a whole safetensors file")
    refused(folder, WEIGHTS, "not a whole safetensors file", force=True)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_not_a_number_in_the_weights(folder: Path, value: float) -> None:
    name = next(iter(load_file(folder / WEIGHTS)))
    write_tensors(folder, lambda tensors: tensors[name].view(-1)[0:1].fill_(value))
    refused(folder, name, "NaN or infinity, expected finite")
    refused(folder, name, force=True)


def test_not_a_number_is_not_saved(base: Base, tmp_path: Path) -> None:
    for method in ("lora", "full"):
        tuned = tuned_on(base, method=method)
        with torch.no_grad():
            next(parameter for _, parameter in tuned.trainable()).view(-1)[0] = float("nan")
        with pytest.raises(TrainingError, match=r"not saved.*NaN"):
            save_adapter(tmp_path / method, tuned, base, TASK)
        assert not (tmp_path / method).exists()


@pytest.mark.parametrize("name", [WEIGHTS, "adapter_config.json"])
def test_a_missing_file(folder: Path, name: str) -> None:
    (folder / name).unlink()
    refused(folder, name, "missing", "tunelet.json lists it")


def test_a_missing_manifest_is_not_taken_for_a_plain_adapter(folder: Path) -> None:
    (folder / "tunelet.json").unlink()
    refused(folder, "tunelet.json", "missing", "manifest.json lists it")


def test_an_extra_tensor(folder: Path) -> None:
    write_tensors(folder, lambda tensors: tensors.update({"base_model.model.more.lora_A.weight": torch.ones(4, 16)}))
    refused(folder, "the file holds base_model.model.more.lora_A.weight (4, 16)", "the model on this base")


def test_a_missing_tensor(folder: Path) -> None:
    name = next(iter(load_file(folder / WEIGHTS)))
    write_tensors(folder, lambda tensors: tensors.__delitem__(name))
    refused(folder, f"the model has {name}", "the file does not hold it")


def test_a_tensor_of_another_shape(folder: Path) -> None:
    name = next(name for name in load_file(folder / WEIGHTS) if "lora_A" in name)
    write_tensors(folder, lambda tensors: tensors.update({name: torch.ones(3, 16)}))
    refused(folder, "do not fit", "[3, 16]", "[4, 16]")


@pytest.mark.parametrize("key", sorted(Manifest.model_fields.keys() - {"tolerance", "seal"}))
def test_a_missing_key(folder: Path, key: str) -> None:
    edit(folder / "tunelet.json", lambda values: values.pop(key))
    refused(folder, "tunelet.json", f"{key}: this key is missing")


def test_all_missing_keys_are_told_at_once(folder: Path) -> None:
    edit(folder / "tunelet.json", lambda values: [values.pop(key) for key in ("probes", "scaling", "files")])
    assert refused(folder).count("this key is missing") == 3


def test_a_misspelt_key(folder: Path) -> None:
    edit(folder / "tunelet.json", lambda values: values.update(scalings={}))
    refused(folder, "scalings", "did you mean 'scaling'?")


def test_a_later_format(folder: Path) -> None:
    edit(folder / "tunelet.json", lambda values: values.update(format=2))
    refused(folder, "format 2", "up to 1")


@pytest.mark.parametrize("text", ["", "{", "[]", '{"format": "one"}', '{"format": 1, "probes": 3}'])
def test_a_manifest_that_is_none(folder: Path, text: str) -> None:
    (folder / "tunelet.json").write_text(text)
    refused(folder, "tunelet.json")


def test_bytes_that_are_no_text(folder: Path) -> None:
    (folder / "tunelet.json").write_bytes(b"\xff\xfe{}")
    refused(folder, "tunelet.json", "UTF-8")


def test_no_adapter_at_all(tmp_path: Path) -> None:
    refused(tmp_path, "neither tunelet.json nor adapter_config.json")
    refused(tmp_path / "none", "no such folder")


def test_forced_it_loads_and_says_what_was_overridden(folder: Path, base: Base, tmp_path: Path) -> None:
    twin = toy_base(tmp_path / "twin", seed=1)
    loaded = load_adapter(folder, base=str(twin), force=True)
    assert [fact for fact in ("fingerprint", "does not answer") if any(fact in o for o in loaded.overridden)] == [
        "fingerprint",
        "does not answer",
    ]
    assert not logits(loaded.model).equal(logits(load_adapter(folder).model))


def test_a_whole_model_is_held_to_the_same(base: Base, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    save_adapter(folder, trained_on(base, method="full"), base, TASK)
    assert load_adapter(folder).base is None
    edit(folder / "tunelet.json", lambda values: values["task"]["labels"].reverse())
    refused(folder, "order", "(cross, glad, sad)", "(sad, glad, cross)", "config.json")
    edit(folder / "tunelet.json", lambda values: values["task"]["labels"].reverse())
    data = bytearray((folder / "model.safetensors").read_bytes())
    data[-5] ^= 1
    (folder / "model.safetensors").write_bytes(data)
    refused(folder, "model.safetensors", "sha256")


def test_every_refusal_is_an_error_of_ours(folder: Path) -> None:
    (folder / "manifest.json").write_text("{")
    with pytest.raises(TuneletError) as caught:
        load_adapter(folder)
    assert isinstance(caught.value, DamagedFileError)
