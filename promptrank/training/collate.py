"""Examples laid out as one forward pass: no padding, each prefix once, branches side by side."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Self

import torch

from promptrank.engine.cutting import Part, flatten, tries
from promptrank.engine.layout import Forward, lay_out
from promptrank.engine.sliding import Windows
from promptrank.training.examples import Example, PathTarget, TurnTarget

Tensor = torch.Tensor
_NONE = -1


@dataclass(frozen=True, slots=True)
class Batch:
    """One forward pass with its targets; index names as in `losses`.

    Attributes:
        forward: rows and attention layout; ``logit_rows`` are those that answers are read at.
        step_rows, step_ids, step_paths: (steps,).
        slot_paths: (slots, answers, wordings).
        shares, relevant: (slots, answers).
        values, weights: (slots,).
        tasks: (slots,) the task's number.
        lists: per request and question, its slots.
        prompt_rows, prompt_ids: the rows that predict a token which is no answer, and that token.
        tokens, labels, examples: how many.
        prompt_scale: how many prompt tokens each of ``prompt_rows`` stands for.
    """

    forward: Forward
    step_rows: Tensor
    step_ids: Tensor
    step_paths: Tensor
    slot_paths: Tensor
    shares: Tensor
    relevant: Tensor
    values: Tensor
    weights: Tensor
    tasks: Tensor
    lists: list[Tensor]
    prompt_rows: Tensor
    prompt_ids: Tensor
    tokens: int
    labels: int
    examples: int
    prompt_scale: float = 1.0

    def to(self, device: Any, **_: Any) -> Self:
        """The same on another device."""
        moved: dict[str, Any] = {}
        for name in self.__dataclass_fields__:
            value = getattr(self, name)
            if isinstance(value, torch.Tensor):
                moved[name] = value.to(device)
        moved["lists"] = [places.to(device) for places in self.lists]
        forward = self.forward
        moved["forward"] = Forward(
            forward.ids.to(device),
            forward.positions.to(device),
            forward.logit_rows.to(device),
            forward.reads,
            tuple(segment.to(device) for segment in forward.segments),
            forward.windows,
            forward.spans.to(device) if forward.spans is not None else None,
        )
        return replace(self, **moved)


@dataclass(slots=True)
class _Slots:
    """Targets of a batch as they are gathered."""

    rows: dict[int, int] = field(default_factory=dict)  # row of the pass -> row of the logits
    steps: list[tuple[int, int, int]] = field(default_factory=list)
    paths: int = 0
    slots: list[tuple[tuple[tuple[int, ...], ...], tuple[float, ...], tuple[bool, ...]]] = field(
        default_factory=list
    )
    values: list[float] = field(default_factory=list)
    weights: list[float] = field(default_factory=list)
    tasks: list[int] = field(default_factory=list)

    def path(self, steps: Iterable[tuple[int, int]]) -> int:
        """A path's number; its steps are (row of the pass, token)."""
        number = self.paths
        for row, token in steps:
            place = self.rows.setdefault(row, len(self.rows))
            self.steps.append((place, token, number))
        self.paths += 1
        return number

    def add(self, paths: tuple[tuple[int, ...], ...], target: PathTarget, task: int) -> int:
        """A slot's number; ``paths`` are those of each of its answers."""
        self.slots.append((paths, target.shares, target.relevant))
        self.values.append(target.value)
        self.weights.append(target.weight)
        self.tasks.append(task)
        return len(self.slots) - 1


class Collator:
    """Makes batches.

    ``like`` gives masks their float type, ``windows`` are of the layers, ``flex`` asks for
    FlexAttention.
    """

    def __init__(
        self, like: torch.dtype = torch.float32, windows: Windows = (), flex: bool = False
    ) -> None:
        self._like, self._windows, self._flex = torch.zeros((), dtype=like), windows, flex

    def __call__(self, examples: Sequence[Example]) -> dict[str, Batch]:
        """As transformers.Trainer calls it; the batch is under ``batch``."""
        return {"batch": self.batch(examples)}

    def batch(self, examples: Sequence[Example]) -> Batch:
        """The batch of these examples, in their order."""
        parts = [_part(number, example) for number, example in enumerate(examples)]
        forward = lay_out(parts, self._like, self._windows, self._flex)
        slots, lists = _Slots(), []
        prompt: list[tuple[int, int]] = []
        for example, part, segment in zip(examples, parts, forward.segments, strict=True):
            for turn in example.turns:
                _turn(slots, turn, segment.start, example)
            lists += _branches(slots, example, part, segment.start)
            if not example.blank:
                prompt += _prompt(example, part, segment.start)
        labels = sum(example.labels for example in examples if not example.blank)
        rows = torch.tensor(list(slots.rows), dtype=torch.long)
        forward = replace(forward, logit_rows=rows, reads=[])
        return _batch(forward, slots, lists, prompt, labels, len(examples))


