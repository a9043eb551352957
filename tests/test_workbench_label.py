"""The page Label: which cards come, what is kept of an answer, and what is refused."""

import csv
import errno
import io
import json
import math
import os
import re
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from html import unescape
from pathlib import Path

import pytest
from starlette.applications import Starlette

from promptrank.basics.owner import owned
from promptrank.basics.telling import silent
from promptrank.records import Candidate, Item, Request, Subject
from promptrank.requests import judgement_file
from promptrank.requests.judgement_file import append_judgements, read_judgements
from promptrank.requests.judgement_rows import Judgement, standing
from promptrank.schema.parts import Question
from promptrank.workbench.desk import Desk
from promptrank.workbench.label_asked import choices_of
from promptrank.workbench.label_cards import (
    ANSWERS_EACH,
    PAIRS_EACH,
    SHARED,
    Card,
    CardsWanted,
    card_key,
    cards,
    differing_order,
    random_order,
    uncertain_order,
)
from promptrank.workbench.label_pool import doubt_of
from promptrank.workspace.request_files import request_file
from promptrank.workspace.tasks import open_task
from support.toys import make_project
from support.workbench import app_on, browse, build_requests, desk_of

KEPT = "judgements/toys/like.jsonl"


def requests_of(count: int, candidates: int) -> list[Request]:
    named = [f"c{i}" for i in range(candidates)]
    made = tuple(
        Candidate(n, Item(n, {}), outcomes={"like": "like"} if i % 2 else {})
        for i, n in enumerate(named)
    )
    return [Request(f"r{i}", Subject(f"m{i}", {}), made) for i in range(count)]


def said(who: str, card: Card, answer: str = "like") -> Judgement:
    ids = card.request.request_id, "", card.candidate_ids
    return Judgement(f"{who}{card.key}", 1.0, who, "answer", *ids, card.question or "", answer)


def all_cards(
    requests: Sequence[Request], rows: Sequence[Judgement], who: str, question: str | None = "like"
) -> list[Card]:
    wanted = CardsWanted(who, question)
    pairs = question is None
    return list(cards(requests, standing(rows), wanted, lambda r: random_order(r, pairs=pairs)))


@pytest.mark.parametrize("question", ["like", None])
def test_every_card_comes_once_a_few_of_a_request_at_a_time(question: str | None) -> None:
    requests = requests_of(4, 7)
    made = all_cards(requests, (), "Ann", question)
    total = 4 * (7 if question else 21)
    assert len({card.key for card in made}) == len(made) == total
    each = ANSWERS_EACH if question else PAIRS_EACH
    firsts = [card.request.request_id for card in made[: 4 * each]]
    assert [firsts[i] for i in range(0, 4 * each, each)] == list(dict.fromkeys(firsts))
    assert firsts == [name for name in dict.fromkeys(firsts) for _ in range(each)]
    # The order hangs on ids alone: other requests beside these change nothing.
    more = all_cards([*requests_of(9, 7)][::-1], (), "Ann", question)
    mine = {r.request_id for r in requests}
    assert [c.key for c in more if c.request.request_id in mine][: 4 * each] == [
        c.key for c in made
    ][: 4 * each]


def test_no_side_of_a_pair_is_the_better_one() -> None:
    pairs = [p for r in requests_of(40, 6) for p in random_order(r, pairs=True)]
    turned = sum(first > second for first, second in pairs)
    assert 0.4 < turned / len(pairs) < 0.6


def test_nobody_sees_twice_what_they_said_and_one_in_five_is_seen_by_all() -> None:
    requests = requests_of(60, 6)
    every = all_cards(requests, (), "Ann")
    rows = [said("Ann", card) for card in every[:200]]
    mine = all_cards(requests, rows, "Ann")
    assert [c.key for c in mine] == [c.key for c in every[200:]]
    others = {c.key for c in all_cards(requests, rows, "Bob")}
    shared = {c.key for c in every[:200] if c.key in others}
    assert shared == {c.key for c in every[:200] if int(c.key, 16) % SHARED == 0}
    assert 20 <= len(shared) <= 60 and others - shared == {c.key for c in every[200:]}


def test_what_was_skipped_comes_to_others_and_what_was_undone_comes_again() -> None:
    requests = requests_of(3, 4)
    first = all_cards(requests, (), "Ann")[0]
    ids = first.request.request_id, "", first.candidate_ids
    skip = Judgement("s", 1.0, "Ann", "skip", *ids, "like")
    assert first.key not in {c.key for c in all_cards(requests, [skip], "Ann")}
    assert first.key in {c.key for c in all_cards(requests, [skip], "Bob")}
    undone = Judgement("u", 2.0, "Ann", "undo", undoes="s")
    assert all_cards(requests, [skip, undone], "Ann")[0].key == first.key


