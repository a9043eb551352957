"""Whole prompts: golden texts, turns, frames around items, and independence of candidates."""

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

from promptrank.prompt import Encoder, TextTokenizer, load_template, open_tokenizer
from promptrank.prompt.template import SLOT_TEXT
from promptrank.records import Candidate, Event, Item, Request, Subject
from promptrank.schema.load import load_task
from support.prompts import (
    PLAIN,
    SHIPPED,
    binary,
    byte_bpe,
    encoder_of,
    event_of,
    item_of,
    prompt_text,
    request_of,
    sentencepiece,
)

MOVIES = (
    ("1", "Toy Story", 1995, "Animation, Comedy"),
    ("2", "Heat", 1995, "Action"),
    ("3", "unknown", None, ""),
)


def movies_request() -> Request:
    items = [Item(i, {"title": t, "year": y, "genres": g}, ("m", i)) for i, t, y, g in MOVIES]
    history = (
        Event(items[0], "like", 10.0, {"liked": 0.875}, outcomes={"like": "like"}),
        Event(items[2], "dislike", 20.0, {"liked": None}, outcomes={"like": "dislike"}),
    )
    member = {"age": 33, "gender": "F", "occupation": None}
    subject = Subject("7", member, source=items[0])
    return Request("r", subject, (Candidate("2", items[1], stats={"liked": 0.6}),), history, 99.0)


GOLDEN = {
    "like": """\
Movies that one person has rated.
Toy Story (1995), Animation, Comedy
Share of viewers who liked it: 88%
Liked it: Yes
unknown
Liked it: No
Heat (1995), Action
Share of viewers who liked it: 60%
Liked it:""",
    "similar": """\
You judge whether people who love one movie love another one too.
First movie: Toy Story (1995), Animation, Comedy
Second movie: Heat (1995), Action
Would somebody who loved the first movie love the second one? Answer:""",
}


@pytest.mark.parametrize("name", sorted(GOLDEN))
@pytest.mark.parametrize("make", [byte_bpe, sentencepiece])
def test_golden_prompts_of_shipped_tasks(name: str, make: Any) -> None:
    task = load_task(SHIPPED.parent / "tasks" / "movies" / f"{name}.yaml")
    tokenizer = make()
    encoder = Encoder(task, load_template(task.template, [SHIPPED]), tokenizer, max_tokens=4096)
    assert encoder.problems == ()
    request = movies_request()
    assert prompt_text(encoder, request) == GOLDEN[name]
    tree = encoder.encode(request).tree
    assert tree is not None
    ids = [*tree.prefix, *tree.branches[0].ids, *tree.branches[0].slots[0].ids]
    assert tokenizer.decode(ids[len(tokenizer.bos) :]) == GOLDEN[name]


def test_smollm2(smollm2_path: Path) -> None:
    """Graded answers are two tokens there, a space and a digit; the space moves into the tail."""
    tokenizer = open_tokenizer(smollm2_path)
    task = load_task(SHIPPED.parent / "tasks" / "movies" / "rating.yaml")
    encoder = Encoder(task, load_template(task.template, [SHIPPED]), tokenizer, max_tokens=8192)
    assert encoder.problems == ()
    encoded = encoder.encode(movies_request())
    assert encoded.tree is not None
    slot = encoded.tree.branches[0].slots[0]
    assert tokenizer.decode(slot.ids).endswith("Stars: ")
    assert [tokenizer.decode(path) for path in slot.paths] == ["1", "2", "3", "4", "5"]
    whole = [*encoded.tree.prefix, *encoded.tree.branches[0].ids, *slot.ids]
    assert tuple(whole) == tokenizer.encode(tokenizer.decode(whole)), "as if encoded at once"


def test_turns_are_candidates_with_answers(tmp_path: Path) -> None:
    history = (event_of("Up"), event_of("Jaws", "dislike"), Event(item_of("Seen"), "view", 1.0))
    encoder = encoder_of(tmp_path, history={"last": 9, "as": "turns"})
    request = request_of({"c": item_of("Heat")}, history)
    assert prompt_text(encoder, request) == (
        "Rank.\nAbout me\nUp\nAnswer: Yes\nJaws\nAnswer: No\nHeat\nAnswer:"
    )
    encoded = encoder.encode(request)
    assert encoded.tree is not None
    assert (encoded.cuts.events_kept, encoded.cuts.events_unlabelled) == (2, 1)
    # The last turn's ids are the ids of the same item as a candidate, its slot and its answer.
    again = encoder.encode(request_of({"c": item_of("Jaws")})).tree
    assert again is not None
    slot = again.branches[0].slots[0]
    turn = (*again.branches[0].ids, *slot.ids, *slot.paths[1], *byte_bpe().encode("x\n")[1:])
    assert encoded.tree.prefix[-len(turn) :] == turn


