"""The numbers that a paper printed, as data, and what is wrong with them. Not here: anything that we measured.

Source: D. Gjer, "Klasifikacija emocija iz rečenica korišćenjem velikih jezičkih modela sa LoRA tehnikom fine obrade",
University of Novi Sad, 2023 ("Gjer 2023"). Tables 2-5 hold one BERT-base run a cell. Of Tables 6-7 we keep which
answers were printed; a sentence is known by its sha256, so that none is copied and ours can be put beside it.

Example:
    >>> [run.accuracy for run in RUNS if run.is_best]
    [94.05, 93.95, 94.1]
    >>> FULL.true_steps_per_second < FULL.steps_per_second
    True
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tunelet.evaluation.statistics import Interval, wilson

PAPER = "Gjer 2023"

#: What the paper trained on: dair-ai Emotion, the "split" configuration.
TASK = "emotion"
SPLITS = {"train": 16_000, "validation": 2_000, "test": 2_000}
BASE = "bert-base-uncased"
PLANNED_STEPS = 10_000


@dataclass(frozen=True)
class PublishedRun:
    """One column of Table 2, 3 or 4: validation scores in percent at the best checkpoint, and what the run cost.

    Attributes:
        table: 2 full fine-tuning, 3 LoRA on "attention", 4 LoRA on "attention + linear".
        r: LoRA rank, None for full fine-tuning. Alpha is 16 and dropout 0.1 throughout.
        runtime: seconds, evaluation included.
        steps: steps until early stopping.
        steps_per_second: as printed; see `NOTES`.
        memory_gb: GPU memory as printed.
        trainable, trainable_percent: as printed.
    """

    table: int
    r: int | None
    learning_rate: float
    weight_decay: float
    loss: float
    accuracy: float
    precision: float
    recall: float
    f1: float
    runtime: int
    steps: int
    steps_per_second: float
    memory_gb: float
    trainable: str
    trainable_percent: float

    @property
    def source(self) -> str:
        return f"{PAPER}, Table {self.table}"

    @property
    def true_steps_per_second(self) -> float:
        """Steps that were taken / runtime (evaluation included). Ours, from the paper's own two rows."""
        return self.steps / self.runtime

    @property
    def is_best(self) -> bool:
        """Whether the paper took this run to the test set (the best validation accuracy of its table)."""
        return self.accuracy == max(run.accuracy for run in RUNS if run.table == self.table)


@dataclass(frozen=True)
class PublishedTest:
    """A row of Table 5: test scores, in percent, of the best run of one of Tables 2-4."""

    name: str
    table: int
    loss: float
    accuracy: float
    f1: float
    n: int = SPLITS["test"]
    source: str = f"{PAPER}, Table 5"

    @property
    def interval(self) -> Interval:
        """Wilson's 95 % interval, 0 ... 1. Ours: the paper prints none."""
        return wilson(round(self.accuracy / 100 * self.n), self.n)


@dataclass(frozen=True)
class PublishedExample:
    """A row of Table 6 (full fine-tuning) or 7 (LoRA, attention): what was predicted for one test sentence."""

    table: int
    text_sha256: str
    predicted: str
    gold: str

    @property
    def source(self) -> str:
        return f"{PAPER}, Table {self.table}"


@dataclass(frozen=True)
class Note:
    """Something in the paper that its own numbers, its code or the data contradict.

    Attributes:
        tables: the tables it touches.
        printed: what the paper says, in our words.
        fact: what holds, and how we know.
    """

    tables: tuple[int, ...]
    printed: str
    fact: str


def _rows(
    table: int, keys: Sequence[tuple[int | None, float, float]], *columns: tuple[float, ...]
) -> list[PublishedRun]:
    """Rows as the paper prints them (one metric a row) turned into runs (one setting a column)."""
    runs = []
    for number, (r, rate, decay) in enumerate(keys):
        loss, accuracy, precision, recall, f1, runtime, steps, speed, memory, share = (row[number] for row in columns)
        name = {99.0: "108M", 0.076: "83K", 0.277: "304K", 1.074: "1.189M", 0.313: "344K", 1.217: "1.349M", 4.673: "5.367M"}[share]  # noqa: E501  # fmt: skip
        runs.append(PublishedRun(table, r, rate, decay, loss, accuracy, precision, recall, f1, int(runtime), int(steps),
                                 speed, memory, name, share))  # fmt: skip
    return runs