def test_nothing_is_ranked_for_cards_that_one_is_through_with() -> None:
    requests = requests_of(3, ANSWERS_EACH + 1)
    every = all_cards(requests, (), "Ann")
    ranked: list[str] = []

    def order(request: Request) -> list[tuple[str, ...]]:
        ranked.append(request.request_id)
        return random_order(request, pairs=False)

    rows = [said("Ann", card) for card in every[: 2 * ANSWERS_EACH]]
    made = cards(requests, standing(rows), CardsWanted("Ann", "like"), order)
    assert next(made).key == every[2 * ANSWERS_EACH].key
    assert ranked == [every[2 * ANSWERS_EACH].request.request_id]
    assert [card.key for card in made] == [card.key for card in every[2 * ANSWERS_EACH + 1 :]]
    assert len(ranked) == 3  # once each


def test_only_candidates_with_or_without_a_label_where_that_is_asked() -> None:
    requests = requests_of(2, 5)
    for labels, ids in (("with", {"c1", "c3"}), ("without", {"c0", "c2", "c4"})):
        wanted = CardsWanted("Ann", "like", labels)
        made = cards(requests, standing([]), wanted, lambda r: random_order(r, pairs=False))
        assert {card.candidate_ids[0] for card in made} == ids


def test_the_most_uncertain_come_first() -> None:
    """Entropies of .5, .9, .99; the nearest scores are b and c; what has no score never comes."""
    (request,) = requests_of(1, 4)
    chance = {"c0": 0.9, "c1": 0.5, "c2": 0.99}

    def doubt(name: str) -> float:
        p = chance.get(name, math.nan)
        return -p * math.log(p) - (1 - p) * math.log(1 - p)

    order = uncertain_order(request, doubt, chance.__getitem__, pairs=False)
    assert order == [("c1",), ("c0",), ("c2",)]
    pairs = uncertain_order(request, doubt, chance.__getitem__, pairs=True)
    assert [set(pair) for pair in pairs] == [{"c0", "c2"}, {"c0", "c1"}]
    assert doubt_of(None, "like") != doubt_of(None, "like")  # NaN


def test_where_two_rankings_differ_comes_first() -> None:
    """c0 c1 c2 c3 becomes c1 c2 c0 c3: c0 moves by 2, the others by 1, c3 by none."""
    (request,) = requests_of(1, 5)
    first = {"c0": 4.0, "c1": 3.0, "c2": 2.0, "c3": 1.0, "c4": 0.0}
    second = {"c0": 2.0, "c1": 4.0, "c2": 3.0, "c3": 1.0}  # c4 has no score
    order = differing_order(request, first, second, pairs=False)
    assert order == [("c0",), ("c1",), ("c2",)]
    pairs = differing_order(request, first, second, pairs=True)
    assert {frozenset(pair) for pair in pairs} == {frozenset(["c0", "c1"]), frozenset(["c0", "c2"])}


def test_keys_are_digits_and_letters_that_mean_one_answer() -> None:
    def question(**says: str) -> Question:
        values = {n: {"say": s, "value": i} for i, (n, s) in enumerate(says.items())}
        return Question.model_validate({"answers": values})

    asked = choices_of(question(like="Yes", dislike="No"))
    assert [(c.answer, c.keys) for c in asked] == [("like", ("1", "y")), ("dislike", ("2", "n"))]
    asked = choices_of(question(e="Exact", s="Substitute", c="Complement", i="Irrelevant", x="Ice"))
    assert [c.keys for c in asked] == [("1", "e"), ("2",), ("3",), ("4",), ("5",)]


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory, tiny_llama_path: Path) -> Desk:
    """Opened once: tests write nothing there but judgements."""
    root = make_project(tmp_path_factory.mktemp("label") / "toys", tiny_llama_path)
    build_requests(root)
    return desk_of(root)


@pytest.fixture
def toys(built: Desk) -> Path:
    (built.project / KEPT).unlink(missing_ok=True)
    return built.project


@pytest.fixture
def app(built: Desk, toys: Path) -> Starlette:
    return app_on(built)


def shown(text: str) -> dict[str, str]:
    """What the first card says of itself."""
    return {n: unescape(v) for n, v in re.findall(r'data-(\w+)="([^"]*)"', text.partition(">")[0])}


def judged(card: dict[str, str], **more: str) -> dict[str, str]:
    given = {"id": "j1", "who": "Ann", "kind": "answer", "answer": "like", "first": card["first"]}
    return {**given, "request_id": card["request"], "shown": card["shown"], **more}


