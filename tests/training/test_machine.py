"""The description of the machine says what a time means and nothing that identifies anyone."""

from __future__ import annotations

import getpass
import json
import platform
from importlib import metadata
from pathlib import Path

import pytest
import torch

from tunelet.training import machine


def test_it_is_json_and_complete() -> None:
    found = machine.describe_machine()
    assert json.loads(json.dumps(found)) == found
    assert found["processor"] and found["processor"] != "unknown"
    assert found["threads"] == torch.get_num_threads()
    assert found["cores"] >= 1
    assert found["memory_bytes"] > 2**28
    assert len(found["cuda"]) == torch.cuda.device_count()
    assert found["versions"]["torch"] == metadata.version("torch")
    assert found["versions"]["python"] == platform.python_version()


def test_it_names_neither_host_nor_user_nor_paths() -> None:
    text = json.dumps(machine.describe_machine())
    assert str(Path.home()) not in text
    for name in (platform.node(), getpass.getuser()):
        if len(name) > 3:  # "vm" or "root" may be part of a processor's name
            assert name not in text


def test_a_control_group_lowers_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    texts = {"/sys/fs/cgroup/memory.max": "1048576\n"}
    monkeypatch.setattr(machine, "_read", lambda path: texts.get(str(path), ""))
    assert machine.memory_bytes() == 2**20
    texts["/sys/fs/cgroup/memory.max"] = "max\n"
    assert machine.memory_bytes() > 2**20


def test_a_library_that_is_absent_has_no_version(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "LIBRARIES", ("numpy", "no-such-distribution"))
    found = machine.versions()
    assert found["no-such-distribution"] is None
    assert found["numpy"] == metadata.version("numpy")


@pytest.mark.parametrize(("says", "bf16"), [(True, True), (False, False), (None, False)])
def test_bf16_is_what_the_system_says(monkeypatch: pytest.MonkeyPatch, says: bool | None, bf16: bool) -> None:
    monkeypatch.setattr(machine, "native_bf16", lambda: says)
    monkeypatch.setattr(machine, "_read", lambda path: "model name : Some Processor\n")
    assert machine.describe_machine()["bf16"] is bf16
    assert machine.describe_machine()["processor"] == "Some Processor"
