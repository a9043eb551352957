"""Requests as work for an engine: as trees of token ids, or as they are."""

import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from typing import Protocol

from promptrank.engine.contract import Tree
from promptrank.errors import ErrorRow, InputError
from promptrank.prompt.budget import Cuts
from promptrank.prompt.encode import Encoder
from promptrank.prompt.preview import Preview
from promptrank.ranking.method import AdapterOf, Work
from promptrank.records import Request
from promptrank.schema.task import Task

LARGE_ROWS = 100  # candidates and events of a request
LARGE_TEXT = 50_000  # characters of their items' texts


@dataclass(frozen=True, slots=True)
class Posed:
    """One request, ready to be scored.

    Attributes:
        work: what the engine is given; None where nothing of the request can be asked about.
        candidate_ids: the candidates that the engine scores, in the order of its results.
        answers: question -> for each path of its slot, the answer that the path words.
        prompt_tokens: how long each of these candidates' prompts is; empty where there are none.
    """

    request: Request
    work: Work | None
    candidate_ids: Sequence[str]
    answers: dict[str, Sequence[str]]
    errors: tuple[ErrorRow, ...]
    cuts: Cuts
    prompt_tokens: Sequence[int] = ()


class Posing(Protocol):
    """Makes requests into work."""

    @property
    def fingerprint(self) -> str:
        """SHA-256 over all that turns a request into what is scored."""
        ...

    def pose(self, requests: Iterable[Request], adapter_of: AdapterOf | None) -> Iterator[Posed]:
        """Requests in their order, lazily."""
        ...


class Prompts:
    """Requests as prompts, by a task's template and a model's tokenizer.

    Several threads may use it at once.
    """

    def __init__(self, encoder: Encoder, another: Callable[[], Encoder] | None = None) -> None:
        """Take an encoder.

        Args:
            another: makes a second one like it, for calls that begin with a large request; so
                nobody's small request waits while a large one is rendered and tokenized.
        """
        self.encoder = encoder
        self._lock = threading.Lock()  # an encoder is for one thread at a time
        self._another = another
        self._for_large: Encoder | None = None
        self._large_lock = threading.Lock()

    @property
    def fingerprint(self) -> str:
        """The encoder's."""
        return self.encoder.fingerprint

    def preview(self, request: Request) -> Preview:
        """The request's prompt as pieces, of the very ids that `pose` gives to engines."""
        with self._lock:
            return self.encoder.preview(request)

    def pose(self, requests: Iterable[Request], adapter_of: AdapterOf | None) -> Iterator[Posed]:
        """Requests as trees; those of several adapters may follow each other."""
        encoder, lock, requests = self._encoder_for(requests)
        encoded = encoder.encode_many(requests)
        while True:
            with lock:
                prompt = next(encoded, None)
            if prompt is None:
                return
            tree = prompt.tree
            if tree is not None and adapter_of is not None:
                tree = replace(tree, adapter=adapter_of(prompt.request))
            answers: dict[str, Sequence[str]] = {
                name: [answer for answer, _ in paths]
                for name, paths in zip(prompt.questions, prompt.paths, strict=True)
            }
            yield Posed(
                prompt.request,
                tree,
                prompt.candidate_ids,
                answers,
                prompt.errors,
                prompt.cuts,
                prompt_tokens(tree) if tree is not None else (),
            )

    def _encoder_for(
        self, requests: Iterable[Request]
    ) -> tuple[Encoder, threading.Lock, Iterable[Request]]:
        if self._another is None:
            return self.encoder, self._lock, requests
        requests = iter(requests)
        first = next(requests, None)
        if first is None:
            return self.encoder, self._lock, ()
        requests = chain((first,), requests)
        if not is_large(first):
            return self.encoder, self._lock, requests
        with self._large_lock:
            if self._for_large is None:
                self._for_large = self._another()
            return self._for_large, self._large_lock, requests


def is_large(request: Request) -> bool:
    """Whether rendering and tokenizing a request may take longer than a small one should wait."""
    if len(request.candidates) + len(request.history) > LARGE_ROWS:
        return True
    items = chain((c.item for c in request.candidates), (e.item for e in request.history))
    texts = (v for item in items for v in item.fields.values() if isinstance(v, str))
    return sum(map(len, texts)) > LARGE_TEXT


def prompt_tokens(tree: Tree) -> list[int]:
    """For each candidate the tokens of its prompt, up to the end of its longest question."""
    lengths = []
    for branch in tree.branches:
        asked = max((len(slot.ids) for slot in branch.slots), default=0)
        lengths.append(len(tree.prefix) + len(branch.ids) + asked)
    return lengths


class Fields:
    """Requests as they are, for students that read fields in place of a prompt."""

    def __init__(self, task: Task, name: str, fingerprint: str) -> None:
        """Take a student's name and digest: no template words what it reads."""
        self._name, self._fingerprint = name, fingerprint
        self._answers: dict[str, Sequence[str]] = {
            question: list(about.answers) for question, about in task.questions.items()
        }

    @property
    def fingerprint(self) -> str:
        """The student's digest."""
        return self._fingerprint

    def pose(self, requests: Iterable[Request], adapter_of: AdapterOf | None) -> Iterator[Posed]:
        """Requests themselves; nothing is cut.

        Raises:
            InputError: adapters were asked for.
        """
        if adapter_of is not None:
            raise InputError(f"{self._name}: a student has no adapters")
        for request in requests:
            names = [candidate.candidate_id for candidate in request.candidates]
            events = len(request.history)
            cuts = Cuts(events_given=events, events_kept=events)
            yield Posed(request, request, names, self._answers, (), cuts)
