"""The budget, worked by hand: with this tokenizer a text has as many tokens as bytes."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from promptrank.errors import TemplateError
from promptrank.prompt.budget import parts_of, shorten
from support.prompts import (
    PLAIN,
    encoder_of,
    event_of,
    item_of,
    one_byte_one_token,
    prompt_text,
    request_of,
)

HISTORY = tuple(event_of(f"Film {n}", time=float(n)) for n in range(5))


def encoder(folder: Path, tokens: int, text: str = PLAIN, **budget: Any) -> Any:
    return encoder_of(
        folder, text, one_byte_one_token(), budget={"tokens": tokens, "candidate": 20, **budget}
    )


def test_whole_events_are_dropped_oldest_first(tmp_path: Path) -> None:
    # "Rank.\n" 6 + "About me\n" 9 = 15; an event "like Film 4\n" is 12; the reserve is 20.
    request = request_of(history=HISTORY)
    for tokens, kept in ((95, 5), (94, 4), (59, 2), (58, 1), (46, 0), (35, 0)):
        encoded = encoder(tmp_path, tokens).encode(request)
        assert encoded.cuts.events_kept == kept, tokens
        assert encoded.cuts.events_dropped == 5 - kept
        assert encoded.cuts.any == (kept < 5)
        assert len(encoded.tree.prefix) == 15 + 12 * kept
    shown = prompt_text(encoder(tmp_path, 59), request)
    assert shown == "Rank.\nAbout me\nlike Film 3\nlike Film 4\nHeat\nAnswer:"


def test_a_long_event_ends_the_history_there(tmp_path: Path) -> None:
    history = (event_of("a"), event_of("b" * 90), event_of("c"))
    shown = prompt_text(encoder(tmp_path, 80), request_of(history=history))
    assert shown == "Rank.\nAbout me\nlike c\nHeat\nAnswer:"


def test_the_engines_limit_counts_too(tmp_path: Path) -> None:
    made = encoder_of(
        tmp_path, PLAIN, one_byte_one_token(), max_tokens=59, budget={"candidate": 20}
    )
    assert made.limit == 59
    assert made.encode(request_of(history=HISTORY)).cuts.events_kept == 2


def test_subject_fields_are_shortened_in_whole_words(tmp_path: Path) -> None:
    # 6 + "About " 6 + bio + "\n" 1 must be at most 50 - 20 = 30: 17 bytes of bio.
    bio = "likes old  films and new ones"
    request = request_of(history=HISTORY, member={"bio": bio})
    made = encoder(tmp_path, 50, shorten=["member.bio"])
    encoded = made.encode(request)
    assert encoded.cuts.fields == ("member.bio",)
    assert encoded.cuts.events_kept == 0
    assert prompt_text(made, request) == "Rank.\nAbout likes old  films\nHeat\nAnswer:"
    assert request.subject.member == {"bio": bio}, "the request itself is left alone"


def test_a_prefix_that_cannot_fit(tmp_path: Path) -> None:
    request = request_of(member={"bio": "word " * 20})
    encoded = encoder(tmp_path, 50).encode(request)
    assert encoded.tree is None
    (error,) = encoded.errors
    assert (error.reason, error.candidate_id) == ("prefix_too_long", None)
    assert "member.X" in error.message
    # Even without any bio, "Rank.\nAbout\n" takes 12 of the 11 tokens.
    encoded = encoder(tmp_path, 31, shorten=["member.bio"]).encode(request)
    assert encoded.errors[0].reason == "prefix_too_long"


def test_candidates_are_shortened_or_set_aside(tmp_path: Path) -> None:
    # title + "\n" 1 + "Answer:" 7 + " Yes" 4 must be at most 20: 8 bytes of title. The answers
    # share their space, so the longest path is the space in the tail and "Yes".
    items = {"a": item_of("12345678"), "b": item_of("1234 6789"), "c": item_of("x")}
    encoded = encoder(tmp_path, 90).encode(request_of(items))
    assert encoded.candidate_ids == ("a", "c")
    assert [(e.candidate_id, e.reason) for e in encoded.errors] == [("b", "candidate_too_long")]
    made = encoder(tmp_path, 90, shorten=["member.bio", "item.title"])
    encoded = made.encode(request_of(items))
    assert encoded.candidate_ids == ("a", "b", "c")
    assert encoded.cuts.candidates == {"b": ("item.title",)}
    assert prompt_text(made, request_of(items), 1).endswith("me\n1234\nAnswer:")


def test_shortened_items_are_remembered_by_key(tmp_path: Path) -> None:
    made = encoder(tmp_path, 90, shorten=["item.title"])
    items = {"a": item_of("1234 6789", "key")}
    first = made.encode(request_of(items))
    assert made.encode(request_of(items)) == first
    whole = encoder(tmp_path, 90, shorten=["item.title"], candidate=40).encode(request_of(items))
    assert whole.tree.branches[0].ids != first.tree.branches[0].ids


def test_context_before_item_as_declared(tmp_path: Path) -> None:
    text = """\
{% block subject %}Me{% endblock %}
{% block candidate %}{{ item.title }}|{{ context.why }}{% endblock %}
{% block question %}Answer:{% endblock %}"""
    made = encoder_of(
        tmp_path,
        text,
        one_byte_one_token(),
        history=None,
        budget={"candidate": 20, "shorten": ["context.why", "item.title"]},
    )
    request = request_of({"a": item_of("ab cd ef")}, a={"why": "because so"})
    # "|" 1 + 12 leave 7 bytes: all of why goes, then "ef".
    assert prompt_text(made, request).endswith("\nab cd|\nAnswer:")
    assert made.encode(request).cuts.candidates == {"a": ("context.why", "item.title")}


@pytest.mark.parametrize("form", ["list", "turns"])
def test_budget_of_an_event(tmp_path: Path, form: str) -> None:
    def made(**budget: Any) -> Any:
        return encoder_of(
            tmp_path,
            PLAIN,
            one_byte_one_token(),
            history={"last": 9, "as": form},
            budget={"tokens": 200, "candidate": 20, **budget},
        )

    history = (event_of("a film of many words"), event_of("Up"))
    encoded = made(event=18).encode(request_of(history=history))
    assert [e.reason for e in encoded.errors] == ["event_too_long"]
    assert (encoded.cuts.events_kept, encoded.cuts.events_failed) == (1, 1)
    encoded = made(event=18, shorten=["item.title"]).encode(request_of(history=history))
    assert encoded.errors == ()
    assert encoded.cuts.event_fields == {"item.title": 1}
    text = prompt_text(made(event=18, shorten=["item.title"]), request_of(history=history))
    # list: "like " 5 + title + 1; turns: title + "\nAnswer: Yes\n" 13.
    shown = {"list": "like a film of\nlike Up\n", "turns": "a\nAnswer: Yes\nUp\nAnswer: Yes\n"}
    assert text == f"Rank.\nAbout me\n{shown[form]}Heat\nAnswer:"


def test_a_reserve_that_leaves_nothing(tmp_path: Path) -> None:
    made = encoder(tmp_path, 20)
    assert made.problems[0].startswith("budget.candidate: 20 of 20")
    with pytest.raises(TemplateError, match="leaves nothing"):
        made.encode(request_of())


def test_a_reserve_too_small_for_any_question(tmp_path: Path) -> None:
    # "Answer: Yes" takes 11 tokens, and a candidate at least one more.
    assert encoder(tmp_path, 90, candidate=12).problems == ()
    made = encoder(tmp_path, 90, candidate=11)
    assert made.problems[0].startswith("budget.candidate: question and answer take 11 tokens")


def test_cuts_as_plain_values(tmp_path: Path) -> None:
    cuts = encoder(tmp_path, 59).encode(request_of(history=HISTORY)).cuts
    assert cuts.as_dict() == {
        "events_given": 5,
        "events_kept": 2,
        "events_dropped": 3,
        "events_failed": 0,
        "events_unlabelled": 0,
        "fields": (),
        "event_fields": {},
        "candidates": {},
    }


def test_parts_of_fields() -> None:
    assert parts_of("one  two\nthree") == ["one", "  two", "\nthree"]
    assert parts_of("x" * 70) == ["x" * 32, "x" * 32, "x" * 6]
    assert parts_of(["a", "b"]) == ["a", "b"]
    assert parts_of(3) is None


@pytest.mark.long
@given(
    words=st.lists(st.integers(1, 9), min_size=1, max_size=60),
    room=st.integers(0, 300),
    fixed=st.integers(0, 40),
)
@settings(max_examples=200, deadline=None)
def test_as_little_as_possible_is_cut(words: list[int], room: int, fixed: int) -> None:
    """Against trying every count: the longest beginning that fits is found."""
    text = " ".join("w" * n for n in words)
    shortened = shorten(
        ["item.text"], {"item": {"text": text}}, lambda r: fixed + len(r["item"]["text"]), room
    )
    beginnings = [" ".join("w" * n for n in words[:count]) for count in range(len(words))]
    fitting = [b for b in beginnings if fixed + len(b) <= room]
    if not fitting:
        assert shortened is None
    else:
        assert shortened is not None
        assert shortened[0]["item"]["text"] == fitting[-1]
        assert shortened[1] == ("item.text",)


def test_later_fields_only_when_earlier_ones_are_empty() -> None:
    roots = {"item": {"a": "x x", "b": "y y", "n": 7}}

    def length(given: Any) -> int:
        return len(given["item"]["a"]) + len(given["item"]["b"])

    names = ["item.n", "item.missing", "query.text", "item.a", "item.b"]
    for room, a, b, cut in (
        (5, "x", "y y", ("item.a",)),
        (3, "", "y y", ("item.a",)),
        (2, "", "y", ("item.a", "item.b")),
        (0, "", "", ("item.a", "item.b")),
    ):
        shortened = shorten(names, roots, length, room)
        assert shortened is not None
        assert (shortened[0]["item"]["a"], shortened[0]["item"]["b"], shortened[1]) == (a, b, cut)
