"""Examples on disk: those in memory to the bit, encoded once, whoever encodes them."""

import pickle
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import psutil
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from promptrank.api.build import build
from promptrank.errors import DataError, InputError
from promptrank.prompt import Encoder
from promptrank.records import Candidate, Event, Item, Request, Subject
from promptrank.training import encoding, example_rows, example_store
from promptrank.training import prepared as preparing
from promptrank.training.encoding import Chosen, ChunkEncoder, Recipe, chunks
from promptrank.training.encoding_processes import encoded_by
from promptrank.training.example_store import ABOUT, ROWS, StoredExamples
from promptrank.training.examples import Example, examples
from promptrank.training.label_shares import Choosable, Share, entry_of
from promptrank.training.prepared import prepare
from promptrank.training.settings import Settings
from promptrank.training.survey import Survey
from promptrank.workspace.request_files import given_file
from promptrank.workspace.tasks import OpenTask, open_task
from promptrank.workspace.training_parts import EncoderOpener
from support.processes import alive, kill
from support.prompts import byte_bpe, encoder_of
from support.runs import QUICK, TURNS, apart, run
from support.toys import make_project

GRADED = {
    "answers": {
        "bad": {"say": ["Bad", "Poor"], "value": 0},
        "fair": {"say": ["Fair"], "value": 0.5},
        "good": {"say": ["Good", "Very good", "Fine"], "value": 1},
    },
    "relevant": 0.5,
}
LIKE = {"answers": {"like": {"say": ["Yes", "Sure"], "value": 1}, "no": {"say": "No", "value": 0}}}


@pytest.fixture(scope="module")
def asked(tmp_path_factory: pytest.TempPathFactory) -> Encoder:
    """Two questions about an item, one of three grades; histories are turns."""
    return encoder_of(
        tmp_path_factory.mktemp("asked"),
        tokenizer=byte_bpe(),
        max_tokens=400,
        questions={"like": LIKE, "grade": GRADED},
        score="like + grade",
        history={"last": 10, "as": "turns", "question": "like"},
    )


WORDS = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
OUTCOMES = st.fixed_dictionaries(
    {},
    optional={
        "like": st.sampled_from(["like", "no"]),
        "grade": st.sampled_from(["bad", "fair", "good"]),
    },
)
WEIGHTS = st.none() | st.floats(0, 1e6) | st.sampled_from([1 / 3, 5e-324])


@st.composite
def requests(draw: st.DrawFn) -> list[Request]:
    made = []
    for number in range(draw(st.integers(1, 5))):
        items = draw(st.lists(WORDS, min_size=1, max_size=4))
        candidates = tuple(
            Candidate(
                f"{draw(WORDS)}{place}",
                Item(f"i{place}", {"title": title}),
                weight=draw(WEIGHTS),
                outcomes=draw(OUTCOMES),
            )
            for place, title in enumerate(items)
        )
        events = tuple(
            Event(Item(f"e{place}", {"title": title}), time=float(place), outcomes={"like": answer})
            for place, (title, answer) in enumerate(
                draw(st.lists(st.tuples(WORDS, st.sampled_from(["like", "no"])), max_size=3))
            )
        )
        member = {"bio": draw(WORDS)}
        subject = Subject(f"m{number % 2}", member)
        made.append(Request(f"{draw(WORDS)}-{number}", subject, candidates, events, 100.0))
    return made


def stored(encoder: Encoder, chosen: list[Chosen], folder: Path) -> StoredExamples:
    """Written to a folder and opened again; the task has the number 3."""
    recipe = Recipe(encoder.task, (encoder.task,), lambda task: encoder, True, {"grade": 0.3})
    with example_store.writing(folder) as written:
        made = map(ChunkEncoder(recipe).encode, chunks(chosen))
        for _ in written.rows(made):
            pass
    return StoredExamples(folder, 3)


