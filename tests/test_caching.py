"""The score cache: nothing is asked twice, nothing else is answered from it, nobody stays in it."""

import random
import sqlite3
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from promptrank.caching.cached_engine import CachedEngine
from promptrank.caching.prompt_keys import Answerer, slot_keys
from promptrank.caching.score_cache import ScoreCache, open_cache
from promptrank.engine.contract import Branch, Failure, Slot, SlotScore, Steps, Tree, TreeScore
from promptrank.engine.fake import FakeEngine
from promptrank.errors import DataError

SLOT = Slot((9,), ((10,), (11, 12)))
OTHER = Slot((8,), ((10,), (11,), (13,)))
WHO = Answerer("fake", "m", "digest", "float32", "cpu", None, None)
SCORE = SlotScore((-1.25, -0.5), 0.75, 1)


def tree(
    name: str,
    prefix: tuple[int, ...],
    *branches: int,
    adapter: str | None = None,
    slots: tuple[Slot, ...] = (SLOT,),
    subject: str | None = None,
) -> Tree:
    made = tuple(Branch((b,), slots) for b in branches)
    return Tree(name, prefix, made, 0, adapter, subject)


class Counting(FakeEngine):
    """Counts the prompts that it is asked."""

    asked = 0

    def begin(self, trees: Sequence[Tree]) -> Steps:
        self.asked += sum(len(branch.slots) for tree in trees for branch in tree.branches)
        yield from super().begin(trees)


def cached(cache: ScoreCache, inner: FakeEngine, digest: str = "a") -> CachedEngine:
    return CachedEngine(inner, cache, digest=lambda adapter: adapter and f"{adapter} {digest}")


def key(number: int) -> bytes:
    return number.to_bytes(16, "big")


def test_a_second_run_asks_nothing_and_says_the_same(tmp_path: Path) -> None:
    trees = [tree("a", (1, 2), 3, 4), tree("b", (1,), 3), tree("c", (1, 2), 4, 5, adapter="x")]
    direct = list(FakeEngine().score(trees))
    for asked in (5, 0):
        with ScoreCache(tmp_path) as cache:
            inner = Counting()
            engine = cached(cache, inner)
            assert list(engine.score(trees)) == direct
            assert (inner.asked, engine.asked, engine.hits) == (asked, asked, 5 - asked)
            assert engine.caches["scores"] == (5 - asked, asked)
            engine.close()
    with ScoreCache(tmp_path) as cache:
        told = cache.info()
        assert (told.entries, told.hits) == (5, 5)
        assert [(a.adapter, a.entries, a.hits) for a in told.answerers] == [
            (None, 3, 3),
            ("x", 2, 2),
        ]


def test_what_is_missing_is_asked_in_its_place(tmp_path: Path) -> None:
    inner = Counting()
    engine = cached(ScoreCache(tmp_path), inner)
    list(engine.score([tree("a", (1, 2), 4)]))
    both = tree("a", (1, 2), 3, 4, 5, slots=(OTHER, SLOT))
    assert list(engine.score([both])) == list(FakeEngine().score([both]))
    assert inner.asked == 1 + 5  # what is known of the middle one's second question


def test_what_is_known_does_not_wait_for_what_is_asked(tmp_path: Path) -> None:
    inner = Counting()
    engine = cached(ScoreCache(tmp_path), inner)
    known, fresh = tree("a", (1, 2), 4), tree("b", (1,), 5)
    empty, unasked = Tree("c", (1,), ()), Tree("d", (1,), (Branch((2,), ()),))
    list(engine.score([known]))
    trees = [fresh, known, empty, unasked]
    direct = list(FakeEngine().score(trees))
    steps = list(engine.begin(trees))
    assert steps == [[(1, direct[1])], [(0, direct[0])], [(2, ())], [(3, ((),))]]
    assert inner.asked == 2


def test_keys_tell_every_token_apart() -> None:
    base = tree("a", (1, 2), 3)
    others = [
        tree("a", (1,), 2),
        tree("a", (1, 2, 3), 3),
        replace(base, branches=(Branch((3, 9), (Slot((), SLOT.paths),)),)),
        replace(base, branches=(Branch((3,), (Slot((9,), ((10,), (11,))),)),)),
        replace(base, branches=(Branch((3,), (Slot((9,), ((11, 12), (10,))),)),)),
    ]
    keys = [slot_keys(t, scope) for t in (base, *others) for scope in (b"one", b"two")]
    assert len({str(k) for k in keys}) == 12
    renamed = replace(base, tree_id="b", shared=1, subject="s", adapter="x")
    assert slot_keys(renamed, b"one") == slot_keys(base, b"one")
    assert slot_keys(replace(base, prefix=(-1,)), b"one") is None


