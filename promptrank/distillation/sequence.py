"""``sequence``: a SASRec-like network over a member's events, item texts and ids (PyTorch).

An item is the mean of its words' embeddings (words of its texts and ``field=value`` of its
categories, hashed into 8,192 rows, so that a new item with known words is no stranger) plus an
embedding of its id where training saw it twice. Events run through causal attention; subject,
candidate, their product and the columns of `promptrank.distillation.features` (standardised) go to
a head. Weights are safetensors.

Options: ``dim`` (32), ``layers`` (2), ``heads`` (2), ``last`` (50 events), ``epochs`` (30),
``learning_rate`` (0.002), ``batch`` (64 requests), ``patience`` (3 epochs), ``dropout`` (0.1, or
``[0.5, 0.1]`` from the lowest layer to the highest), ``optimizer`` (``adam``, or
``adam_then_sgd``: plain SGD from the best weights once Adam no longer gains).
"""

import json
import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any
from zlib import crc32

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from promptrank.distillation import fields as f
from promptrank.distillation.features import Features
from promptrank.distillation.lessons import Lessons, Settings, check, collect
from promptrank.distillation.losses import Floats
from promptrank.distillation.plan import make_plan, plan_from_dict
from promptrank.distillation.scale import Scale
from promptrank.distillation.sequence_fit import OPTIONS, optimise
from promptrank.distillation.sequence_model import Batch, Network, Shape, layer_dropout
from promptrank.distillation.student import Say
from promptrank.errors import InputError, ModelError
from promptrank.records import Item, Request
from promptrank.schema.task import Task

BUCKETS = 8192
_WORDS = 32  # of one item or subject
_SEEN = 2  # occurrences from which an item has an embedding of its own


class Inputs:
    """Requests to batches: everything about them that is learned before the weights.

    Attributes:
        centre, spread: (columns,) of the features, as training had them.
        ids: item id -> row of its embedding.
    """

    def __init__(
        self, features: Features, centre: Floats, spread: Floats, ids: Mapping[str, int], last: int
    ) -> None:
        self.features, self.centre, self.spread = features, centre, spread
        self.ids, self.last = ids, last
        self._items: dict[Any, list[int]] = {}
        self._categories = [n[5:] for n in features.plan.categories if n.startswith("item.")]

    def batch(self, requests: Sequence[Request]) -> Batch:
        """Requests side by side."""
        past = [r.history[-self.last :] if self.last else () for r in requests]
        events = [[self._item(e.item) for e in one] for one in past]
        length = max(map(len, events), default=0)
        width = max((len(w) for one in events for w, _ in one), default=0) or 1
        words = np.zeros((len(requests), length, width), dtype=np.int64)
        ids = np.zeros((len(requests), length), dtype=np.int64)
        worth = np.zeros((len(requests), length), dtype=np.float32)
        for i, one in enumerate(events):
            for j, (found, row) in enumerate(one):
                words[i, j, : len(found)], ids[i, j] = found, row
                worth[i, j] = self.features.worth_of(past[i][j])
        rows = [self._item(c.item) for r in requests for c in r.candidates]
        dense = np.concatenate([self._dense(r) for r in requests])
        number = np.repeat(np.arange(len(requests)), [len(r.candidates) for r in requests])
        return Batch(
            torch.from_numpy(_padded([self._subject(r) for r in requests])),
            torch.from_numpy(words),
            torch.from_numpy(ids),
            torch.from_numpy(worth),
            torch.tensor([len(one) for one in events]),
            torch.from_numpy(_padded([w for w, _ in rows])),
            torch.tensor([row for _, row in rows]),
            torch.from_numpy(dense),
            torch.from_numpy(number),
        )

    def _dense(self, request: Request) -> Any:
        rows = (self.features.rows(request) - self.centre) / self.spread
        return np.clip(np.nan_to_num(rows), -5, 5).astype(np.float32)

    def _item(self, item: Item) -> tuple[list[int], int]:
        found = self._items.get(item.key) if item.key is not None else None
        if found is None:
            words = {w for value in item.fields.values() for w in f.words(value)}
            words |= {f"{n}={item.fields.get(n)}" for n in self._categories}
            found = _buckets(words)
            if item.key is not None:
                self._items[item.key] = found
        return found, self.ids.get(item.item_id, 0)

    def _subject(self, request: Request) -> list[int]:
        given = f.subject_fields(request)
        words = {w for part in given.values() for value in part.values() for w in f.words(value)}
        for name in self.features.plan.categories:
            group, _, key = name.partition(".")
            if group in given:
                words.add(f"{name}={given[group].get(key)}")
        return _buckets(words)


def _buckets(words: set[str]) -> list[int]:
    return [1 + crc32(w.encode()) % (BUCKETS - 1) for w in sorted(words)[:_WORDS]]


def _padded(rows: Sequence[Sequence[int]]) -> Any:
    table = np.zeros((len(rows), max(map(len, rows), default=0) or 1), dtype=np.int64)
    for i, row in enumerate(rows):
        table[i, : len(row)] = row
    return table