_FULL_GRID = [(None, rate, decay) for rate in (2e-5, 3e-5, 5e-5) for decay in (0.001, 0.01)]
_LORA_GRID = [(r, rate, 0.001) for r in (2, 8, 32) for rate in (3e-4, 1e-3)]

#: Tables 2, 3 and 4, in the order in which they are printed. A metric a line, a setting a column.
# fmt: off
RUNS: tuple[PublishedRun, ...] = tuple(
    _rows(
        2, _FULL_GRID,
        (0.1926, 0.1901, 0.1721, 0.1723, 0.2906, 0.1712),  # loss
        (93.70, 93.90, 93.95, 93.85, 94.05, 93.55),  # accuracy
        (94.06, 94.11, 94.42, 94.07, 94.07, 93.98),  # weighted precision
        (93.70, 93.90, 93.95, 93.85, 94.05, 93.55),  # weighted recall
        (93.75, 93.83, 94.05, 93.87, 94.02, 93.62),  # weighted F1
        (4572, 7234, 5843, 4523, 8754, 4978),  # runtime, seconds
        (2750, 4000, 3500, 2500, 5250, 2750),  # steps
        (2.187, 1.382, 2.221, 1.172, 1.142, 2.009),  # "steps per second"
        (13.4,) * 6,  # GPU memory, GB
        (99.0,) * 6,  # trainable, percent
    )
    + _rows(
        3, _LORA_GRID,
        (0.1639, 0.2462, 0.1994, 0.1909, 0.1444, 0.2426),
        (93.85, 92.30, 93.95, 93.35, 93.85, 92.20),
        (93.96, 92.31, 94.43, 93.41, 94.03, 92.46),
        (93.85, 92.30, 93.95, 93.35, 93.85, 92.20),
        (93.87, 92.29, 93.99, 93.27, 93.86, 92.27),
        (7883, 3767, 5169, 5480, 7224, 3093),
        (5750, 2750, 3500, 4000, 5250, 2250),
        (1.269, 2.654, 1.935, 1.824, 1.384, 3.234),
        (11.200, 11.200, 11.208, 11.208, 11.238, 11.238),
        (0.076, 0.076, 0.277, 0.277, 1.074, 1.074),
    )
    + _rows(
        4, _LORA_GRID,
        (0.1887, 0.2929, 0.1827, 0.2090, 0.1681, 0.1568),
        (93.95, 91.20, 94.10, 92.90, 93.90, 93.40),
        (94.25, 91.35, 94.56, 93.36, 94.33, 93.45),
        (93.95, 91.20, 94.10, 92.90, 93.90, 93.40),
        (94.00, 91.23, 94.12, 92.96, 93.93, 93.33),
        (6252, 4473, 5824, 6227, 6354, 8163),
        (3500, 2500, 3500, 3500, 5250, 4500),
        (1.599, 2.236, 1.717, 1.606, 1.574, 1.225),
        (13.930, 13.930, 13.958, 13.958, 14.066, 14.066),
        (0.313, 0.313, 1.217, 1.217, 4.673, 4.673),
    )
)
# fmt: on

#: Table 5.
FULL_TEST = PublishedTest("full fine-tuning (FT)", 2, 0.3259, 93.00, 92.90)
ATTENTION_TEST = PublishedTest("LoRA, attention (LoRA-att)", 3, 0.2220, 92.25, 92.27)
LINEAR_TEST = PublishedTest("LoRA, attention + linear (LoRA-att+lin)", 4, 0.2102, 92.70, 92.68)
TESTS: tuple[PublishedTest, ...] = (FULL_TEST, ATTENTION_TEST, LINEAR_TEST)

#: The run of Table 2 that went to the test set.
FULL = next(run for run in RUNS if run.table == 2 and run.is_best)

#: Tables 6 and 7: (sha256 of the sentence, first 16 digits; predicted; gold).
_EXAMPLES = {
    6: (
        "0d186b531f6c0b31 joy joy, 0d5c24a636b7cc69 sadness sadness, ff4058508850bc40 anger anger,"
        "9a43e9a244027aeb fear fear, f452198145ed93bb love love, ced93a46d8138b45 fear surprise,"
        "8c9fe2f307b0888e joy love, 8c9fe2f307b0888e joy sadness, 8c9fe2f307b0888e surprise fear,"
        "e6ca138942297d30 sadness fear, 6858d79ac35411ce joy surprise"
    ),
    7: (
        "876e29ad5775a158 joy joy, 52911a8ae8f93249 sadness sadness, 439dfdc603c4fd84 anger anger,"
        "83f74f1dce3c6358 fear fear, f452198145ed93bb love love, 2c21def56ad4baaa love joy,"
        "e7cdc2a197b700db sadness anger, 2aa6d9e4aad46baa love joy, 27b785df32747d97 joy surprise,"
        "5120513826aa465e anger sadness, 1c5ad0886fa12d21 joy surprise"
    ),
}
EXAMPLES: tuple[PublishedExample, ...] = tuple(
    PublishedExample(table, *row.split()) for table, rows in _EXAMPLES.items() for row in rows.split(",")
)

