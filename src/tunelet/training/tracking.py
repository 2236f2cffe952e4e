"""Where the figures of a run go while it trains: always a JSON Lines file, and the trackers that a recipe names.

The file is the record: reports read it, and a resumed run continues it to the byte. Trackers (Trackio, Weights &
Biases, MLflow, TensorBoard) are mirrors of it, opened through Accelerate. One that cannot be opened stops the run
before its first step; one that fails later is dropped with a logged warning, because hours of training are worth more
than a mirror.

Nothing is sent anywhere unless the user's environment asks for it: W&B runs offline unless WANDB_MODE or WANDB_API_KEY
is set, MLflow writes into the run's folder unless MLFLOW_TRACKING_URI is set, and Trackio keeps its local database.

Example:
    >>> rows = JsonlTracker(Path("metrics.jsonl"))                          # doctest: +SKIP
    >>> rows.log({"epoch": 0.25, "validation": {"accuracy": 0.9}}, step=250)  # doctest: +SKIP
    >>> mirrors = open_trackers(["tensorboard"], "lora-seed1", {"seed": 1}, Path("run"))  # doctest: +SKIP
    >>> mirrors.log({"epoch": 0.25, "validation": {"accuracy": 0.9}}, step=250)           # doctest: +SKIP
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import json
import logging
import math
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from tunelet.base.errors import InputError, MissingExtraError, Problem, ResumeError, TrainingError
from tunelet.base.registry import Registry, unknown_name

if TYPE_CHECKING:
    from accelerate.tracking import GeneralTracker

PROJECT = "tunelet"
"""The name under which trackers collect runs (W&B and Trackio: project; MLflow: experiment)."""

logger = logging.getLogger(__name__)


class Tracker(Protocol):
    """Takes the figures of a run."""

    def log(self, values: Mapping[str, Any], step: int) -> None:
        """Take figures of one step; dictionaries may be nested (``{"validation": {"accuracy": 0.9}}``)."""

    def finish(self) -> None:
        """Nothing more will come."""


class JsonlTracker:
    """One JSON object per line: ``{"step": 250, "epoch": 0.25, ...}``, flushed at once so that it can be followed.

    Rows hold what they are given, in that order; NaN and infinity become null, which JSON can say. There is no
    time in a row: two equal runs write equal files.

    Args:
        path: The file. An existing one is emptied, unless `load_state_dict` is called before the first `log`.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._bytes = 0
        self._opened = False

    def log(self, values: Mapping[str, Any], step: int) -> None:
        """Append one row."""
        row = json.dumps({"step": step, **_finite(values)}, ensure_ascii=False, allow_nan=False) + "\n"
        data = row.encode()
        with self._open() as file:
            file.write(data)
        self._bytes += len(data)

    def finish(self) -> None:
        """Make sure that the file exists and is on disk."""
        with self._open() as file:
            os.fsync(file.fileno())

    def state_dict(self) -> dict[str, int]:
        """The length of the file in bytes, which is on disk when this returns."""
        self.finish()
        return {"bytes": self._bytes}

    def load_state_dict(self, state: Mapping[str, int]) -> None:
        """Cut the file to the length it had, so that rows written after the saved state are written once.

        Raises:
            ResumeError: The state has no length, or the file is shorter: rows are missing that cannot be made again.
        """
        if "bytes" not in state:
            raise ResumeError(f"{self.path}: the saved state does not say how long this file was ('bytes')")
        found = self.path.stat().st_size if self.path.exists() else 0
        if found < state["bytes"]:
            raise ResumeError(
                f"{self.path}: expected at least {state['bytes']} bytes, found {found}; "
                "the file was changed after the state was saved: remove the run's folder to start it anew"
            )
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.path.touch()
        os.truncate(self.path, state["bytes"])
        self._bytes = state["bytes"]
        self._opened = True

    def _open(self) -> Any:
        mode = "ab" if self._opened else "wb"
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._opened = True
        return open(self.path, mode)


