"""The engine contract: token ids in, log-probs of answer paths out.

An engine knows nothing of tasks, templates or text. It is given trees of token ids (a prefix, then
branches side by side, each with slots) and returns, for every slot, the log-prob of each declared
path under the model's full vocabulary.

What every engine keeps (``tests/test_engine_contract.py`` runs the same checks on each):

* one result per tree, in the order given, as a lazy iterator over a lazy iterable (``score``);
* a group of trees is answered step by step (``begin``): no step does more than one forward's work
  or takes in more than one message of another process, groups under way at once do not wait for
  each other, and a tree that is begun alone is answered without any other being drawn;
* a path's log-prob is the sum of its tokens' log-probs, each given prefix + branch + slot + the
  path's earlier tokens, computed from fp32 logits;
* nothing else changes a score: not the batch, padding, packing, chunking, the neighbours or their
  order (1e-4 in fp32);
* what cannot be scored comes back as an error with a reason, never as a number, and the rest of
  the run goes on.
"""

from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar, runtime_checkable

Ids = Sequence[int]
W = TypeVar("W", contravariant=True)


@dataclass(frozen=True, slots=True)
class Slot:
    """A question's tail and the answers that may follow it.

    Attributes:
        ids: tokens between the branch and the answer; at least one token stands in
            prefix + branch + slot.
        paths: token paths of the answers; none empty, none the beginning of another.
    """

    ids: Ids
    paths: tuple[tuple[int, ...], ...]


@dataclass(frozen=True, slots=True)
class Branch:
    """One candidate: its own tokens, then one slot per question; slots do not see each other."""

    ids: Ids
    slots: tuple[Slot, ...]


@dataclass(frozen=True, slots=True)
class Tree:
    """One request as token ids.

    Attributes:
        tree_id: the request's id, for messages.
        prefix: tokens every branch sees, instruction first.
        branches: side by side; each sees the prefix and itself.
        shared: how many leading prefix tokens stay the same from request to request (the
            instruction); a hint for engines that keep keys and values, never a change of meaning.
        adapter: path of a peft adapter folder, or None for the base model.
        subject: id of whom or what it is ranked for, for those who keep answers; no engine looks
            at it, and it changes no score.
    """

    tree_id: str
    prefix: Ids
    branches: tuple[Branch, ...]
    shared: int = 0
    adapter: str | None = None
    subject: str | None = None


@dataclass(frozen=True, slots=True)
class SlotScore:
    """What a model says at one slot.

    Attributes:
        logprobs: natural-log probability of each path, in the order of ``Slot.paths``.
        label_mass: probability that the paths hold together, in [0, 1].
        argmax: index of the path that greedy decoding would write, or None if it writes none.
    """

    logprobs: tuple[float, ...]
    label_mass: float
    argmax: int | None


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a tree or a branch has no scores: a snake_case reason and a message."""

    reason: str
    message: str


BranchScore = tuple[SlotScore, ...] | Failure
TreeScore = tuple[BranchScore, ...] | Failure

Steps = Generator[list[tuple[int, TreeScore]], None, None]
"""A group being answered: each ``next`` is a step and gives what became ready in it, as (place in
the group, score), possibly nothing; ``close`` gives up what is left."""


@dataclass(frozen=True, slots=True)
class EngineInfo:
    """What a result needs to say about the engine that made it.

    Attributes:
        name: ``packed``, ``vllm``, ``plain``, ``fake``, or the address of a server.
        model: the model's name or path as the user gave it.
        digest: SHA-256 over the model's weights and config, or of what stands for them.
        dtype: of the weights (``float32``).
        max_tokens: the longest path (prefix + branch + slot + answer) it takes.
        notes: things a reader must know, such as a fall-back and its reason.
        device: kind of device that it computes on (``cpu``, ``cuda``, ``mps``), since kernels sum
            in orders of their own; None where the engine does not say.
    """

    name: str
    model: str
    digest: str
    dtype: str
    max_tokens: int
    notes: tuple[str, ...] = ()
    device: str | None = None


@dataclass(frozen=True, slots=True)
class Window:
    """How much is begun together; a group ends with the tree that fills it.

    Attributes:
        trees: in one group, at most.
        tokens: in one group, by `Answers.size`; the last tree may go beyond.
        step: tokens that one step takes in. Waiting trees that arrived one by one may be begun
            together up to it, as that makes none of them wait longer; 0 for never.
    """

    trees: int
    tokens: int
    step: int = 0


class Answers(Protocol[W]):
    """What answers works step by step; engines do, for trees.

    Not for several threads at once: whoever shares it takes turns.
    """

    @property
    def info(self) -> EngineInfo:
        """Facts for manifests and reports."""
        ...

    @property
    def window(self) -> Window:
        """How large the groups of a long run are."""
        ...

    @property
    def groups(self) -> int:
        """How many groups under way at once keep it busy in a long run."""
        ...

    def size(self, work: W) -> int:
        """Tokens that a work counts for in a window, cheap to tell."""
        ...

    def begin(self, works: Sequence[W]) -> Steps:
        """Answer one group step by step.

        Nothing is done before the first step. Several groups may be under way at once, their
        steps in any order; each answers as it would alone. Closing gives up what is left.

        Raises:
            ModelError: at a step: it is closed, or the process behind it has died.
        """
        ...

    def close(self) -> None:
        """Give back memory and processes; safe to call twice."""
        ...


class Engine(Answers[Tree], Protocol):
    """Scores trees; see the module's docstring for what an implementation must keep."""

    def score(self, trees: Iterable[Tree]) -> Iterator[TreeScore]:
        """One result per tree, in order, lazily; `windows.in_order` is this for every engine."""
        ...

    def load(self, adapter: str) -> None:
        """Load an adapter folder now, so that a wrong one is an error here.

        Raises:
            ModelError: it cannot be used.
        """
        ...

    def unload(self, adapter: str) -> None:
        """Give back the memory of an adapter folder; a tree that names it later loads it again.

        Nothing happens where it is not loaded.

        Raises:
            ModelError: the engine is closed, or its process has died.
        """
        ...


@runtime_checkable
class Caching(Protocol):
    """What an engine has in addition that keeps what it has computed."""

    @property
    def caches(self) -> Mapping[str, tuple[int, int]]:
        """By cache: how often it had what was wanted, and how often not; from any thread."""
        ...


@runtime_checkable
class Shrinking(Protocol):
    """What an engine has in addition that goes on with smaller batches where memory runs out."""

    @property
    def shrunk(self) -> int:
        """How often it has run out of memory and gone on with less at a time."""
        ...

    @property
    def forward_tokens(self) -> int:
        """New tokens of one forward at most, as it is now."""
        ...


@runtime_checkable
class Restarting(Protocol):
    """What an engine has in addition whose process is started anew when it dies."""

    @property
    def restarted(self) -> int:
        """Processes that were started in the place of dead ones."""
        ...


def too_long(tree: Tree, branch: Branch, max_tokens: int) -> Failure | None:
    """The failure of a branch whose longest path exceeds ``max_tokens``, else None."""
    length = len(tree.prefix) + len(branch.ids)
    length += max(len(s.ids) + max(map(len, s.paths)) for s in branch.slots)
    if length <= max_tokens:
        return None
    return Failure(
        "too_long",
        f"request {tree.tree_id}: {length} tokens with the answer, the engine takes {max_tokens}; "
        "lower budget.tokens, or name fields in budget.shorten",
    )
