"""The paper behind `fuse` in plain words: what it claims, what its code does, and what is done here. Not here: numbers.

Example:
    >>> len(faults().rows)
    6
"""

from __future__ import annotations

from tunelet.report.tables import Column, Row, Table

#: what the paper claims, and how far that can be looked at here
PAPER = (
    "The paper trains one LoRA adapter for each of several tasks over one frozen encoder, lets attention mix what the"
    " adapters' models say to a text, and claims that tasks help each other so. It gives no table of results in public;"
    " the table above is ours alone. The claim holds where attention is above the target's own adapter, above the mean"
    " of the experts and above a feed-forward part of the same size, in the same sweep; a fusion that is level with the"
    " mean needs the experts, and no attention.",
    "Every method here has a head that trains, the same training examples and the same validation split to choose its"
    " checkpoint. A fusion has seen the other tasks' data through their experts; single has not. That is the question,"
    " not an unfairness, but it is why leave-target-out and merging stand beside it where the recipe has them.",
    "A fusion also reads the mean over all tokens, with a new last layer, where single reads what its own training"
    " left. A run with other_experts: false does that and no more: the rest of a gain is what other tasks know.",
)


def faults() -> Table:
    """What the paper's code does, and what is done here."""
    rows = (
        (
            "attention",
            "runs across the texts of a batch, never across experts: an answer depends on who else is asked",
            "attention is over the experts of one text; a test holds that neither order nor company of a batch matters",
        ),
        (
            "baseline",
            "the single-task adapter keeps a head of random weights that does not train",
            "its head trains; the single-task run is the very adapter that the fusion uses as the target's expert",
        ),
        ("pooling", "the mean over tokens includes padding", "padding counts nothing"),
        ("dropout", "experts stay in training mode while the fusion trains", "experts are frozen, without dropout"),
        ("selection", "the best epoch is chosen on the test split", "validation chooses; test is read once"),
        (
            "learning rate",
            "2e-5 hardly moves the adapters of small tasks, so that their experts are nearly the base",
            "the recipe's rate is one for LoRA, and the experts' own scores are in the table (single)",
        ),
    )
    columns = (Column("what", text=True), Column("in the paper's code", text=True, prose=True),
               Column("here", text=True, prose=True))  # fmt: skip
    return Table("Faults of the paper's code that are not here", columns, tuple(map(Row, rows)))
