"""What a method is: it turns requests into work for an engine, and the answers into rankings.

A method is a conversation. For each request it gives an `Asking`, a generator that yields the work
of one round, is sent the results of that work in the same order, and either yields another round or
returns the ranking. So a method may ask once (`pointwise`: one tree with all candidates), about the
same candidates in several orders (listwise), in rounds that depend on the answers so far (pairwise
tournaments), or for text. Many askings are under way at once: `promptrank.ranking.loop` gathers
what they ask into groups, and an opened engine answers them in one forward where they fit.
"""

from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from typing import Protocol

from promptrank.engine.contract import Tree, TreeScore
from promptrank.ranking.ranking import Ranking
from promptrank.records import Request

Work = Tree | Request
"""What an engine understands: a tree of token ids, or a request itself (students)."""
Asking = Generator[Sequence[Work], Sequence[TreeScore], Ranking]
AdapterOf = Callable[[Request], str | None]
"""A request -> the folder of its adapter, or None for the base model."""


class Method(Protocol):
    """How requests are asked about; see the module's docstring.

    Attributes:
        name: as it is written down, such as ``pointwise``.
        answers: whether its rankings hold answers to the task's questions, or a score alone.
        fingerprint: SHA-256 over all that turns a request into what is scored.
    """

    @property
    def name(self) -> str: ...

    @property
    def answers(self) -> bool: ...

    @property
    def fingerprint(self) -> str: ...

    def start(self, requests: Iterable[Request], adapter_of: AdapterOf | None) -> Iterator[Asking]:
        """One asking per request, in order, lazily.

        Whatever of a request cannot be asked about is among the errors of its ranking; nothing is
        raised for a row.
        """
        ...
