"""How much there is to score, told before it begins."""

from types import SimpleNamespace
from typing import Any, cast

import pytest

from promptrank.engine.contract import Branch, Slot, Tree
from promptrank.ranking.ranker import Ranker
from promptrank.runs import amount as module
from promptrank.runs.amount import LOOKED_AT, amount, announced


def ranker(encoder: Any = "some") -> Ranker:
    """Of requests that are numbers: a prefix of so many tokens, two candidates, two questions."""

    def ask(number: int) -> Any:
        slot = Slot((1,), ((2,),))
        if number:
            yield [Tree("r", (1,) * number, (Branch((1,) * 10, (slot, slot)),) * 2)]

    method = SimpleNamespace(start=lambda requests, adapter_of: map(ask, requests))
    engine = SimpleNamespace(size=lambda t: len(t.prefix) + sum(len(b.ids) for b in t.branches))
    made = SimpleNamespace(
        encoder=encoder, method=method, opened=SimpleNamespace(engine=engine), task=None
    )
    return cast(Ranker, made)


@pytest.mark.parametrize(
    ("numbers", "count", "said"),
    [
        ([80, 180], 2, "2 requests: 8 prompts, 300 tokens"),
        ([80], 1, "1 request: 4 prompts, 100 tokens"),
        # 4 prompts and 150 tokens a request
        ([80, 180], 1000, "1,000 requests: about 4,000 prompts, about 150,000 tokens"),
        ([80, 180], 12345, "12,345 requests: about 49,000 prompts, about 1,900,000 tokens"),
        # One that asks nothing counts as a request all the same.
        ([80, 0], 1000, "1,000 requests: about 2,000 prompts, about 50,000 tokens"),
        ([], 7, None),
    ],
)
def test_by_the_first_requests(
    numbers: list[int], count: int, said: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_WORTH", 0)
    assert amount(ranker(), cast(Any, numbers), count) == said


def test_little_is_not_worth_a_line_and_students_read_no_tokens() -> None:
    assert amount(ranker(), cast(Any, [80, 180]), 600) is None  # 90,000 tokens
    assert amount(ranker(), cast(Any, [80, 180]), 700) is not None
    assert amount(ranker(None), cast(Any, [80, 180]), 700_000) is None


def test_the_first_requests_are_read_and_told_at_once_and_all_of_them_come(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "_WORTH", 0)
    read: list[int] = []
    said: list[str] = []
    requests = (read.append(n) or n for n in range(1, 41))  # type: ignore[func-returns-value]
    rest = announced(ranker(), cast(Any, requests), 40, said.append)
    # A ranker draws requests while it holds its encoder, which must not be asked then.
    assert len(read) == LOOKED_AT and len(said) == 1
    assert [*cast(Any, rest)] == list(range(1, 41)) == read
    assert len(said) == 1
