"""Chosen requests to rows of examples, chunk by chunk; a chunk is the same whoever encodes it."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice

import pyarrow as pa

from promptrank.prompt.encode import WINDOW, Encoder
from promptrank.records import Request
from promptrank.schema.task import Task
from promptrank.training.example_facts import Facts
from promptrank.training.example_rows import to_batch
from promptrank.training.examples import Example, examples
from promptrank.training.label_shares import Share

EncoderOf = Callable[[Task], Encoder]
"""A task, or a variant of it with other words -> its encoder for the model that is trained."""


@dataclass(frozen=True, slots=True)
class Chosen:
    """A request that trains.

    Attributes:
        place: in the sample.
        share: what of it trains.
        way: which of the recipe's tasks words it.
    """

    place: int
    request: Request
    share: Share
    way: int = 0


@dataclass(frozen=True, slots=True)
class Recipe:
    """How chosen requests become examples; any process that has it makes the same ones.

    Attributes:
        task: what is learned.
        ways: the task's own words first, then its variants.
        turns, weights: as in `examples`.
    """

    task: Task
    ways: tuple[Task, ...]
    encoder_of: EncoderOf
    turns: bool
    weights: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class EncodedChunk:
    """A chunk's examples as rows, and what is known of them."""

    rows: pa.RecordBatch
    facts: Facts


class ChunkEncoder:
    """Encodes chunks by a recipe; an encoder is opened when the first request wants it."""

    def __init__(self, recipe: Recipe, encoders: Sequence[Encoder] = ()) -> None:
        """``encoders`` are of the recipe's ways, where they are open already."""
        self._recipe = recipe
        self._encoders = dict(enumerate(encoders))

    def encode(self, chunk: Sequence[Chosen]) -> EncodedChunk:
        """The examples of a chunk, in its order."""
        facts = Facts()
        places = {chosen.request.request_id: chosen.place for chosen in chunk}
        made: dict[int, Example] = {}
        for way in sorted({chosen.way for chosen in chunk}):
            for example in self._examples(way, [c for c in chunk if c.way == way], facts):
                facts.add(example)
                made[places[example.request_id]] = example
        order = [chosen.place for chosen in chunk if chosen.place in made]
        return EncodedChunk(to_batch(order, [made[place] for place in order]), facts)

    def _examples(self, way: int, mine: Sequence[Chosen], facts: Facts) -> Iterator[Example]:
        recipe = self._recipe
        if way not in self._encoders:
            self._encoders[way] = recipe.encoder_of(recipe.ways[way])
        return examples(
            recipe.task,
            self._encoders[way],
            (chosen.request for chosen in mine),
            {chosen.request.request_id: chosen.share for chosen in mine},
            turns=recipe.turns,
            weights=recipe.weights,
            errors=facts.add_lost,
            dropped=facts.add_dropped,
        )


def chunks(chosen: Iterable[Chosen]) -> Iterator[list[Chosen]]:
    """As many requests at a time as an encoder tokenizes in one batch."""
    waiting = iter(chosen)
    while chunk := list(islice(waiting, WINDOW)):
        yield chunk