def test_turns_ask_the_question_named(tmp_path: Path) -> None:
    text = PLAIN.replace("Answer:", "{{ question.name }}:")
    encoder = encoder_of(
        tmp_path,
        text,
        history={"last": 9, "as": "turns", "question": "view"},
        questions={"like": binary(), "view": binary("Seen", "Not")},
        score="0.5*like+0.5*view",
    )
    event = Event(item_of("Up"), "x", 1.0, outcomes={"view": "like"})
    shown = prompt_text(encoder, request_of(history=(event, event_of("Jaws"))), question=1)
    assert shown == "Rank.\nAbout me\nUp\nview: Seen\nHeat\nview:"


@pytest.mark.long
@pytest.mark.parametrize("form", ["list", "turns"])
def test_empty_history(tmp_path: Path, form: str) -> None:
    encoder = encoder_of(tmp_path, history={"last": 9, "as": form})
    assert prompt_text(encoder, request_of()) == "Rank.\nAbout me\nHeat\nAnswer:"


def test_an_unknown_outcome_is_an_event_error(tmp_path: Path) -> None:
    encoder = encoder_of(tmp_path, history={"last": 9, "as": "turns"})
    encoded = encoder.encode(request_of(history=(event_of("Up", "adore"), event_of("Jaws"))))
    assert [e.reason for e in encoded.errors] == ["event_unknown_answer"]
    assert encoded.cuts.events_kept == 1


FRAME = """\
{% block item %}{{ item.title }}: {{ item.text }}{% endblock %}
{% block event %}
{{ event.age | ago }}
{{ self.item() }}
{% endblock %}
{% block candidate %}
{{ context.km }} km away
{{ self.item() }}
{% if stats %}{{ stats.n }} likes{% endif %}
{% endblock %}
{% block question %}Answer:{% endblock %}"""


def test_frames_around_the_items_own_fragment(tmp_path: Path) -> None:
    encoder = encoder_of(tmp_path, FRAME)
    item = item_of("Heat", "key", text="Two men.")
    event = Event(item, "like", 1000.0 - 7200)
    request = request_of({"a": item, "b": item}, (event,), a={"km": 1}, b={"km": 22})
    preview = encoder.preview(request)
    assert [p.text for p in preview.prefix] == ["2 hours ago\n", "Heat: Two men.\n"]
    shown = [[p.text for p in c.pieces] for c in preview.candidates]
    assert shown == [
        ["1 km away\n", "Heat: Two men.\n"],
        ["22 km away\n", "Heat: Two men.\n"],
    ]
    assert preview.prefix[1].ids is preview.candidates[1].pieces[1].ids, "tokenized once"
    tree = preview.encoded.tree
    assert tree is not None
    text = byte_bpe().decode([*tree.prefix, *tree.branches[1].ids])
    assert text == "2 hours ago\nHeat: Two men.\n22 km away\nHeat: Two men.\n"


def test_data_cannot_pose_as_the_items_place(tmp_path: Path) -> None:
    encoder = encoder_of(tmp_path, FRAME, history=None)
    item = item_of("Heat", "key", text=SLOT_TEXT)
    shown = prompt_text(encoder, request_of({"a": item}, a={"km": SLOT_TEXT + "\n" + SLOT_TEXT}))
    assert shown == f"{SLOT_TEXT}\n{SLOT_TEXT} km away\nHeat: {SLOT_TEXT}\nAnswer:"


def test_the_items_place_needs_its_own_line(tmp_path: Path) -> None:
    text = FRAME.replace("km away\n", "km away: ")
    encoded = encoder_of(tmp_path, text, history=None).encode(
        request_of({"a": item_of("t", text="x")}, a={"km": 1})
    )
    assert "own line" in encoded.errors[0].message


FIELDS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="▁"), max_size=30)


@pytest.mark.long
@pytest.mark.parametrize("make", [byte_bpe, sentencepiece])
@pytest.mark.parametrize("form", ["list", "turns"])
@given(
    titles=st.lists(FIELDS, min_size=1, max_size=4), old=st.lists(FIELDS, max_size=3), bio=FIELDS
)
@settings(max_examples=25, deadline=None)
def test_ids_decode_to_the_preview(
    make: Any, form: str, titles: list[str], old: list[str], bio: str, tmp_path_factory: Any
) -> None:
    folder = tmp_path_factory.getbasetemp()
    tokenizer = make()
    encoder = encoder_of(folder, tokenizer=tokenizer, history={"last": 9, "as": form})
    items = {str(n): item_of(t) for n, t in enumerate(titles)}
    request = request_of(items, tuple(event_of(t) for t in old), {"bio": bio})
    preview = encoder.preview(request)
    tree = encoder.encode(request).tree
    assert tree is not None
    assert tree == preview.encoded.tree
    assert list(tree.prefix) == [i for p in preview.prefix for i in p.ids]
    for branch, candidate in zip(tree.branches, preview.candidates, strict=True):
        pieces = (*preview.prefix, *candidate.pieces, *candidate.questions[0])
        ids = [*tree.prefix, *branch.ids, *branch.slots[0].ids]
        assert ids == [i for p in pieces for i in p.ids]
        assert tokenizer.decode(ids) == "".join(p.text for p in pieces)


