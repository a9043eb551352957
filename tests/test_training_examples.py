"""Examples: the ids that are ranked, each label once, nothing of the future or held-out parts."""

import csv
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from promptrank.api.build import build
from promptrank.errors import InputError
from promptrank.prompt import Encoder
from promptrank.records import Candidate, Event, Item, Request, Subject
from promptrank.schema.task import Task
from promptrank.training.collate import Collator
from promptrank.training.examples import Example
from promptrank.training.label_shares import Choosable, HeldOut, select
from promptrank.training.prepared import Prepared, prepare
from promptrank.training.settings import Settings
from promptrank.training.survey import Survey
from promptrank.workspace.encoders import open_encoder
from promptrank.workspace.request_files import given_file
from promptrank.workspace.tasks import OpenTask, open_task
from support.toys import make_project

TURNS = ["history.as=turns", "ratings.group.last=3", "statistics={seen: {count: true}}"]


@pytest.fixture(scope="module")
def toys(tmp_path_factory: pytest.TempPathFactory, tiny_llama_path: Path) -> Path:
    return make_project(tmp_path_factory.mktemp("toys"), tiny_llama_path)


def opened(root: Path, settings: list[str]) -> OpenTask:
    return open_task("toys/like", project=root, settings=settings)


def examples_of(root: Path, file: Path, model: Path, settings: list[str]) -> list[Example]:
    task = opened(root, settings)
    if not file.is_file():
        build(task, file)
    return list(prepared(task, file, model, Settings(valid=0)).examples)


def prepared(task: OpenTask, file: Path, model: Path, settings: Settings) -> Prepared:
    def encoder_of(words: Task) -> Encoder:
        return open_encoder(replace(task, task=words), model, 2048)

    source = given_file(task, file)
    return prepare(
        task.name,
        task.task,
        source,
        settings,
        encoder_of,
        number=0,
        store=file.parent / "examples",
        say=lambda _: None,
    )


@pytest.mark.long
@pytest.mark.parametrize("settings", [[], TURNS])
def test_ids_trained_on_are_ids_ranked_on(
    toys: Path, tmp_path: Path, tiny_llama_path: Path, settings: list[str]
) -> None:
    file = tmp_path / "r.parquet"
    examples = examples_of(toys, file, tiny_llama_path, settings)
    task = opened(toys, settings)
    encoder = open_encoder(task, tiny_llama_path, 2048)
    requests = given_file(task, file).read({"train"})
    ranked = {e.request.request_id: e for e in encoder.encode_many(requests, turns=True)}
    assert examples
    for example in examples:
        encoded = ranked[example.request_id]
        assert encoded.tree is not None
        assert example.prefix == encoded.tree.prefix
        own = [branch for branch, _ in example.branches]
        assert all(branch in encoded.tree.branches for branch in own)
        assert len(own) == len(encoded.tree.branches) or settings
        for turn, target in zip(encoded.turns, example.turns, strict=False):
            before = turn.at - len(turn.slot.ids)
            assert example.prefix[before : turn.at] == turn.slot.ids
            assert target.path == turn.slot.paths[turn.path]
            assert example.prefix[turn.at : turn.at + len(target.path)] == target.path
        batch = Collator().batch([example])
        ids = [*example.prefix]
        for branch in own:
            ids += [*branch.ids, *branch.slots[0].ids]
        assert batch.forward.ids.tolist() == [ids]
        assert batch.tokens == example.tokens
    assert any(example.turns for example in examples) == bool(settings)


@pytest.mark.long
def test_under_turns_a_turn_reads_as_its_answer(
    toys: Path, tmp_path: Path, tiny_llama_path: Path
) -> None:
    from promptrank.prompt import open_tokenizer

    examples = examples_of(toys, tmp_path / "r.parquet", tiny_llama_path, TURNS)
    tokenizer = open_tokenizer(tiny_llama_path)
    words = Counter(
        (turn.answer, tokenizer.decode(turn.path).strip()) for e in examples for turn in e.turns
    )
    assert set(words) == {("like", "Yes"), ("dislike", "No")}


def future(root: Path, since: float) -> None:
    """Everything at or after a moment becomes something else."""
    path = root / "ratings.csv"
    with path.open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    for number, row in enumerate(rows):
        if float(row["at"]) >= since:
            row["stars"] = "1" if row["stars"] == "5" else "5"
            row["toy_id"] = f"t{(number * 3) % 20}"
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


@pytest.mark.long
@pytest.mark.parametrize("settings", [[], TURNS])
def test_nothing_at_or_after_a_label_changes_what_predicts_it(
    tmp_path: Path, tiny_llama_path: Path, settings: list[str]
) -> None:
    root = make_project(tmp_path / "p", tiny_llama_path)
    settings = [*settings, "split=null"]  # the split itself looks at who has how many rows
    before = examples_of(root, tmp_path / "a.parquet", tiny_llama_path, settings)
    cut = 1_000_000 + 1000 * 10 + 3  # in the middle of the third block of some, before it of others
    future(root, cut)
    after = examples_of(root, tmp_path / "b.parquet", tiny_llama_path, settings)
    was, now = ({e.request_id: e for e in examples} for examples in (before, after))
    time_of = {name: float(name.partition("@")[2]) for name in was}
    same = [name for name in was if time_of[name] + 4000 < cut]  # all five rows lie before
    begun = [name for name in was if time_of[name] <= cut]
    assert same and len(begun) > len(same) and len(begun) < len(was)
    for name in same:
        assert was[name] == now[name]
    for name in set(begun) & set(now):
        # Turns stand in the prefix, each as of its own event; all of them lie before the request.
        assert was[name].prefix == now[name].prefix


