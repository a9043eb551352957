"""How much there is to score, told before it begins: prompts and tokens."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, islice

from promptrank.basics.telling import Say
from promptrank.engine.contract import Tree
from promptrank.ranking.ranker import Ranker
from promptrank.records import Request

LOOKED_AT = 16
"""First requests, from which it is told how long all of them are."""

_WORTH = 100_000  # tokens: what takes less is done before it is read


def announced(
    ranker: Ranker, requests: Iterable[Request], count: int, say: Say
) -> Iterator[Request]:
    """The same requests, once it is said how much all of them are; the first are read now.

    Not later, when the ranker draws them: it then has its encoder in use.
    """
    left = iter(requests)
    first = list(islice(left, LOOKED_AT))
    if words := amount(ranker, first, count):
        say(words)
    return chain(first, left)


def amount(ranker: Ranker, first: Sequence[Request], count: int) -> str | None:
    """``10 requests: about 1,200 prompts, 340,000 tokens``, by the first of them.

    None where it is little, and for students, which read no tokens.

    Args:
        first: of the requests to rank.
        count: how many there are.
    """
    if ranker.encoder is None:
        return None
    looked = prompts = tokens = 0
    for asking in ranker.method.start(first, None):
        looked += 1
        for work in next(asking, ()):
            if isinstance(work, Tree):
                prompts += sum(len(branch.slots) for branch in work.branches)
                tokens += ranker.opened.engine.size(work)
        asking.close()
    if not looked or tokens * count < _WORTH * looked:
        return None
    about = "about " if count > looked else ""
    many = "requests" if count != 1 else "request"
    return (
        f"{count:,} {many}: {about}{_rounded(prompts * count / looked):,} prompts, "
        f"{about}{_rounded(tokens * count / looked):,} tokens"
    )


def _rounded(number: float) -> int:
    """Two digits are known of what is taken from a few requests."""
    whole = round(number)
    return round(whole, 2 - len(str(whole))) if whole >= 100 else whole
