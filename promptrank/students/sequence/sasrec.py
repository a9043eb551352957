"""``sequence``: a SASRec-like network over a member's events, item texts and ids.

It learns in PyTorch and is served in numpy: a process that only ranks loads no torch.

An item is the mean of its words' embeddings (words of its texts and ``field=value`` of its
categories, hashed into 8,192 rows, so that a new item with known words is no stranger) plus an
embedding of its id where training saw it twice. It has at most 32 such rows: categories first, then
words in the order of their hashes. A subject has as many: categories, then words of query, source
and member. A category's value that training did not see has no row of its own, and rows that no
training candidate reached are zero. Events run through causal attention; subject,
candidate, their product and the columns of `promptrank.students.features` (standardised) go to
a head. Weights are safetensors.

Options: ``dim`` (32), ``layers`` (2), ``heads`` (2), ``last`` (50 events), ``epochs`` (30),
``learning_rate`` (0.002), ``batch`` (64 requests), ``patience`` (3 epochs), ``dropout`` (0.1, or
``[0.5, 0.1]`` from the lowest layer to the highest), ``optimizer`` (``adam``, or
``adam_then_sgd``: plain SGD from the best weights once Adam no longer gains).
"""

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from promptrank.basics.arrays import Floats, Singles
from promptrank.basics.seals import read_kept, write_sealed
from promptrank.basics.telling import Say
from promptrank.errors import InputError, ModelError
from promptrank.records import Item, Request
from promptrank.schema.task import Task
from promptrank.students.column_plan import ColumnPlan, make_plan
from promptrank.students.features import CACHED, Features
from promptrank.students.kept import AGAIN, KeptScale, kept_scales, read_columns, read_scales
from promptrank.students.kind_options import (
    Options,
    dropout,
    one_of,
    positive,
    read_options,
    whole,
)
from promptrank.students.lessons import Learning, Lessons, check, collect, tally_rows
from promptrank.students.scale import Scale
from promptrank.students.sequence.inputs import BUCKETS, Inputs, Shape
from promptrank.students.sequence.served import ServedNetwork

OPTIONS: Options = {
    "dim": (32, whole()),
    "layers": (2, whole()),
    "heads": (2, whole()),
    "last": (50, whole()),
    "epochs": (30, whole()),
    "learning_rate": (0.002, positive),
    "batch": (64, whole()),
    "patience": (3, whole()),
    "dropout": (0.1, dropout),
    "optimizer": ("adam", one_of("adam", "adam_then_sgd")),
}
_SEEN = 2  # occurrences from which an item has an embedding of its own
_UNSEEN = "an item seen less than twice in training, its words stand for it"


@dataclass(frozen=True, slots=True)
class SequenceFile:
    """What ``inputs.json`` holds; a spread of null is a column that is off."""

    plan: ColumnPlan
    centre: tuple[float, ...]
    spread: tuple[float | None, ...]
    ids: tuple[str, ...]
    shape: Shape
    scales: Mapping[str, KeptScale]
    facts: Mapping[str, Any]


class SequenceStudent:
    """The network with its inputs and one scale per question."""

    def __init__(
        self,
        inputs: Inputs,
        network: ServedNetwork,
        scales: Mapping[str, Scale],
        facts: Mapping[str, Any],
    ) -> None:
        self.inputs, self.network, self.scales, self._facts = inputs, network, scales, facts
        self._items: dict[Any, tuple[Singles, bool]] = {}
        self._unseen = 0

    def answers(self, request: Request) -> Mapping[str, Floats]:
        """Question -> (candidates, answers) log-probabilities."""
        inputs, network = self.inputs, self.network
        candidates = [self._item(c.item) for c in request.candidates]
        self._unseen += sum(not seen for _, seen in candidates)
        past = request.history[-inputs.last :] if inputs.last else ()
        user = network.user(
            inputs.subject(request),
            [self._item(e.item)[0] for e in past],
            [inputs.features.worth_of(e) for e in past],
        )
        items = np.array([vector for vector, _ in candidates]).reshape(len(candidates), -1)
        outputs = network.head(user, items, inputs.dense(request)).astype(np.float64)
        return {
            name: scale.log_probabilities(outputs[:, i])
            for i, (name, scale) in enumerate(self.scales.items())
        }

    def _item(self, item: Item) -> tuple[Singles, bool]:
        """The item's vector, and whether training saw its id twice."""
        entry = self._items.get(item.key) if item.key is not None else None
        if entry is None:
            words, row = self.inputs.item(item)
            entry = self.network.item(words, row), row > 0
            if item.key is not None:
                if len(self._items) >= CACHED:
                    self._items.clear()
                self._items[item.key] = entry
        return entry

    def notes(self) -> tuple[str, ...]:
        """Fall-backs, with how many values."""
        counted = Counter(self.inputs.features.fallbacks)
        if self._unseen:
            counted[_UNSEEN] = self._unseen
        return tuple(f"{what} ({count:,} times)" for what, count in sorted(counted.items()))

    def facts(self) -> Mapping[str, Any]:
        """Epochs, sizes, what was skipped."""
        return self._facts

    def save(self, folder: Path) -> None:
        """``weights.safetensors`` without the second output, and ``inputs.json``."""
        save_file(dict(self.network.weights), folder / "weights.safetensors")
        inputs = self.inputs
        given = {
            "plan": inputs.features.plan.as_dict(),
            "centre": inputs.centre.tolist(),
            # JSON has no infinity: null is a column that is off.
            "spread": [s if math.isfinite(s) else None for s in inputs.spread.tolist()],
            "ids": list(inputs.ids),
            "shape": asdict(self.network.shape),
            "scales": kept_scales(self.scales),
            "facts": self._facts,
        }
        write_sealed(folder / "inputs.json", given, indent=None)