class Mirrors:
    """Several trackers as one. A tracker that raises is dropped with a logged warning; the others go on."""

    def __init__(self, trackers: Mapping[str, Tracker]) -> None:
        self._trackers = dict(trackers)

    @property
    def names(self) -> tuple[str, ...]:
        """Those still in use."""
        return tuple(self._trackers)

    def log(self, values: Mapping[str, Any], step: int) -> None:
        """Pass the figures to each tracker."""
        self._each(lambda tracker: tracker.log(values, step))

    def finish(self) -> None:
        """Close each tracker; a second call does nothing."""
        self._each(lambda tracker: tracker.finish())
        self._trackers.clear()

    def _each(self, call: Callable[[Tracker], None]) -> None:
        for name, tracker in list(self._trackers.items()):
            try:
                call(tracker)
            except Exception as error:  # whatever a third party raises, the run goes on; the record is the JSONL file
                del self._trackers[name]
                logger.warning("tracker %s failed and gets no more figures: %s: %s", name, type(error).__name__, error)


class AccelerateTracker:
    """One of Accelerate's trackers behind our protocol: nested figures become ``validation/accuracy``."""

    def __init__(self, inner: GeneralTracker, finish: Callable[[], None] | None = None) -> None:
        self._inner = inner
        self._finish = finish if finish is not None else inner.finish

    def log(self, values: Mapping[str, Any], step: int) -> None:
        """Log the numbers among `values`; None and non-finite ones are left out, as no tracker can draw them."""
        numbers = {
            name: value
            for name, value in flatten(values).items()
            if isinstance(value, int | float) and math.isfinite(value)
        }
        if numbers:
            with _quiet_stdout():
                self._inner.log(numbers, step=step)

    def finish(self) -> None:
        """Close it. W&B may write its last rows after this, but before Python ends."""
        with _quiet_stdout():
            self._finish()


Opener = Callable[[str, dict[str, Any], Path], AccelerateTracker]
"""Takes the run's name, its flat configuration and the folder for local files."""

_OPENERS: Registry[Opener] = Registry("tracker")


def open_trackers(names: Sequence[str], run_name: str, config: Mapping[str, Any], folder: Path) -> Mirrors:
    """Open trackers for one run.

    Of several processes only the main one opens anything. Call it after the run's `Accelerator` exists, whose view of
    the processes it shares.

    Args:
        names: Any of "mlflow", "tensorboard", "trackio", "wandb"; repeated names count once. May be empty.
        run_name: What the trackers call the run.
        config: The run's settings; nesting is flattened to dotted keys.
        folder: The run's folder; local files go below ``folder/tracking``.

    Raises:
        InputError: A name is not known. All unknown names are told at once.
        MissingExtraError: The package of a tracker is not installed.
        TrainingError: A tracker could not be opened; those opened before it are closed.
    """
    names = list(dict.fromkeys(names))  # in order, each once
    unknown = [name for name in names if name not in _OPENERS]
    if unknown:
        raise InputError([Problem(unknown_name("tracker", name, _OPENERS), field="trackers") for name in unknown])
    require_trackers(names)
    opened: dict[str, Tracker] = {}
    if not names or not _is_main_process():
        return Mirrors(opened)
    for name in names:
        try:
            with _quiet_stdout():
                opened[name] = _OPENERS.get(name)(run_name, flatten(config, separator="."), folder / "tracking")
        except Exception as error:  # third parties raise anything here: a wrong URL, a full disk, a lock
            Mirrors(opened).finish()
            raise TrainingError(
                f"tracker {name} could not be opened: {type(error).__name__}: {error}. "
                f"Hint: mend it, or take {name!r} out of training.trackers"
            ) from error
    return Mirrors(opened)


def require_trackers(names: Sequence[str]) -> None:
    """Check, without importing them, that the packages of trackers are installed.

    Raises:
        MissingExtraError: those that are not.
    """
    missing = [name for name in dict.fromkeys(names) if not _installed(name)]
    if missing:
        raise MissingExtraError("track", f"tracking by {', '.join(missing)}")


@_OPENERS.register("tensorboard")
def _tensorboard(run_name: str, config: dict[str, Any], folder: Path) -> AccelerateTracker:
    from accelerate.tracking import TensorBoardTracker

    (folder / "tensorboard").mkdir(parents=True, exist_ok=True)
    return _start(TensorBoardTracker(run_name, logging_dir=str(folder / "tensorboard")), config)