@pytest.mark.long
def test_an_answer_is_kept_with_ids_and_no_texts_and_taken_back(toys: Path, app: Starlette) -> None:
    first = browse(app, "/label/cards?who=Ann&n=2").text
    assert first.count("<article") == 2 and "Will they like it?" in first
    card = shown(first)
    kept = browse(app, "/label/judge", judged(card, comment="= a reason"))
    assert kept.status_code == 200 and "by Ann" in kept.text
    (row,) = read_judgements(toys / KEPT)
    assert (row.request_id, row.candidate_ids) == (card["request"], (card["first"],))
    assert (row.answer, row.comment, row.labeller) == ("like", "= a reason", "Ann")
    assert row.subject_id == card["request"].partition("@")[0]
    assert "Toy" not in (toys / KEPT).read_text() and "Person" not in (toys / KEPT).read_text()
    browse(app, "/label/judge", judged(card))  # the same, sent again
    assert len(read_judgements(toys / KEPT)) == 1
    after = browse(app, "/label/cards?who=Ann&n=5").text
    assert f'data-key="{card["key"]}"' not in after
    browse(app, "/label/undo", {"id": "u1", "who": "Ann", "undoes": "j1"})
    assert shown(browse(app, "/label/cards?who=Ann&n=1").text)["key"] == card["key"]


@pytest.mark.long
def test_a_pair_is_kept_as_a_preference(toys: Path, app: Starlette) -> None:
    card = shown(browse(app, "/label/cards?who=Ann&what=pairs&n=1").text)
    given = judged(card, kind="preference", second=card["second"], what="pairs", answer="")
    browse(app, "/label/judge", {**given, "preferred": card["second"]})
    browse(app, "/label/judge", {**given, "id": "j2", "who": "Bob", "preferred": ""})
    rows = read_judgements(toys / KEPT)
    assert [(r.kind, r.preferred) for r in rows] == [
        ("preference", card["second"]),
        ("preference", None),
    ]
    assert rows[0].candidate_ids == (card["first"], card["second"])


def test_a_model_that_is_unsure_chooses_cards_and_the_row_says_so(
    toys: Path, app: Starlette
) -> None:
    for what in ("like", "pairs"):
        text = browse(app, f"/label/cards?who=Ann&by=uncertain&n=2&what={what}").text
        assert text.count("<article") == 2
    card = shown(browse(app, "/label/cards?who=Ann&by=uncertain&n=1").text)
    browse(app, "/label/judge", judged(card, by="uncertain"))
    assert read_judgements(toys / KEPT)[0].by == "uncertain"


def test_what_cannot_be_meant_is_refused_and_nothing_kept(toys: Path, app: Starlette) -> None:
    card = shown(browse(app, "/label/cards?who=Ann&n=1").text)
    wrong: list[tuple[dict[str, str], int, str]] = [
        ({"answer": "perhaps"}, 422, "no answer"),
        ({"request_id": "none"}, 422, "not in the request file"),
        ({"first": "none"}, 422, "not in the request file"),
        ({"kind": "guess"}, 422, "kind"),
        ({"who": " "}, 422, "labeller"),
        ({"who": "x" * 61}, 422, "labeller"),
        ({"comment": "x" * 2001}, 422, "comment"),
        ({"id": ""}, 422, "id"),
        ({"task": "no/such"}, 404, "no/such"),
        ({"what": "hate"}, 404, "hate"),
        ({"part": "tail"}, 404, "tail"),
        ({"by": "whim"}, 404, "whim"),
        ({"kind": "preference", "what": "pairs"}, 422, "candidate_ids"),
        ({"kind": "preference", "preferred": ""}, 422, "candidate_ids"),
        ({"kind": "skip", "what": "pairs"}, 422, "candidate_ids"),
    ]
    for change, status, words in wrong:
        answer = browse(app, "/label/judge", {**judged(card), **change})
        assert answer.status_code == status and words in answer.text, change
        assert not (toys / KEPT).exists() or read_judgements(toys / KEPT) == []