def load(task: Task, folder: Path, threads: int | None) -> SequenceStudent:
    """Read a student's folder.

    Args:
        threads: makes no difference; the matrices are too small to be shared.

    Raises:
        ModelError: files that are missing, or are not what was written.
    """
    path, weights = folder / "inputs.json", folder / "weights.safetensors"
    kept = read_kept(path, SequenceFile, what="a sequence student's", error=ModelError, then=AGAIN)
    features = read_columns(kept.plan, task, path)
    shape, columns = kept.shape, len(features.names)
    sizes = (shape.dense, len(kept.centre), len(kept.spread), shape.outputs, shape.ids)
    if sizes != (columns, columns, columns, len(task.questions), len(kept.ids)):
        raise ModelError(f"{path}: its parts are not of one size; {AGAIN}")
    if min(shape.dim, shape.heads) < 1 or shape.dim % shape.heads or shape.buckets != BUCKETS:
        raise ModelError(f"{path}: its shape is no network's; {AGAIN}")
    try:
        network = ServedNetwork(shape, load_file(weights))
    except (OSError, ValueError, KeyError, TypeError, RuntimeError, SafetensorError) as error:
        first = next(iter(str(error).splitlines()), type(error).__name__)
        raise ModelError(f"{weights}: not a whole sequence student ({first}); {AGAIN}") from None
    spread = np.array([math.inf if s is None else s for s in kept.spread])
    ids = {item: i for i, item in enumerate(kept.ids, 1)}
    inputs = Inputs(features, np.array(kept.centre), spread, ids, shape.last)
    return SequenceStudent(inputs, network, read_scales(kept.scales, task, path), kept.facts)


def check_options(settings: Learning) -> dict[str, Any]:
    """All options, typed.

    Raises:
        InputError: an option that is not known, or a value that it cannot have.
    """
    options = read_options("sequence", settings.options, OPTIONS)
    if options["dim"] % options["heads"]:
        raise InputError(
            f"sequence, option heads={options['heads']}: expected a divisor of dim={options['dim']}"
        )
    return options


def fit(task: Task, lessons: Lessons, settings: Learning, say: Say) -> SequenceStudent:
    """Learn all questions at once.

    Raises:
        DataError: too few labels.
        InputError: an option that is not known, or a value that it cannot have.
    """
    options = check_options(settings)
    # Here, so that serving needs no torch.
    from promptrank.students.sequence.learn import learn

    plan = make_plan(x.request for x in lessons() if x.request.split != "valid")
    features = Features(plan, task)
    rows = collect(task, lessons())
    check(tally_rows(task, rows), settings)
    requests = [x.request for x in lessons()]
    train = np.concatenate([features.rows(r) for r in requests])[~rows.valid]
    last = options["last"]
    inputs = Inputs(features, *_standard(train, features), _ids(requests, last), last)
    features.fallbacks.clear()
    shape = Shape(
        BUCKETS,
        len(inputs.ids),
        len(features.names),
        len(task.questions),
        *(options[name] for name in ("dim", "layers", "heads", "last")),
    )
    weights, scales, facts = learn(shape, inputs.batch, requests, rows, settings, options, say)
    facts |= {"columns": list(features.names), "items": len(inputs.ids), "options": options}
    facts |= {"skipped": dict(plan.skipped)}
    return SequenceStudent(inputs, ServedNetwork(shape, weights), scales, facts)


def _standard(train: Floats, features: Features) -> tuple[Floats, Floats]:
    """Mean and spread per column; columns of codes, and constant ones, are turned off."""
    known = ~np.isnan(train)
    count = np.maximum(known.sum(0), 1)
    centre = np.where(known, train, 0).sum(0) / count
    spread = np.sqrt(np.where(known, (train - centre) ** 2, 0).sum(0) / count)
    spread[(spread < 1e-9) | np.isin(np.arange(len(spread)), features.categorical)] = math.inf
    return centre, spread


def _ids(requests: Sequence[Request], last: int) -> dict[str, int]:
    counts = Counter(i for r in requests if r.split != "valid" for i in _items_of(r, last))
    kept = sorted(item for item, count in counts.items() if count >= _SEEN)
    return {item: i for i, item in enumerate(kept, 1)}


def _items_of(request: Request, last: int) -> Iterator[str]:
    yield from (c.item.item_id for c in request.candidates)
    yield from (e.item.item_id for e in (request.history[-last:] if last else ()))