@pytest.mark.long
@given(requests())
@settings(max_examples=25)
def test_examples_read_back_are_those_in_memory(asked: Encoder, given: list[Request]) -> None:
    shares = {r.request_id: Share(0) for r in given}
    memory = examples(
        asked.task, asked, given, shares, number=3, turns=True, weights={"grade": 0.3}
    )
    wanted = {example.request_id: example for example in memory}
    places = [len(given) - 1 - place for place in range(len(given))]  # a sample in another order
    chosen = [Chosen(p, r, Share(0)) for p, r in zip(places, given, strict=True)]
    with TemporaryDirectory() as folder:
        read = stored(asked, chosen, Path(folder) / "examples")
        order = [r.request_id for r in reversed(given) if r.request_id in wanted]
        assert read.ids() == order and len(read) == len(order)
        for name, example in zip(order, read, strict=True):
            # Weights too: equal and of one type, so equal to the bit.
            assert repr(example) == repr(wanted[name])
            assert example == wanted[name]
            for target in (t for _, targets in example.branches for t in targets if t):
                assert type(target.weight) is float and type(target.shares) is tuple
        assert read[1:] == [wanted[name] for name in order[1:]]
        again = pickle.loads(pickle.dumps(read))
        assert list(again) == list(read)
        with pytest.raises(IndexError):
            read[len(read)]


