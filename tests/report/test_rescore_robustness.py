"""What the report says of robustness, from measurements made by hand: who degrades more, and what is not shown."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ET
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from report.rescores import Fake, write_rescores
from tunelet.data.perturb import Which
from tunelet.evaluation.robustness import Degradation, Robustness
from tunelet.evaluation.robustness_rows import Measured, read_measured, write_measured
from tunelet.report.content import Section
from tunelet.report.rescore import make
from tunelet.report.rescore_robustness_numbers import Comparison
from tunelet.report.tables import Table

LISTS, SPEAKERS, P, SEEDS = 80, 8, (0.1, 0.3), (1, 2)
#: errors that come for each speaker when the 1-best, and when all N are perturbed
Rises = dict[str, tuple[int, int]]
HOLDS: Rises = {"lora": (2, 5), "adalora": (4, 3), "full": (2, 5)}
XLINK = 'xmlns:xlink="http://www.w3.org/1999/xlink" xmlns="http://www.w3.org/2000/svg"'


def degraded(which: Which, p: float, seed: int, rise: int) -> Degradation:
    """One error in each list before; `rise` more for each speaker after, at p = 0.3; half of them at 0.1."""
    more = rise if p == 0.3 else rise / 2
    before, after = np.ones(LISTS, dtype=np.int64), np.ones(LISTS, dtype=np.int64)
    after[: int(more * SPEAKERS)] += 1  # list i is by speaker i % SPEAKERS
    return Degradation(
        which=which, p=p, seed=seed, lists=LISTS, words=400, errors_before=LISTS, errors_after=int(after.sum()),
        first_pass_before=100, first_pass_after=110, oracle_before=40, oracle_after=50, hypothesis_words=400,
        replaceable=80, replaced=20, changed=8, tau=0.9, tau_lists=LISTS, each_before=before, each_after=after,
    )  # fmt: skip


def measured_sweep(folder: Path, rises: Rises, *, seeds: tuple[int, ...] = (1, 2)) -> Path:
    """A sweep with a group of each method, and what homophones do to it; the second training seed rises by one more."""
    ways = {"ngram": ("ngram",)}
    fakes = [Fake("ngram", "none", 0, ways=ways["ngram"])]
    fakes += [Fake(name, name, 20 + number, seeds=seeds) for number, name in enumerate(rises)]
    write_rescores(folder, fakes)
    result = json.loads((folder / "result.json").read_text(encoding="utf-8"))
    ids = tuple(f"u{number}" for number in range(LISTS))
    speakers = tuple(f"s{number % SPEAKERS}" for number in range(LISTS))
    for run in result["runs"]:
        first, every = rises.get(run["group"], (6, 6))
        by_way: dict[str, list[dict[str, object]]] = {}
        for which, rise in (("first", first), ("all", every)):
            for p in P:
                rows: dict[str, list[Degradation]] = {}
                for seed in SEEDS:
                    for way in ("first_pass", *run["metrics"]["heard"]["ways"]):
                        own = rise + run["seed"] - 1 if way != "first_pass" else 6
                        rows.setdefault(way, []).append(degraded(which, p, seed, own))  # type: ignore[arg-type]
                    found = {way: several[-1] for way, several in rows.items()}
                    one = Measured("heard", which, p, seed, ids, speakers, found)  # type: ignore[arg-type]
                    write_measured(
                        folder / run["folder"] / "robustness" / f"heard-{which}-p{p:g}-seed{seed}.json", one, "k"
                    )
                for way, several in rows.items():
                    by_way.setdefault(way, []).append(Robustness(which, p, tuple(several)).to_json())  # type: ignore[arg-type]
        words = {"source": "cmudict", "sha256": "0", "groups": 3, "min_per_million": 2.0, "counted": 1000}
        sets = {"heard": {"utterances": LISTS, "of": 100, "ways": by_way}}
        run["robustness"] = {"homophones": words, "p": list(P), "seeds": list(SEEDS), "sets": sets}
    (folder / "result.json").write_text(json.dumps(result), encoding="utf-8")
    return folder


def section_of(folder: Path) -> Section:
    (found,) = [one for one in make(folder).sections if one.anchor == "robustness-heard"]
    return found


def cells(table: Table, label: str) -> dict[str, str]:
    place = [one.label for one in table.columns].index(label)
    return {row.cells[0]: row.cells[place] for row in table.rows}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return measured_sweep(tmp_path_factory.mktemp("sweep"), HOLDS)


@pytest.mark.parametrize(
    ("adalora", "words"),
    [
        ((4, 3), "the finding holds here"),
        ((1, 3), "1-best robustness lies on the other side: the finding does not hold here"),
        ((4, 8), "NPRR lies on the other side: the finding does not hold here"),
        ((1, 8), "1-best robustness and NPRR lie on the other side"),
        ((2, 3), "The interval of 1-best robustness reaches over 0: the finding is not shown here, nor refuted"),
        ((2, 5), "The intervals of 1-best robustness and NPRR reach over 0"),
    ],
)
def test_what_is_said_of_dynamic_rank(tmp_path: Path, adalora: tuple[int, int], words: str) -> None:
    text = " ".join(section_of(measured_sweep(tmp_path, {"lora": (2, 5), "adalora": adalora}, seeds=(1,))).text)
    assert words in text and "at p = 0.3, adalora against lora" in text and "The definition is ours" in text


def test_nothing_is_said_of_dynamic_rank_without_it(tmp_path: Path) -> None:
    found = section_of(measured_sweep(tmp_path, {"lora": (2, 5), "full": (1, 1)}))
    assert not any("dynamic rank" in paragraph for paragraph in found.text)


def test_the_table_holds_strategies_and_controls(folder: Path) -> None:
    table = section_of(folder).tables[1]
    assert table.caption == "Robustness on heard, p = 0.3"
    first, every = cells(table, "1-best robustness %"), cells(table, "NPRR %")
    # lora rises by 2 and by 3 errors for each of 8 speakers, from 80 errors: 20 % and 30 %
    assert first["lora"].startswith("25.00 ±") and every["lora"].startswith("55.00 ±")
    assert first["control: first pass"] == "60.00" and cells(table, "runs")["lora"] == "2"
    assert first["control: best hypothesis"] == "25.00" and "control: n-gram alone" not in first
    assert cells(table, "excess, points")["lora"].startswith("15.00 ±")
    assert cells(table, "choices changed %")["lora"] == "10.00" and cells(table, "τ")["lora"] == "0.900"
    assert any("Words replaced: 5.00 %" in note for note in table.notes)
    assert [one.caption for one in section_of(folder).folded] == [
        f"Robustness on heard, p = {p:g}, scorer alone" for p in P
    ]


def test_the_comparison_is_that_of_the_errors_on_disk(folder: Path) -> None:
    table = section_of(folder).tables[-1]
    rows = {(row.cells[0], row.cells[1], row.cells[2]): row.cells for row in table.rows}
    assert len(rows) == 2 * len(P) * 2
    worse, better = rows["adalora", "0.3", "1-best robustness"], rows["adalora", "0.3", "NPRR"]
    assert (worse[3], worse[-1]) == ("+20.00", "worse") and (better[3], better[-1]) == ("-20.00", "better")
    same = rows["full", "0.3", "NPRR"]
    assert (same[3], same[4], same[-1]) == ("+0.00", "+0.00 to +0.00", "no difference shown") and same[5] == "1.000"
    assert "speakers are drawn again" in table.notes[0] and "2 training seeds" in table.notes[0]


@pytest.mark.parametrize(
    ("ends", "holm", "side", "verdict"),
    [
        ((0.1, 0.2), 0.01, "worse", "worse"),
        ((0.1, 0.2), 0.2, "worse", "no difference shown"),
        ((-0.2, -0.1), 0.01, "better", "better"),
        ((-0.1, 0.2), 0.01, "", "no difference shown"),
    ],
)
def test_interval_and_corrected_test_must_agree(
    ends: tuple[float, float], holm: float, side: str, verdict: str
) -> None:
    difference: Any = SimpleNamespace(low=ends[0], high=ends[1])
    found = Comparison("heard", "first", 0.3, "adalora", "lora", (1, 2), difference, None, holm)
    assert (found.side, found.verdict) == (side, verdict)


def test_the_csv_files_hold_every_row(folder: Path) -> None:
    csv = make(folder).csv
    rows = csv["robustness"].splitlines()
    assert len(rows) == 1 + (2 + 4 * 2 * 3) * 2 * len(P) * len(SEEDS)
    assert len(csv["robustness_comparisons"].splitlines()) == 1 + 2 * 2 * len(P)


def test_the_curves_are_svg_with_the_strategies_in_their_legend(folder: Path) -> None:
    found = section_of(folder)
    assert {item.label for item in found.legend} == {"first pass alone", "ngram", *HOLDS}
    assert len(found.figures) == 2
    for figure in found.figures:
        root = ET.fromstring(figure.plot.svg.replace("<svg ", f"<svg {XLINK} ", 1))
        texts = {"".join(element.itertext()) for element in root.iter() if element.tag.endswith("}text")}
        assert {"0", "0.1", "0.3"} <= texts and 'role="img"' in figure.plot.svg


def test_what_cannot_be_compared_is_told(folder: Path, tmp_path: Path) -> None:
    alone = section_of(measured_sweep(tmp_path / "alone", {"adalora": (4, 3), "full": (1, 1)}))
    assert len(alone.tables) == len(P) and any("no group with the method lora" in text for text in alone.text)
    apart = measured_sweep(tmp_path / "apart", HOLDS)
    next(apart.glob("runs/full-seed1/robustness/*.json")).write_text("[]")
    found = section_of(apart)
    assert len(found.tables) == len(P) and any("cannot be read" in text for text in found.text)
    assert "robustness_comparisons" not in make(apart).csv


def test_a_sweep_that_was_not_measured_says_nothing(tmp_path: Path) -> None:
    report = make(write_rescores(tmp_path, [Fake("lora", "lora", 20)]))
    assert not any(one.anchor.startswith("robustness") for one in report.sections)
    assert not any(name.startswith("robustness") for name in report.csv)


def test_the_made_files_are_those_that_are_read(folder: Path) -> None:
    one = read_measured(folder / "runs" / "lora-seed2" / "robustness" / "heard-all-p0.3-seed1.json")
    assert one.ways["combined"].errors_after == LISTS + 6 * SPEAKERS