def test_another_adapter_of_the_same_name_is_asked(tmp_path: Path) -> None:
    trees = [tree("a", (1, 2), 3, adapter="x")]
    with ScoreCache(tmp_path) as cache:
        for digest in ("old", "new"):
            inner = Counting()
            list(cached(cache, inner, digest).score(trees))
            assert inner.asked == 1
        digests = iter(("x old", "third"))
        engine = CachedEngine(Counting(), cache, digest=lambda adapter: adapter and next(digests))
        list(engine.score(trees))
        engine.unload("x")
        list(engine.score(trees))
        assert (engine.hits, engine.asked) == (1, 1)


class Odd(FakeEngine):
    """Some branches fail, some have answers that are no numbers, and now and then it breaks."""

    def __init__(self, seed: int, breaks: bool) -> None:
        super().__init__()
        self._draw, self._breaks = random.Random(seed), breaks

    def begin(self, trees: Sequence[Tree]) -> Steps:
        for ready in super().begin(trees):
            if self._breaks and self._draw.random() < 0.2:
                raise RuntimeError("broken")
            yield [(n, self._odd(score)) for n, score in ready]

    def _odd(self, score: TreeScore) -> TreeScore:
        if isinstance(score, Failure) or self._draw.random() < 0.1:
            return Failure("engine", "all of it")
        return tuple(
            Failure("engine", "one") if self._draw.random() < 0.2 else branch for branch in score
        )


drawn_trees = st.lists(
    st.builds(
        lambda prefix, branches, slots, adapter, subject: tree(
            "t", prefix, *branches, slots=slots, adapter=adapter, subject=subject
        ),
        st.sampled_from([(1,), (1, 2), ()]),
        st.lists(st.integers(1, 4), max_size=4, unique=True),
        st.sampled_from([(SLOT,), (OTHER,), (SLOT, OTHER), (OTHER, SLOT), ()]),
        st.sampled_from([None, "x", "y"]),
        st.sampled_from([None, "ann", "bob"]),
    ),
    max_size=5,
)