def entry(name: str, time: float, items: str, turns: dict[str, float]) -> Choosable:
    return Choosable(name, "m", time, tuple(items), tuple(turns.items()))


def test_requests_whose_labels_are_turns_already_are_left_out() -> None:
    entries = [
        entry("r1", 10, "ab", {}),
        entry("r2", 20, "cd", {"a": 10, "b": 11}),
        entry("r3", 30, "ef", {"c": 20, "d": 22}),
    ]
    shares = select(Survey(entries).subjects(), None)
    # r3 trains e, f and the turns c, d: r2 has nothing left, and r1 is nobody's turn.
    assert {name: share.labels for name, share in shares.items()} == {"r3": 4, "r1": 2}


def test_a_label_that_two_requests_show_is_trained_by_the_later_one() -> None:
    entries = [
        entry("r1", 10, "abc", {}),
        entry("r2", 20, "d", {"c": 12}),
        entry("r3", 30, "e", {"d": 20, "z": 5}),
    ]
    shares = select(Survey(entries).subjects(), None)
    assert shares["r3"].labels == 3  # e, d, and z, which is no candidate of any request here
    assert "r2" not in shares
    assert shares["r1"].labels == 3
    overlapping = [entry("r1", 10, "a", {}), *entries[1:], entry("r4", 40, "fgh", {"d": 20})]
    shares = select(Survey(overlapping).subjects(), None)
    assert shares["r4"].labels == 4 and shares["r3"].turns == {("d", 20)}


@st.composite
def logs(draw: st.DrawFn) -> Iterator[tuple[list[Choosable], int]]:
    """One member's requests in blocks, with the latest events before each as turns."""
    sizes = draw(st.lists(st.integers(1, 4), min_size=1, max_size=6))
    shown = draw(st.integers(0, 6))
    rows = [(f"i{n}", float(n)) for n in range(sum(sizes))]
    entries, start = [], 0
    for number, size in enumerate(sizes):
        past = tuple(rows[max(0, start - shown) : start])
        items = tuple(item for item, _ in rows[start : start + size])
        entries.append(Choosable(f"r{number}", "m", float(start), items, past))
        start += size
    return entries, sum(sizes)  # type: ignore[return-value]


@pytest.mark.long
@given(logs())
def test_every_label_trains_at_most_once_and_most_do(log: tuple[list[Choosable], int]) -> None:
    entries, labels = log
    shares = select(Survey(entries).subjects(), None)
    trained: Counter[str] = Counter()
    for request in entries:
        if (share := shares.get(request.request_id)) is not None:
            items = [i for i in request.labelled if i not in share.items]
            items += [i for i, t in request.turns if (i, t) not in share.turns]
            assert len(items) == share.labels
            trained.update(items)
    assert max(trained.values()) == 1
    assert 2 * len(trained) >= labels


def test_a_larger_limit_adds_to_a_smaller_one() -> None:
    entries = [Choosable(f"r{n}", f"m{n}", 1.0, ("a", "b"), ()) for n in range(20)]
    few, many = (
        list(select(Survey(entries).subjects(), 6)),
        list(select(Survey(entries).subjects(), 20)),
    )
    assert len(few) == 3 and many[:3] == few
    assert list(select(Survey(entries).subjects(), 6, seed=1)) != few


def test_a_held_out_label_never_stands_in_a_history() -> None:
    def item(name: str) -> Item:
        return Item(name, {})

    held = HeldOut()
    label = Candidate("c", item("a"), outcomes={"q": "yes"})
    held.add(Request("t", Subject("m"), (label, Candidate("d", item("b"))), time=50.0))
    events = (
        Event(item("a"), time=40.0),
        Event(item("a"), time=50.0),
        Event(item("b"), time=60.0),
    )
    request = Request("r", Subject("m"), (), events, 70.0)
    # The earlier look at a is history; b has no label in the held-out request.
    assert [e.time for e in held.without(request).history] == [40.0, 60.0]
    other = Request("r", Subject("n"), (), events, 70.0)
    assert held.without(other) is other


@pytest.mark.long
def test_turns_need_a_history_of_turns(toys: Path, tmp_path: Path, tiny_llama_path: Path) -> None:
    file = tmp_path / "r.parquet"
    task = opened(toys, [])
    build(task, file)
    with pytest.raises(InputError, match="needs history with as: turns"):
        prepared(task, file, tiny_llama_path, Settings(shape="turns"))


@pytest.mark.long
def test_test_requests_never_train(toys: Path, tmp_path: Path, tiny_llama_path: Path) -> None:
    file = tmp_path / "r.parquet"
    examples = examples_of(toys, file, tiny_llama_path, TURNS)
    task = opened(toys, TURNS)
    source = given_file(task, file)
    held = {r.request_id for r in source.read({"test", "valid"})}
    assert held and not held & {e.request_id for e in examples}
    labels = {
        (r.subject.subject_id, c.item.item_id)
        for r in source.read({"test", "valid"})
        for c in r.candidates
    }
    chosen = {e.request_id for e in examples}
    for request in source.read({"train"}):
        if request.request_id in chosen:
            shown = {(request.subject.subject_id, e.item.item_id) for e in request.history}
            assert not shown & labels