@pytest.mark.long
@given(order=st.permutations(range(5)), count=st.integers(1, 5))
@settings(max_examples=40, deadline=None)
def test_a_candidate_does_not_see_the_others(
    order: list[int], count: int, tmp_path_factory: Any
) -> None:
    """Among them one too long, one shortened and one that cannot be rendered."""
    titles = ["Heat", "long " * 90, None, "Up", "x" * 400]
    encoder = encoder_of(
        tmp_path_factory.getbasetemp(),
        max_tokens=140,
        budget={"candidate": 60, "shorten": ["item.title"]},
    )
    history = tuple(event_of(f"Old {n} " + "very " * 5, time=float(n)) for n in range(9))
    alone = {}
    for number, title in enumerate(titles):
        encoded = encoder.encode(request_of({str(number): item_of(title)}, history))
        alone[str(number)] = encoded
    items = {str(n): item_of(titles[n]) for n in order[:count]}
    encoded = encoder.encode(request_of(items, history))
    errors = {e.candidate_id: e for e in encoded.errors}
    branches = dict(zip(encoded.candidate_ids, encoded.tree.branches if encoded.tree else (),
                        strict=True))  # fmt: skip
    for name in items:
        single = alone[name]
        if single.tree is None:
            assert errors[name] == single.errors[0]
            continue
        assert encoded.tree is not None
        assert encoded.tree.prefix == single.tree.prefix
        assert branches[name] == single.tree.branches[0]
        assert encoded.cuts.candidates.get(name) == single.cuts.candidates.get(name)


def test_encode_many_is_lazy_and_keeps_order(tmp_path: Path) -> None:
    encoder = encoder_of(tmp_path)
    seen = []

    def requests() -> Any:
        for number in range(200):
            seen.append(number)
            yield request_of({f"c{number}": item_of(f"Movie {number}")})

    encoded = encoder.encode_many(requests())
    assert next(encoded).candidate_ids == ("c0",)
    assert len(seen) < 100
    assert [e.candidate_ids[0] for e in encoded] == [f"c{n}" for n in range(1, 200)]


def test_the_fingerprint_of_equal_prompts_is_the_same_in_every_release(tmp_path: Path) -> None:
    """Manifests and fusions keep it: another digest of the same prompt would refuse them."""
    encoder = encoder_of(tmp_path, questions={"like": binary("Já", "No")})
    answers = '{"like": ["", [["like", ["J\\u00e1"]], ["dislike", ["No"]]]]}'
    assert encoder.fingerprints["answers"] == hashlib.sha256(answers.encode()).hexdigest()
    assert encoder.fingerprints["chat"] == hashlib.sha256(b"null").hexdigest()
    parts = json.dumps(encoder.fingerprints, sort_keys=True)
    assert encoder.fingerprint == hashlib.sha256(parts.encode()).hexdigest()


def test_fingerprint_follows_what_makes_ids(tmp_path: Path) -> None:
    first = encoder_of(tmp_path).fingerprint
    assert first == encoder_of(tmp_path).fingerprint
    others = {
        encoder_of(tmp_path, PLAIN + " ").fingerprint,
        encoder_of(tmp_path, tokenizer=sentencepiece()).fingerprint,
        encoder_of(tmp_path, chat=True).fingerprint,
        encoder_of(tmp_path, questions={"like": binary("yes", "no")}).fingerprint,
        encoder_of(tmp_path, vars={"a": 1}).fingerprint,
        encoder_of(tmp_path, max_tokens=512).fingerprint,
    }
    assert len(others - {first}) == 6
    # What does not change ids does not change it either.
    assert first == encoder_of(tmp_path, metrics=["auc"], description="other").fingerprint


def test_seams_are_found(tmp_path: Path) -> None:
    """With a token for "line's end, slash", a title that begins with a slash makes a seam."""
    vocab = {c: i for i, c in enumerate([*sorted(pre_tokenizers.ByteLevel.alphabet()), "Ċ/"])}
    core = Tokenizer(models.BPE(vocab=vocab, merges=[("Ċ", "/")]))
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    core.decoder = decoders.ByteLevel()
    encoder = encoder_of(tmp_path, tokenizer=TextTokenizer(core))
    assert encoder.seams(encoder.preview(request_of())) == []
    chat = encoder_of(tmp_path, chat=True, history={"last": 9, "as": "turns"})
    assert chat.seams(chat.preview(request_of(history=(event_of("Up"),)))) == []
    seams = encoder.seams(encoder.preview(request_of({"c": item_of("/root")})))
    assert seams == ["'About me\\n' before '/root\\n'"]


def test_statistics_that_a_request_made_by_hand_lacks_are_null(tmp_path: Path) -> None:
    task = load_task(SHIPPED.parent / "tasks" / "movies" / "like.yaml")
    encoder = Encoder(task, load_template(task.template, [SHIPPED]), byte_bpe(), max_tokens=4096)
    item = Item("1", {"title": "Heat", "year": 1995, "genres": ""})
    request = Request("r", Subject(), (Candidate("1", item),))
    assert prompt_text(encoder, request) == (
        "Movies that one person has rated.\nHeat (1995)\nLiked it:"
    )
