"""BM25 as a baseline: a case by hand, bm25s itself as the judge, and what a request looks for."""

import math
import random
from pathlib import Path
from typing import Any

import pytest

from promptrank.baselines.baseline import Sources
from promptrank.baselines.bm25 import Bm25, Bm25Fit
from promptrank.basics.bm25_formula import statistics_of
from promptrank.basics.telling import silent
from promptrank.records import Candidate, Event, Item, Request, Subject
from promptrank.requests.texts import text_of
from promptrank.workspace.measuring import measured_on
from promptrank.workspace.tasks import open_task
from support.baselines import an_aim
from support.baselines import event as an_event

NONE = Sources(list)


def asked(query: str | None, *texts: str, split: str | None = None, **more: Any) -> Request:
    about = {"text": query} if query is not None else None
    candidates = tuple(Candidate(f"c{i}", Item(f"i{t}", {"t": t})) for i, t in enumerate(texts))
    subject = Subject("m" if query is None else None, query_id=query, query=about)
    return Request("r", subject, candidates, split=split, **more)


def event(text: str, label: int | None = None) -> Event:
    return an_event(f"i{text}", label, t=text)


def over(*corpus: str) -> Bm25:
    return Bm25(statistics_of(corpus), an_aim(["t"]).texts)


def test_by_hand() -> None:
    # Three texts of 2, 3 and 1 words: 2 on average. "lamp" stands in two of them, "desk" in one.
    ranked = over("red lamp", "Desk lamp, lamp", "shoes")
    lamp, desk = math.log(1 + 1.5 / 2.5), math.log(1 + 2.5 / 1.5)
    unseen = math.log(1 + 3.5 / 0.5)
    values = ranked.rank(
        asked("desk LAMP", "Desk lamp, lamp", "red lamp", "a lamp zebra lamp shoes", "")
    )
    long, short = 1.5 * (0.25 + 0.75 * 3 / 2), 1.5 * (0.25 + 0.75 * 2 / 2)
    four = 1.5 * (0.25 + 0.75 * 4 / 2)  # "a" is too short to be a word
    expected = [
        lamp * 2 / (2 + long) + desk / (1 + long),
        lamp / (1 + short),
        lamp * 2 / (2 + four),
        0.0,
    ]
    assert values.scores == pytest.approx(expected, abs=1e-12)
    # A text that is in no collection is scored by the same statistics; so is a word.
    (score,) = ranked.rank(asked("zebra", "zebra stripe")).scores
    assert score == pytest.approx(unseen / (1 + short))


def test_as_bm25s_scores_its_own_index() -> None:
    import bm25s

    words = [f"word{i}" for i in range(30)]
    draw = random.Random(5)
    corpus = [" ".join(draw.choices(words, k=draw.randint(1, 12))) for _ in range(50)]
    index = bm25s.BM25()
    index.index(bm25s.tokenize(corpus, show_progress=False), show_progress=False)
    for _ in range(5):
        query = " ".join(draw.choices(words, k=5))  # a word may come twice
        (tokens,) = bm25s.tokenize([query], return_ids=False, show_progress=False)
        ours = over(*corpus).rank(asked(query, *corpus)).scores
        assert ours == pytest.approx(index.get_scores(tokens), abs=1e-5)


def test_a_history_is_looked_for_by_what_was_liked() -> None:
    ranked = over("red lamp", "blue shoes", "green chair", "blue lamp")
    texts = ("blue shoes", "red lamp", "green chair")
    history = (event("red lamp", 1), event("green chair", 0))
    liked = ranked.rank(asked(None, *texts, history=history))
    assert liked.scores == ranked.rank(asked("red lamp", *texts)).scores
    # Without any label, a log of positives: all events count, each as much as another.
    log = ranked.rank(asked(None, *texts, history=(event("red lamp"), event("green chair"))))
    each = [ranked.rank(asked(text, *texts)).scores for text in ("red lamp", "green chair")]
    assert log.scores == pytest.approx(
        [(a or 0) / 2 + (b or 0) / 2 for a, b in zip(*each, strict=True)]
    )
    # Nothing liked so far: a sum over no words, a tie, and no reason to leave the request out.
    assert ranked.rank(asked(None, *texts, history=(event("red lamp", 0),))).scores == [0, 0, 0]
    source = Request(
        "r", Subject(source=Item("s", {"t": "red lamp"})), asked(None, *texts).candidates
    )
    assert ranked.rank(source).scores == ranked.rank(asked("red lamp", *texts)).scores


def test_texts_of_an_item() -> None:
    fields = {"title": "Heat", "year": 1995, "genres": ["Action", "Crime"], "plot": None}
    assert text_of(fields, None) == "Heat Action Crime"
    assert text_of(fields, ["plot", "genres", "nothing"]) == "Action Crime"


def test_statistics_come_from_train_alone_and_reasons_are_given() -> None:
    train = asked("x", "red lamp", "red lamp", split="train")
    fit = Bm25Fit(an_aim(["t"]))
    fit.add(train)
    fit.add(asked("x", "blue lamp", "green lamp", split="test"))
    assert fit.fit(NONE).facts == {"fields": ["t"], "texts": 1}
    assert fit.fit(Sources(list, lambda: ["a text", "another text"])).facts["texts"] == 2
    fit = Bm25Fit(an_aim(["t"]))
    fit.add(asked("x", "blue lamp", split="test"))
    assert "no item table" in str(fit.fit(NONE).reason)
    fit = Bm25Fit(an_aim(["t"]))
    fit.add(asked(None, "blue lamp", split="train"))
    assert "query, a source item or a history" in str(fit.fit(NONE).reason)


@pytest.mark.long
def test_a_task_s_fields_are_what_its_template_prints_and_all_items_count(toys: Path) -> None:
    opened = open_task("toys/like", project=toys)
    with measured_on(opened, None, None, 3, silent) as on:
        assert on.baselines["bm25"].facts == {"fields": ["color", "title"], "texts": 20}
