"""``gbdt``: boosted trees over declared fields, text statistics and history (LightGBM).

Options: ``objective`` (``pointwise``, or ``lambdamart`` for losses with one output), ``rounds``
(500), ``leaves`` (31), ``learning_rate`` (0.05), ``min_leaf`` (rows; by the number of rows where
left out), ``patience`` (50 rounds without gain on ``valid``).

How trees grow, and how two outputs share them: `promptrank.students.gbdt.boosting`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import lightgbm as lgb
import numpy as np

from promptrank.basics.arrays import Floats
from promptrank.basics.digests import file_digest
from promptrank.basics.seals import read_kept, write_sealed
from promptrank.basics.telling import Say
from promptrank.errors import DataError, InputError, ModelError
from promptrank.records import Request
from promptrank.schema.task import Task
from promptrank.students.column_plan import ColumnPlan, make_plan
from promptrank.students.features import Features
from promptrank.students.gbdt.boosting import Boosting
from promptrank.students.kept import AGAIN, KeptScale, kept_scales, read_columns, read_scales
from promptrank.students.kind_options import Options, one_of, positive, read_options, whole
from promptrank.students.lessons import Learning, Lessons, check, collect, tally_rows
from promptrank.students.scale import Scale

OPTIONS: Options = {
    "objective": ("pointwise", one_of("pointwise", "lambdamart")),
    "rounds": (500, whole()),
    "leaves": (31, whole(2)),
    "learning_rate": (0.05, positive),
    "min_leaf": (None, whole()),
    "patience": (50, whole()),
}


@dataclass(frozen=True, slots=True)
class GbdtFile:
    """What ``features.json`` holds.

    Attributes:
        boosters: question -> SHA-256 of its LightGBM text. LightGBM's parser ends the process on a
            damaged text, so no text without a digest is ever given to it.
    """

    plan: ColumnPlan
    scales: Mapping[str, KeptScale]
    facts: Mapping[str, Any]
    boosters: Mapping[str, str] | None = None


class Gbdt:
    """One booster and one scale per question, over shared columns."""

    def __init__(
        self,
        features: Features,
        boosters: Mapping[str, lgb.Booster],
        scales: Mapping[str, Scale],
        facts: Mapping[str, Any],
        threads: int = 1,
    ) -> None:
        self.features, self.boosters, self.scales = features, boosters, scales
        self._facts, self._threads = facts, threads

    def answers(self, request: Request) -> Mapping[str, Floats]:
        """Question -> (candidates, answers) log-probabilities."""
        rows = self.features.rows(request)
        return {
            name: scale.log_probabilities(self._output(self.boosters[name], rows))
            for name, scale in self.scales.items()
        }

    def _output(self, booster: lgb.Booster, rows: Floats) -> Floats:
        if not booster.num_trees():
            return np.zeros(len(rows))
        output: Floats = np.asarray(
            booster.predict(rows, raw_score=True, num_threads=self._threads), dtype=np.float64
        )
        return output

    def notes(self) -> tuple[str, ...]:
        """Fall-backs, with how many values."""
        counted = sorted(self.features.fallbacks.items())
        return tuple(f"{what} ({count:,} times)" for what, count in counted)

    def facts(self) -> Mapping[str, Any]:
        """Rounds, columns, what was skipped."""
        return self._facts

    def save(self, folder: Path) -> None:
        """``features.json``, and ``<question>.lgb.txt`` for each question."""
        for name, booster in self.boosters.items():
            booster.save_model(_text_of(folder, name))
        given = {
            "plan": self.features.plan.as_dict(),
            "scales": kept_scales(self.scales),
            "facts": self._facts,
            "boosters": {name: file_digest(_text_of(folder, name)) for name in self.boosters},
        }
        write_sealed(folder / "features.json", given, indent=1)


def load(task: Task, folder: Path, threads: int | None) -> Gbdt:
    """Read a student's folder.

    Raises:
        ModelError: a file that is missing, is not what was written, or has no digest.
    """
    path = folder / "features.json"
    kept = read_kept(path, GbdtFile, what="a gbdt student's", error=ModelError, then=AGAIN)
    scales = read_scales(kept.scales, task, path)
    features = read_columns(kept.plan, task, path)
    if kept.boosters is None:
        raise ModelError(
            f"{path}: has no digests of its trees, as of older versions, and a damaged text "
            f"of trees would end the process; {AGAIN} (its teacher's answers are kept)"
        )
    boosters = {
        name: _booster(_text_of(folder, name), kept.boosters.get(name), len(features.names))
        for name in scales
    }
    return Gbdt(features, boosters, scales, kept.facts, threads or 1)


def _booster(path: Path, digest: str | None, columns: int) -> lgb.Booster:
    """The trees in a text that is known to be whole."""
    try:
        text = path.read_bytes()
    except OSError as error:
        raise ModelError(f"{path}: cannot be read ({error.strerror}); {AGAIN}") from None
    if sha256(text).hexdigest() != digest:
        raise ModelError(
            f"{path}: is not what was written: it was damaged or changed since; copy the student "
            f"again, or {AGAIN}"
        )
    try:
        booster = lgb.Booster(model_str=text.decode("utf-8"))
    except (ValueError, lgb.basic.LightGBMError) as error:
        raise ModelError(f"{path}: LightGBM cannot read it ({error}); {AGAIN}") from None
    if booster.num_feature() != columns:
        raise ModelError(
            f"{path}: trees over {booster.num_feature()} columns, and features.json has {columns}; "
            f"{AGAIN}"
        )
    return booster


def _text_of(folder: Path, question: str) -> Path:
    return folder / f"{question}.lgb.txt"


def fit(task: Task, lessons: Lessons, settings: Learning, say: Say) -> Gbdt:
    """Learn one booster per question.

    Raises:
        DataError: too few labels, or no column that changes.
        InputError: an option that is not known or a value it cannot have, or lambdamart with two
            outputs.
    """
    options = check_options(settings)
    plan = make_plan(x.request for x in lessons() if x.request.split != "valid")
    features = Features(plan, task)
    rows = collect(task, lessons())
    check(tally_rows(task, rows), settings)
    table = np.concatenate([features.rows(x.request) for x in lessons()])
    features.fallbacks.clear()
    constant = _constant(table[~rows.valid], features.names)
    if len(constant) == len(features.names):
        raise DataError(
            "no column of the training requests ever changes; there is nothing to learn"
        )
    boosters, scales, rounds = {}, {}, {}
    for name, known in rows.known.items():
        say(f"{name}: boosting on {int((~rows.valid).sum()):,} rows, {len(features.names)} columns")
        fitted = Boosting(table, features, rows, known, settings, options)
        boosters[name], scales[name] = fitted.run()
        rounds[name] = boosters[name].num_trees()
    facts = {
        "rounds": rounds,
        "columns": list(features.names),
        "constant": constant,
        "skipped": dict(plan.skipped),
        "options": options,
    }
    return Gbdt(features, boosters, scales, facts)


def check_options(settings: Learning) -> dict[str, Any]:
    """All options, typed.

    Raises:
        InputError: an option that is not known or a value it cannot have, or lambdamart with two
            outputs.
    """
    options = read_options("gbdt", settings.options, OPTIONS)
    if options["objective"] == "lambdamart" and settings.loss not in ("labels", "direct"):
        raise InputError(
            f"lambdamart has one output and loss {settings.loss} needs two; use loss labels or "
            "direct, or objective pointwise"
        )
    return options


def _constant(table: Floats, names: tuple[str, ...]) -> list[str]:
    constant = []
    for i, name in enumerate(names):
        column = table[:, i]
        gone = np.isnan(column)
        if gone.all() or (not gone.any() and column.min() == column.max()):
            constant.append(name)
    return constant