@pytest.mark.long
@settings(
    max_examples=30,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(
    runs=st.lists(st.tuples(drawn_trees, st.booleans()), min_size=1, max_size=4), seed=st.integers()
)
def test_scores_are_the_engines_own_whatever_is_known(
    tmp_path: Path, runs: list[tuple[list[Tree], bool]], seed: int
) -> None:
    with TemporaryDirectory(dir=tmp_path) as place, ScoreCache(place) as cache:
        for number, (trees, breaks) in enumerate(runs):
            direct = list(FakeEngine().score(trees))
            engine = cached(cache, Odd(seed + number, breaks))
            answers: list[TreeScore] = []
            try:
                answers += engine.score(trees)
            except RuntimeError:
                assert breaks
            for got, want in zip(answers, direct, strict=False):
                if isinstance(got, Failure):
                    continue
                assert not isinstance(want, Failure)
                for branch, expected in zip(got, want, strict=True):
                    assert isinstance(branch, Failure) or branch == expected
            # What an engine without faults is asked for afterwards is what the cache lacks.
            assert list(cached(cache, FakeEngine()).score(trees)) == direct


class Rounding(FakeEngine):
    """Rounds in another way each time that it is asked, as engines do in other batches."""

    times = 0

    def begin(self, trees: Sequence[Tree]) -> Steps:
        for ready in super().begin(trees):
            self.times += 1
            yield [(n, self._rounded(score)) for n, score in ready]

    def _rounded(self, score: TreeScore) -> TreeScore:
        assert not isinstance(score, Failure)
        return tuple(
            branch
            if isinstance(branch, Failure)
            else tuple(replace(s, label_mass=s.label_mass + self.times * 1e-9) for s in branch)
            for branch in score
        )


def test_a_second_run_has_the_very_numbers_of_the_first(tmp_path: Path) -> None:
    """Also where a prompt stands twice in the first, and both had to be asked."""
    trees = [tree(name, (1,), 2, 3, subject=name) for name in "abc"]
    trees.append(tree("d", (1,), 3, 4, slots=(OTHER, SLOT)))
    engine = cached(ScoreCache(tmp_path), Rounding())
    first = list(engine.score(trees))
    assert first[0] == first[1] == first[2]
    assert engine.hits == 0
    assert list(engine.score(trees)) == first
    assert engine.hits == 10


def test_failures_are_asked_again_and_pass_through(tmp_path: Path) -> None:
    long = tree("a", tuple(range(100)), 3)
    inner = Counting(max_tokens=50)
    with ScoreCache(tmp_path) as cache:
        for _ in range(2):
            (score,) = cached(cache, inner).score([long])
            assert isinstance(score, Failure) or isinstance(score[0], Failure)
        assert inner.asked == 2
        assert cache.info().entries == 0
        # An engine that takes longer prompts knows it; the other one still may not say.
        list(cached(cache, Counting()).score([long]))
        assert list(cached(cache, inner).score([long])) == [score]


@pytest.mark.parametrize(
    "score",
    [
        SlotScore((float("nan"), -1.0), 0.5, 0),
        SlotScore((50.0, -1.0), 0.5, 0),
        SlotScore((float("inf"), -1.0), 0.5, 0),
        SlotScore((-1.0, -1.0), 1.5, 0),
        SlotScore((-1.0, -1.0), float("nan"), 0),
        SlotScore((-1.0, -1.0), -0.1, 0),
        SlotScore((-1.0, -1.0), 0.5, 2),
        SlotScore((-1.0, -1.0), 0.5, -1),
    ],
)
def test_what_no_engine_answers_with_is_not_kept(tmp_path: Path, score: SlotScore) -> None:
    with ScoreCache(tmp_path) as cache:
        cache.keep(WHO, [(key(1), "ann", score), (key(2), "ann", SCORE)])
        assert cache.look_up([(key(1), None), (key(2), None)]) == {key(2): SCORE}


def test_numbers_come_back_to_the_last_bit(tmp_path: Path) -> None:
    scores = [
        SlotScore((-0.1 - 1e-17, float("-inf"), -745.3332), 1e-320, None),
        SlotScore((), 0.0, None),
        SlotScore(tuple(-float(n) for n in range(2000)), 1.0, 1999),
    ]
    with ScoreCache(tmp_path) as cache:
        cache.keep(WHO, [(key(n), None, score) for n, score in enumerate(scores)])
    with ScoreCache(tmp_path) as cache:
        known = cache.look_up([(key(n), None) for n in range(1200)])
        assert known == {key(n): score for n, score in enumerate(scores)}
        # The first answer stays.
        cache.keep(WHO, [(key(1), None, SCORE)])
        assert cache.look_up([(key(1), None)]) == {key(1): scores[1]}


def bytes_of(folder: Path) -> bytes:
    return b"".join(path.read_bytes() for path in folder.iterdir())


def test_a_purge_leaves_nothing_of_somebody(tmp_path: Path) -> None:
    """Two hundred members share one prompt in three; file and log have no trace of the one."""
    with ScoreCache(tmp_path) as cache:
        entries = [
            (
                key(100_000 + 1000 * (n % 3) + n),
                f"member-{n % 200}",
                replace(SCORE, label_mass=n / 1e4),
            )
            for n in range(3000)
        ]
        shared = [(key(7), f"member-{n}", SCORE) for n in (5, 17, 3)]
        cache.keep(WHO, entries)
        cache.keep(WHO, shared[:1])
        assert cache.look_up([(key(7), "member-17")])  # notes it by being asked
        cache.keep(WHO, shared)
        cache.look_up([(key(7), "member-17")])
        assert b"member-" not in bytes_of(tmp_path)
        own = [k for k, name, _ in entries if name == "member-17"] + [key(7)]
        assert cache.count_of("member-17") == len(own) == 16
        with sqlite3.connect(cache.path) as raw:
            digests = {row[0] for row in raw.execute("SELECT subject FROM answers")}
        assert sum(k in bytes_of(tmp_path) for k in own) == 16
        assert cache.purge("member-17") == 16
        assert cache.purge("member-17") == cache.count_of("member-17") == 0
        left = bytes_of(tmp_path)
        assert not any(k in left for k in own)
        assert sum(digest in left for digest in digests) == 199
        others = [(k, name) for k, name, _ in entries if name != "member-17"]
        assert len(cache.look_up(others)) == 2985
        assert cache.purge("member-1") == 15  # not of whose id it is the beginning


def test_two_caches_have_digests_of_their_own(tmp_path: Path) -> None:
    subjects = []
    for name in ("a", "b"):
        with ScoreCache(tmp_path / name) as cache:
            cache.keep(WHO, [(key(1), "ann", SCORE)])
            with sqlite3.connect(cache.path) as raw:
                subjects += [row[0] for row in raw.execute("SELECT subject FROM answers")]
    assert len(set(subjects)) == 2


def test_pruning_takes_what_was_not_used_for_longest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [20_000 * 86_400.0]
    monkeypatch.setattr("time.time", lambda: now[0])
    with ScoreCache(tmp_path) as cache:
        for day in range(10):
            now[0] += 86_400
            cache.keep(WHO, [(key(1000 * day + n), None, SCORE) for n in range(1000)])
        now[0] += 86_400
        cache.look_up([(key(0), None)])
        assert cache.prune(older_than=5 * 86_400) == 4999
        assert cache.info().entries == 5001
        size = cache.info().bytes
        assert cache.prune(max_bytes=size // 2) > 2000
        info = cache.info()
        assert info.bytes <= size // 2
        assert 1500 < info.entries < 3000
        assert cache.look_up([(key(0), None), (key(9999), None), (key(5000), None)]).keys() == {
            key(0),
            key(9999),
        }
        assert cache.prune(max_bytes=10**9) == cache.prune() == 0


def test_what_was_damaged_is_asked_again(tmp_path: Path) -> None:
    said: list[str] = []
    with ScoreCache(tmp_path) as cache:
        trees = [tree("a", (1, 2), 3, 4, subject="ann")]
        direct = list(cached(cache, FakeEngine()).score(trees))
        with sqlite3.connect(cache.path) as raw:
            raw.execute(
                "UPDATE answers SET value = zeroblob(36) WHERE key = (SELECT min(key) FROM answers)"
            )
            raw.execute(
                "UPDATE answers SET value = (SELECT value FROM answers ORDER BY key DESC LIMIT 1), "
                "subject = x'00' WHERE key = (SELECT max(key) FROM answers)"
            )
        engine = CachedEngine(Counting(), cache, say=said.append)
        assert list(engine.score(trees)) == direct
        assert engine.asked == 2
        assert "were damaged" in said[0]
        assert list(engine.score(trees)) == direct
        assert (engine.asked, engine.hits, len(said)) == (2, 2, 1)


def test_files_that_are_no_cache_are_left_alone(tmp_path: Path) -> None:
    text, other, hostile = (tmp_path / f"{name}.sqlite" for name in ("text", "other", "hostile"))
    text.write_bytes(b"not a database, " * 100)
    with sqlite3.connect(other) as raw:
        raw.execute("CREATE TABLE answers (key)")
    ScoreCache(hostile).close()
    with sqlite3.connect(hostile) as raw:
        raw.execute("CREATE TRIGGER t AFTER INSERT ON answers BEGIN DELETE FROM answers; END")
    for path in (text, other, hostile):
        before = path.read_bytes()
        said: list[str] = []
        assert open_cache(path, said.append) is None
        assert str(path) in said[0]
        assert "going on without" in said[0]
        assert path.read_bytes() == before
    later = tmp_path / "later.sqlite"
    ScoreCache(later).close()
    with sqlite3.connect(later) as raw:
        raw.execute("PRAGMA user_version = 99")
    with pytest.raises(DataError, match="later promptrank"):
        ScoreCache(later)


def test_a_cache_that_others_hold_is_gone_on_without(tmp_path: Path) -> None:
    said: list[str] = []
    trees = [tree("a", (1, 2), 3)]
    with ScoreCache(tmp_path, wait=0.01) as cache:
        raw = sqlite3.connect(cache.path, isolation_level=None)
        raw.execute("BEGIN IMMEDIATE")
        engine = CachedEngine(FakeEngine(), cache, say=said.append)
        assert [list(engine.score(trees)) for _ in "ab"] == [list(FakeEngine().score(trees))] * 2
        assert len(said) == 1
        assert "another process has held it" in said[0]
        raw.execute("COMMIT")
        raw.close()


def test_a_place_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    said: list[str] = []
    assert open_cache(tmp_path / "file" / "cache", said.append) is None
    assert "cannot be written" in said[0]


@pytest.mark.long
def test_a_file_that_was_damaged_never_gives_other_scores(tmp_path: Path) -> None:
    trees = [tree(f"t{n}", (1, n), 1, 2, 3, 4, subject=f"s{n % 7}") for n in range(60)]
    direct = list(FakeEngine().score(trees))
    with ScoreCache(tmp_path / "whole") as cache:
        list(cached(cache, FakeEngine()).score(trees))
    data = cache.path.read_bytes()
    draw = random.Random(5)
    for number in range(60):
        harmed = bytearray(data)
        kind = number % 4
        if kind == 0:
            del harmed[draw.randrange(len(harmed)) :]
        for _ in range((0, 1, 30, 1)[kind]):
            harmed[draw.randrange(len(harmed))] = draw.randrange(256)
        if kind == 3:  # pages change places
            pages = [draw.randrange(1, len(data) // 4096) * 4096 for _ in "ab"]
            harmed[pages[0] : pages[0] + 4096] = data[pages[1] : pages[1] + 4096]
        path = tmp_path / str(number) / "answers.sqlite"
        path.parent.mkdir()
        path.write_bytes(harmed)
        opened = open_cache(path, lambda _: None)
        if opened is not None:
            assert list(cached(opened, FakeEngine()).score(trees)) == direct
            opened.close()