def _part(number: int, example: Example) -> Part:
    blocks = []
    for place, (branch, _) in enumerate(example.branches):
        slots = list(zip(range(len(branch.slots)), branch.slots, tries(branch), strict=True))
        blocks.append(flatten(place, branch.ids, slots))
    return Part(number, None, example.prefix, None, tuple(blocks))


def _turn(slots: _Slots, turn: TurnTarget, start: int, example: Example) -> None:
    first = start + turn.at - 1
    own = slots.path((first + n, token) for n, token in enumerate(turn.path))
    others = [slots.path([(first, token)]) for token in turn.others]
    # What stands in the prefix is the outcome; the other answers' paths are not computed there.
    target = PathTarget((), (1.0,), (True,), 0.0, turn.weight)
    slots.add(((own, *others),), target, example.task)


def _branches(slots: _Slots, example: Example, part: Part, start: int) -> list[list[int]]:
    """Add the slots of a request's branches; returns one list per question."""
    lists: list[list[int]] = [[] for _ in example.branches[0][1]] if example.branches else []
    base = start + len(part.stem)
    for (branch, targets), block in zip(example.branches, part.blocks, strict=True):
        rows = {
            (read.slot, read.node): base + read.row if read.row >= 0 else base - 1
            for read in block.reads
        }
        for number, (target, trie) in enumerate(zip(targets, tries(branch), strict=True)):
            if target is None:
                continue
            made = [
                slots.path((rows[number, node], token) for node, token in path)
                for path in trie.steps
            ]
            paths = tuple(tuple(made[i] for i in mine) for mine in target.paths)
            lists[number].append(slots.add(paths, target, example.task))
        base += len(block.ids)
    return [places for places in lists if places]


def _prompt(example: Example, part: Part, start: int) -> Iterable[tuple[int, int]]:
    """(row, next token) wherever the next token is no answer."""
    answers = {turn.at + n for turn in example.turns for n in range(len(turn.path))}
    stem = part.stem
    for place in range(1, len(stem)):
        if place not in answers:
            yield start + place - 1, stem[place]
    base, last = start + len(stem), start + len(stem) - 1
    for block in part.blocks:
        inner = {read.row for read in block.reads if read.node}
        for row, (token, parent) in enumerate(zip(block.ids, block.parents, strict=True)):
            if row not in inner:
                yield base + parent if parent >= 0 else last, token
        base += len(block.ids)


def _batch(
    forward: Forward,
    slots: _Slots,
    lists: list[list[int]],
    prompt: list[tuple[int, int]],
    labels: int,
    examples: int,
) -> Batch:
    answers = max(len(paths) for paths, _, _ in slots.slots)
    words = max(len(words) for paths, _, _ in slots.slots for words in paths)
    slot_paths = torch.full((len(slots.slots), answers, words), _NONE, dtype=torch.long)
    shares = torch.zeros(len(slots.slots), answers)
    relevant = torch.zeros(len(slots.slots), answers, dtype=torch.bool)
    for number, (paths, share, counts) in enumerate(slots.slots):
        for answer, mine in enumerate(paths):
            slot_paths[number, answer, : len(mine)] = torch.tensor(mine)
        shares[number, : len(share)] = torch.tensor(share)
        relevant[number, : len(counts)] = torch.tensor(counts)
    steps = torch.tensor(slots.steps, dtype=torch.long)
    pairs = torch.tensor(prompt, dtype=torch.long).reshape(-1, 2)
    return Batch(
        forward,
        steps[:, 0],
        steps[:, 1],
        steps[:, 2],
        slot_paths,
        shares,
        relevant,
        torch.tensor(slots.values),
        torch.tensor(slots.weights),
        torch.tensor(slots.tasks),
        [torch.tensor(places) for places in lists],
        pairs[:, 0],
        pairs[:, 1],
        forward.ids.shape[1],
        labels,
        examples,
    )