@_OPENERS.register("trackio")
def _trackio(run_name: str, config: dict[str, Any], folder: Path) -> AccelerateTracker:
    from accelerate.tracking import TrackioTracker

    # Its own sampling of processor and graphics card is off: it would compete with the run that it watches.
    tracker = TrackioTracker(
        PROJECT, name=run_name, config=config, resume="allow", embed=False, auto_log_cpu=False, auto_log_gpu=False
    )
    # Accelerate closes the run only; Trackio would close it again, and say so on standard output, when Python ends.
    return _start(tracker, finish=_module("trackio").finish)


@_OPENERS.register("wandb")
def _wandb(run_name: str, config: dict[str, Any], folder: Path) -> AccelerateTracker:
    from accelerate.tracking import WandBTracker

    folder.mkdir(parents=True, exist_ok=True)
    options: dict[str, Any] = {}
    if "WANDB_MODE" not in os.environ and "WANDB_API_KEY" not in os.environ:
        os.environ.setdefault("WANDB_ERROR_REPORTING", "false")  # offline is meant in full
        options["mode"] = "offline"
    # Neither its sampling of the machine nor its capture of our output: the first competes with the run, the second
    # would take hold of the progress bar.
    settings = _module("wandb").Settings(console="off", silent=True, x_disable_stats=True)
    return _start(WandBTracker(PROJECT, name=run_name, config=config, dir=str(folder), settings=settings, **options))


@_OPENERS.register("mlflow")
def _mlflow(run_name: str, config: dict[str, Any], folder: Path) -> AccelerateTracker:
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")  # read when mlflow is imported
    from accelerate.tracking import MLflowTracker

    mlflow = _module("mlflow")
    artifacts = None
    if "MLFLOW_TRACKING_URI" not in os.environ:
        store = (folder / "mlflow").resolve()
        store.mkdir(parents=True, exist_ok=True)
        if _installed("sqlalchemy") and _installed("alembic"):
            mlflow.set_tracking_uri(f"sqlite:///{store / 'mlflow.db'}")
            artifacts = (store / "artifacts").as_uri()
        else:  # mlflow-skinny comes without a database, and asks for consent to the older store of plain files
            os.environ.setdefault("MLFLOW_ALLOW_FILE_STORE", "true")
            mlflow.set_tracking_uri(store.as_uri())
    return _start(MLflowTracker(PROJECT, run_name=run_name, logging_dir=artifacts), config)


def _start(
    tracker: GeneralTracker, config: dict[str, Any] | None = None, finish: Callable[[], None] | None = None
) -> AccelerateTracker:
    tracker.start()
    if config:
        tracker.store_init_configuration(config)
    return AccelerateTracker(tracker, finish)


def flatten(values: Mapping[str, Any], *, separator: str = "/", prefix: str = "") -> dict[str, Any]:
    """Nested dictionaries as one, keys joined; lists become JSON text and None "null", which all trackers take in a
    configuration.

    Example:
        >>> flatten({"validation": {"accuracy": 0.9}, "betas": [0.9, 0.999]})
        {'validation/accuracy': 0.9, 'betas': '[0.9, 0.999]'}
    """
    flat: dict[str, Any] = {}
    for key, value in values.items():
        name = f"{prefix}{key}"
        if isinstance(value, Mapping):
            flat.update(flatten(value, separator=separator, prefix=f"{name}{separator}"))
        elif isinstance(value, bool | int | float | str):
            flat[name] = value
        else:
            flat[name] = json.dumps(value, default=str)
    return flat


def _finite(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, Mapping):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return value


def _is_main_process() -> bool:
    from accelerate import PartialState

    return bool(PartialState().is_main_process)  # also what Accelerate's trackers need in order to log at all


def _module(name: str) -> Any:
    return importlib.import_module(name)


def _installed(package: str) -> bool:
    return importlib.util.find_spec(package) is not None


@contextlib.contextmanager
def _quiet_stdout() -> Iterator[None]:
    """Trackers greet on standard output, which belongs to what a command returns: send it to standard error."""
    with contextlib.redirect_stdout(sys.stderr):
        yield