#: Trainable parameters of BERT-base with six labels, the head counted once, by (table, r). Ours.
TRAINABLE = {
    (3, 2): 78_342, (3, 8): 299_526, (3, 32): 1_184_262,
    (4, 2): 339_462, (4, 8): 1_344_006, (4, 32): 5_362_182,
}  # fmt: skip

NOTES: tuple[Note, ...] = (
    Note((3, 4), "LoRA on “attention” means the key, query and value matrices",
         "the printed parameter counts fit query and value only, PEFT's default for BERT; “attention + linear” is"
         " query, key, value and every dense layer, the pooler's too. Both readings can be run: targets qv and qkv"),
    Note((3, 4), "82,956 / 304,140 / 1,188,876 and 344,076 / 1,348,620 / 5,366,796 trainable parameters (r 2 / 8 / 32)",
         "the 4,614 parameters of the head are counted twice; once, it is 78,342 / 299,526 / 1,184,262 and"
         " 339,462 / 1,344,006 / 5,362,182"),
    Note((2,), "108M trainable parameters, 99 %",
         "BERT-base with six labels has 109,486,854 parameters, and full fine-tuning trains all of them"),
    Note((2, 3, 4), "“steps per second” shows no difference in speed",
         "the row is the planned 10,000 steps divided by the runtime, although every run stopped early. Steps taken per"
         " second, evaluation included: full 0.55-0.60, attention 0.68-0.73, attention + linear 0.55-0.60"),
    Note((4,), "5,250 steps in 6,354 s for r 32 at learning rate 0.0003",
         "that is 0.83 steps per second where every other run of the table made 0.55-0.60: one of the two is doubtful"),
    Note((2,), "2.221 and 1.172 steps per second in the third and fourth column",
         "10,000 / 5,843 s is 1.711 and 10,000 / 4,523 s is 2.211: the two cells look exchanged and mistyped"),
    Note((4,), "LoRA on attention + linear needs more memory than full fine-tuning; the cause is left open",
         "each LoRA module with dropout keeps its own dropped-out copy of its input; see the section on memory"),
    Note((5,), "full fine-tuning is best on the test set",
         "with 2,000 examples each accuracy is known to about ±1.1 points only, so the three rows cannot be told apart."
         " A paired test would need the predictions, which were not published"),
    Note((5,), "one seed a setting",
         "the head and the LoRA matrices were drawn before the seed was set, so the runs cannot be repeated exactly"),
    Note((6,), "one sentence stands in three rows with three gold labels and two different predictions",
         "the data hold it once, with the label love, and a fixed model gives a text one answer: two of the rows cannot"
         " be right"),
    Note((2, 3, 4), "Adam's second beta is 0.99", "the code leaves the default, 0.999"),
)  # fmt: skip


def find_runs(method: str, targets: str, r: int | None, rate: float, decay: float) -> tuple[PublishedRun, str] | None:
    """The published cell that a setting repeats, and in which reading.

    Args:
        method: only `full` and `lora` are in the paper.
        targets: resolved target name; `qv` is what the code did, `qkv` what the text says.
        r: LoRA rank.
        rate, decay: learning rate and weight decay.

    Returns:
        (run, reading) where reading is "", "as the code did" or "as the text says"; None if there is no such cell.
    """
    readings = {"qv": (3, "as the code did"), "qkv": (3, "as the text says"), "qkv+dense": (4, "as the code did")}
    readings |= {"attention": readings["qkv"], "attention+linear": readings["qkv+dense"]}
    table, reading = (2, "") if method == "full" else readings.get(targets, (0, "")) if method == "lora" else (0, "")
    for run in RUNS:
        same_rank = method == "full" or run.r == r
        if run.table == table and same_rank and _near(run.learning_rate, rate) and _near(run.weight_decay, decay):
            return run, reading
    return None


def _near(one: float, other: float) -> bool:
    return abs(one - other) <= 1e-9 + 1e-6 * abs(one)