@pytest.mark.parametrize("trouble", ["a full disk", "a damaged line", "a busy file"])
def test_what_passes_is_answered_so_that_the_page_asks_again(
    toys: Path, app: Starlette, trouble: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    card = shown(browse(app, "/label/cards?who=Ann&n=1").text)
    (toys / KEPT).parent.mkdir(parents=True, exist_ok=True)
    monkeypatch.setattr(judgement_file, "_WAIT", 0.05)

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with ExitStack() as stack:
        if trouble == "a full disk":
            stack.enter_context(monkeypatch.context()).setattr(os, "fsync", full)
        elif trouble == "a damaged line":
            (toys / KEPT).write_text("{}\n")
        else:
            stack.enter_context(owned(toys / KEPT, "label"))
        for path, given in (
            ("/label/judge", judged(card)),
            ("/label/undo", {"id": "u1", "who": "Ann", "undoes": "j1"}),
        ):
            answer = browse(app, path, given)
            assert answer.status_code == 503 and "judgements/toys/like" in answer.text, answer.text
    (toys / KEPT).unlink(missing_ok=True)
    assert browse(app, "/label/judge", judged(card)).status_code == 200


def test_a_read_only_server_and_other_sites_write_nothing(
    built: Desk, toys: Path, app: Starlette
) -> None:
    card = shown(browse(app, "/label/cards?who=Ann&n=1").text)
    for headers in ({}, {"Sec-Fetch-Site": "cross-site"}, {"Origin": "http://evil.example"}):
        assert browse(app, "/label/judge", judged(card), headers).status_code == 403
    closed = app_on(replace(built, read_only=True))
    assert browse(closed, "/label/judge", judged(card)).status_code == 403
    undo = {"id": "u", "who": "Ann", "undoes": "j"}
    assert browse(closed, "/label/undo", undo).status_code == 403
    page = browse(closed, "/label").text
    assert "Nothing can be labelled here" in page and "label.js" not in page
    assert not (toys / KEPT).exists()


def test_without_a_sample_there_is_nothing_that_differs(app: Starlette) -> None:
    shown = browse(app, "/label/cards?who=Ann&by=different").text
    assert "Rank a sample" in shown and "<article" not in shown


def test_without_requests_the_page_says_what_to_run(built: Desk) -> None:
    bare = {name: replace(task, request_files=()) for name, task in built.tasks.items()}
    app = app_on(replace(built, tasks=bare))
    assert "promptrank build toys/like" in browse(app, "/label/cards?who=Ann").text
    assert browse(app, "/label").status_code == 200


def test_the_page_says_whether_the_task_reads_its_judgements(toys: Path, app: Starlette) -> None:
    assert "does not take its labels from there yet" in browse(app, "/label").text
    path = toys / "tasks/toys/like.yaml"
    before = path.read_text()
    try:
        path.write_text(f"{before}corrections: {KEPT}\n")
        assert "take answers from there as labels" in browse(app, "/label").text
    finally:
        path.write_text(before)


def test_exports_hold_what_stands_and_no_spreadsheet_runs_them(toys: Path, app: Starlette) -> None:
    hostile = '=HYPERLINK("http://evil.example")<script>alert(1)</script>'
    rows = [
        Judgement("a", 1e9, "Ann", "answer", "r", "s", ("c",), "like", "like", None, hostile),
        Judgement("b", 1e9 + 1, "Bob", "answer", "r", "s", ("c",), "like", "dislike"),
        Judgement("c", 1e9 + 2, "Ann", "preference", "r", "s", ("c", "d"), preferred=None),
        Judgement("d", 1e9 + 3, "Ann", "answer", "r", "s", ("e",), "like", "like"),
        Judgement("u", 1e9 + 4, "Ann", "undo", undoes="d"),
    ]
    append_judgements(toys / KEPT, rows)
    made = json.loads(browse(app, "/label/export?as=json").content)
    assert [row["candidate_id"] for row in made["judgements"]] == ["c", "c", "c"]
    assert made["judgements"][0]["comment"] == hostile and made["agreement"][0]["same"] == 0
    table = browse(app, "/label/export?as=csv")
    cells = list(csv.DictReader(io.StringIO(table.content.decode("utf-8-sig"))))
    assert cells[0]["comment"] == "'" + hostile and cells[2]["answer"] == "equal"
    assert "attachment" in table.headers["content-disposition"]
    page = browse(app, "/label/export?as=html").text
    assert "<script>" not in page and "&lt;script&gt;" in page and "default-src 'none'" in page
    assert browse(app, "/label/export?as=exe").status_code == 404


def test_the_key_of_a_pair_knows_no_side() -> None:
    assert card_key("r", None, ("a", "b")) == card_key("r", None, ("b", "a"))
    assert card_key("r", None, ("a", "b")) != card_key("r", "like", ("a",))


def test_judged_labels_reach_the_requests(toys: Path, app: Starlette) -> None:
    card = shown(browse(app, "/label/cards?who=Ann&n=1").text)
    opened = open_task("toys/like", project=toys, settings=[f"corrections={KEPT}"])

    def label() -> str | None:
        with request_file(opened, toys / "requests/toys.parquet", splits=None, say=silent) as file:
            (request,) = (r for r in file.read() if r.request_id == card["request"])
        return next(
            c.outcomes.get("like") for c in request.candidates if c.candidate_id == card["first"]
        )

    other = "dislike" if label() == "like" else "like"
    browse(app, "/label/judge", judged(card, answer=other))
    assert label() == other
    browse(app, "/label/judge", judged(card, answer="drop", id="j2"))
    assert label() is None