class SequenceStudent:
    """The network with its inputs and one scale per question."""

    def __init__(
        self,
        inputs: Inputs,
        network: Network,
        shape: Shape,
        scales: Mapping[str, Scale],
        facts: Mapping[str, Any],
    ) -> None:
        self.inputs, self.network, self.shape = inputs, network.eval(), shape
        self.scales, self._facts = scales, facts
        self._unseen = 0

    def answers(self, request: Request) -> Mapping[str, Floats]:
        """Question -> (candidates, answers) log-probabilities."""
        batch = self.inputs.batch([request])
        self._unseen += int((batch.ids == 0).sum())
        with torch.inference_mode():
            outputs = self.network(batch)[0].numpy().astype(np.float64)
        return {
            name: scale.log_probabilities(outputs[:, i])
            for i, (name, scale) in enumerate(self.scales.items())
        }

    def notes(self) -> tuple[str, ...]:
        """Fall-backs, with how many values."""
        counted = Counter(self.inputs.features.fallbacks)
        if self._unseen:
            counted["an item not seen in training, its words stand for it"] = self._unseen
        return tuple(f"{what} ({count:,} times)" for what, count in sorted(counted.items()))

    def facts(self) -> Mapping[str, Any]:
        """Epochs, sizes, what was skipped."""
        return self._facts

    def save(self, folder: Path) -> None:
        """``weights.safetensors`` without the second output, and ``inputs.json``."""
        weights = {
            name: tensor.contiguous()
            for name, tensor in self.network.state_dict().items()
            if not name.startswith("aux.")
        }
        save_file(weights, folder / "weights.safetensors")
        inputs = self.inputs
        given = {
            "plan": inputs.features.plan.as_dict(),
            "centre": inputs.centre.tolist(),
            "spread": inputs.spread.tolist(),
            "ids": list(inputs.ids),
            "shape": asdict(self.shape),
            "scales": {
                name: {"base": s.base.tolist(), "worth": s.worth.tolist()}
                for name, s in self.scales.items()
            },
            "facts": self._facts,
        }
        (folder / "inputs.json").write_text(json.dumps(given, ensure_ascii=False))


def load(task: Task, folder: Path, threads: int | None) -> SequenceStudent:
    """Read a student's folder.

    Raises:
        ModelError: files that are missing or broken.
    """
    if threads is not None:
        torch.set_num_threads(threads)
    try:
        given = json.loads((folder / "inputs.json").read_text(encoding="utf-8"))
        shape = Shape(**given["shape"])
        network = Network(shape, [0.0] * shape.layers)
        network.load_state_dict(load_file(folder / "weights.safetensors"))
        inputs = Inputs(
            Features(plan_from_dict(given["plan"]), task),
            np.array(given["centre"]),
            np.array(given["spread"]),
            {item: i for i, item in enumerate(given["ids"], 1)},
            shape.last,
        )
        scales = {
            name: Scale(np.array(s["base"]), np.array(s["worth"]))
            for name, s in given["scales"].items()
        }
    except (OSError, ValueError, KeyError, TypeError, RuntimeError, SafetensorError) as error:
        first = str(error).splitlines()[0]
        raise ModelError(
            f"{folder}: not a whole sequence student ({first}); distill it again"
        ) from None
    return SequenceStudent(inputs, network, shape, scales, given["facts"])


def fit(task: Task, lessons: Lessons, settings: Settings, say: Say) -> SequenceStudent:
    """Learn all questions at once.

    Raises:
        DataError: too few labels.
        InputError: an option that is not known.
    """
    for name in settings.options:
        if name not in OPTIONS:
            raise InputError(f"sequence has no option {name!r}; options: {', '.join(OPTIONS)}")
    options = {**OPTIONS, **settings.options}
    plan = make_plan(x.request for x in lessons() if x.request.split != "valid")
    features = Features(plan, task)
    rows = collect(task, lessons())
    check(task, rows, settings)
    requests = [x.request for x in lessons()]
    train = np.concatenate([features.rows(r) for r in requests])[~rows.valid]
    inputs = Inputs(features, *_standard(train, features), _ids(requests), int(options["last"]))
    features.fallbacks.clear()
    shape = Shape(
        BUCKETS,
        len(inputs.ids),
        len(features.names),
        len(task.questions),
        *(int(options[name]) for name in ("dim", "layers", "heads", "last")),
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(settings.seed)
        second = settings.loss in ("auxiliary", "self-auxiliary")
        rates = layer_dropout(options["dropout"], shape.layers)
        network = Network(shape, rates, aux=second)
        scales, facts = optimise(network, inputs.batch, requests, rows, settings, options, say)
    facts |= {"columns": list(features.names), "items": len(inputs.ids), "options": options}
    return SequenceStudent(inputs, network, shape, scales, {**facts, "skipped": dict(plan.skipped)})


def _standard(train: Floats, features: Features) -> tuple[Floats, Floats]:
    """Mean and spread per column; columns of codes, and constant ones, are turned off."""
    known = ~np.isnan(train)
    count = np.maximum(known.sum(0), 1)
    centre = np.where(known, train, 0).sum(0) / count
    spread = np.sqrt(np.where(known, (train - centre) ** 2, 0).sum(0) / count)
    spread[(spread < 1e-9) | np.isin(np.arange(len(spread)), features.categorical)] = math.inf
    return centre, spread


def _ids(requests: Sequence[Request]) -> dict[str, int]:
    counts = Counter(i for r in requests if r.split != "valid" for i in _items_of(r))
    kept = sorted(item for item, count in counts.items() if count >= _SEEN)
    return {item: i for i, item in enumerate(kept, 1)}


def _items_of(request: Request) -> Iterator[str]:
    yield from (c.item.item_id for c in request.candidates)
    yield from (e.item.item_id for e in request.history)