def in_memory(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """From here on a run trains on the objects that it encoded; gives how many those are."""
    kept: dict[int, Example] = {}
    counts: list[int] = []
    to_batch = example_rows.to_batch

    def keep(places: list[int], made: list[Example]) -> Any:
        kept.update(zip(places, made, strict=True))
        return to_batch(places, made)

    def from_memory(folder: Path, task: int) -> list[Example]:
        counts.append(len(kept))
        return [kept[place] for place in sorted(kept)]

    monkeypatch.setattr(encoding, "to_batch", keep)
    monkeypatch.setattr(preparing, "StoredExamples", from_memory)
    return counts


@pytest.mark.long
def test_training_from_disk_is_training_from_memory_and_is_reused(
    toys: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PROMPTRANK_CACHE", str(tmp_path / "cache"))
    training = replace(QUICK, steps=3, valid=0)
    said: list[str] = []
    encoded: list[tuple[int, int | None]] = []
    first = run(toys, "first", training=training, say=said.append)
    assert not any("reused" in line for line in said)
    second = run(
        toys,
        "second",
        training=training,
        say=said.append,
        encoding=lambda *step: encoded.append(step),
    )
    assert sum("toys/like: examples: reused from" in line for line in said) == 1
    assert not encoded and first.labels == second.labels == {"toys/like": 108}
    (folder,) = (tmp_path / "cache/examples").iterdir()
    assert sorted(p.name for p in folder.iterdir()) == [ROWS, ABOUT]

    monkeypatch.setenv("PROMPTRANK_CACHE", str(tmp_path / "other"))
    with monkeypatch.context() as patch:
        counts = in_memory(patch)
        memory = run(toys, "memory", training=training, encoding=lambda *s: encoded.append(s))
    assert counts == [24] and encoded == [(24, 24)]
    assert apart(first.path, second.path) == 0
    # Another cache has other measured ways of the products, which round otherwise.
    assert apart(first.path, memory.path) < 1e-5


@pytest.mark.long
def test_what_changes_examples_makes_new_ones(
    toys: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, tiny_llama_path: Path
) -> None:
    """Also what is damaged; and what was used longest ago makes room."""
    store, plain = tmp_path / "examples", Settings(valid=0)
    file = tmp_path / "r.parquet"
    build(open_task("toys/like", project=toys, settings=TURNS), file)
    said: list[str] = []

    def made(training: Settings = plain, *more: str) -> set[Path]:
        said.clear()
        before = set(store.iterdir()) if store.is_dir() else set()
        task = open_task("toys/like", project=toys, settings=[*TURNS, *more])
        opener = EncoderOpener(task, tiny_llama_path, 2048)
        read = given_file(task, file)
        prepare("toys/like", task.task, read, training, opener, number=0, store=store, say=say)
        return set(store.iterdir()) - before

    say = said.append
    (first,) = made()
    assert not any("reused" in line for line in said)
    assert made() == made(replace(plain, lr=0.5, rank=4, batch=2)) == set()
    assert f"toys/like: examples: reused from {first}" in said
    others = [
        made(plain, "budget.tokens=180"),
        made(replace(plain, shape="packed")),
        made(replace(plain, limit=40)),
        made(replace(plain, seed=1)),
        made(replace(plain, questions={"like": 2.0})),
        made(replace(plain, templates={"toys/like.j2": 0.5})),
    ]
    template = toys / "templates/toys/like.j2"
    template.write_text(template.read_text().replace("Toy:", "Plaything:"))
    others.append(made())
    assert all(len(each) == 1 for each in others)
    assert not any("reused" in line for line in said)

    template.write_text(template.read_text().replace("Plaything:", "Toy:"))
    whole = (first / ROWS).read_bytes()
    (first / ROWS).write_bytes(whole[:-100])
    made()
    assert any("encoded anew" in line and "is not what was written" in line for line in said)
    assert (first / ROWS).read_bytes() == whole
    (first / ABOUT).unlink()
    made()
    assert any("encoded anew" in line for line in said)
    assert (first / ABOUT).is_file() and not list(store.glob(".*"))  # no lock, no part

    monkeypatch.setenv(example_store.ROOM, "0.000001")
    (newest,) = made(replace(plain, seed=2))
    assert list(store.iterdir()) == [newest]
    monkeypatch.setenv(example_store.ROOM, "much")
    with pytest.raises(InputError, match="PROMPTRANK_EXAMPLES_GB: a number of gigabytes"):
        made(replace(plain, seed=3))


@pytest.mark.long
def test_without_a_cache_examples_lie_with_the_run(
    toys: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("PROMPTRANK_CACHE", str(tmp_path / "file"))
    done = run(toys, training=replace(QUICK, steps=1, valid=0))
    assert sorted(p.name for p in done.path.parent.iterdir()) == ["a"]


@given(st.lists(st.tuples(st.integers(0, 3), st.none() | st.floats(0, 9), st.integers(0, 3))))
def test_a_survey_gives_back_what_it_took(rows: list[tuple[int, float | None, int]]) -> None:
    entries = [
        Choosable(f"r{n}", f"m{member}", time, ("a",) * size, (("b", time), (f"c{size}", None)))
        for n, (member, time, size) in enumerate(rows)
    ]
    survey = Survey(entries)
    groups = list(survey.subjects())
    assert len(survey) == len(entries)
    assert [group[0].subject_id for group in groups] == list(
        dict.fromkeys(entry.subject_id for entry in entries)
    )
    for group in groups:
        assert group == [e for e in entries if e.subject_id == group[0].subject_id]


def chosen_of(root: Path, out: Path) -> tuple[OpenTask, list[Chosen]]:
    task = open_task("toys/like", project=root)
    build(task, out)
    read = list(given_file(task, out).read({"train"}))
    chosen = [
        Chosen(n, r, Share(len(entry_of(r, task.task, False).labelled)), n % 2)
        for n, r in enumerate(read)
    ]
    return task, chosen


@pytest.mark.slow
def test_several_processes_encode_what_a_single_one_does(
    tmp_path: Path, tiny_llama_path: Path
) -> None:
    root = make_project(tmp_path / "toys", tiny_llama_path, rounds=120)
    opened, chosen = chosen_of(root, tmp_path / "r.parquet")
    other = opened.task.model_copy(update={"vars": {"other": "words"}})
    opener = EncoderOpener(opened, tiny_llama_path, 2048)
    recipe = Recipe(opened.task, (opened.task, other), opener, False, {})
    assert len(chosen) > 3 * 64
    alone = list(map(ChunkEncoder(recipe).encode, chunks(chosen)))
    for workers in (1, 3):
        together = list(encoded_by(workers, recipe, chunks(chosen)))
        assert [(e.rows, e.facts) for e in together] == [(e.rows, e.facts) for e in alone]

    def killed() -> Iterator[list[Chosen]]:
        waiting = list(chunks(chosen))
        yield from waiting[:1]
        for child in psutil.Process().children():
            kill(child)
        yield from waiting[1:]

    with pytest.raises(DataError, match=r"ended by itself.*--threads 1"):
        list(encoded_by(2, recipe, killed()))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(preparing, "LABELS_A_WORKER", 100)
        source, plain = given_file(opened, tmp_path / "r.parquet"), Settings(valid=0)
        for workers in (1, 2):
            store = tmp_path / str(workers)
            prepare(
                "t",
                opened.task,
                source,
                plain,
                opener,
                number=0,
                store=store,
                workers=workers,
                say=print,
            )
        one, two = ((p / ROWS).read_bytes() for n in (1, 2) for p in (tmp_path / str(n)).iterdir())
        assert one == two
    missing = replace(recipe, encoder_of=replace(opener, folder=tmp_path / "gone"))
    with pytest.raises(InputError, match="tokenizer"):
        list(encoded_by(1, missing, chunks(chosen[:2])))
    # Those of other tests that have ended are nobody's that is at work.
    assert not [child for child in psutil.Process().children() if alive(child)]
