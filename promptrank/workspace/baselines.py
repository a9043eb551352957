"""Baselines of a task: fitted on one request file, and opened as rankers."""

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from promptrank.basics.digests import json_digest
from promptrank.basics.telling import Say
from promptrank.engine.contract import EngineInfo
from promptrank.errors import InputError, ModelError
from promptrank.ranking.methods.direct import Direct, Unasked
from promptrank.ranking.ranker import Ranker
from promptrank.records import Request
from promptrank.requests.source import RequestFile, Sample
from promptrank.runs.manifest import task_digest, versions
from promptrank.runtime.opened import Opened
from promptrank.scores.origin import Origin
from promptrank.workspace.catalogue import catalogue_texts, printed_item_fields
from promptrank.workspace.tasks import OpenTask

if TYPE_CHECKING:
    from promptrank.baselines.baseline import Baseline

BASELINE = "baseline:"
"""What ``--engine`` and ``--vs`` write before a baseline's name."""
ALL = "all"
_LIBRARIES = ("bm25s", "lightgbm", "numpy", "scikit-learn", "scipy")


@dataclass(frozen=True, slots=True)
class WantedBaselines:
    """Which baselines to fit.

    Attributes:
        names: in the order of the list.
        fetched: those whose model may be fetched, because they were named. Another is left out,
            with a reason, where its model is not here.
    """

    names: tuple[str, ...]
    fetched: frozenset[str] = frozenset()


def wanted_baselines(named: Iterable[str] = (), engine: str = "") -> WantedBaselines:
    """Those of every report, and what ``--vs baseline:NAME`` and ``--engine`` ask for.

    Args:
        named: names, or ``all``.

    Raises:
        InputError: a name that no baseline has.
    """
    from promptrank.baselines.listing import ALWAYS, BASELINES, check_baselines

    named = set(named)
    check_baselines(sorted(named), also=(ALL,))
    if engine.startswith(BASELINE):
        check_baselines([engine.removeprefix(BASELINE)])
        named.add(engine.removeprefix(BASELINE))
    fitted = BASELINES if ALL in named else {*ALWAYS, *named}
    return WantedBaselines(
        tuple(name for name in BASELINES if name in fitted), frozenset(named - {ALL})
    )


def baseline_engine(
    opened: OpenTask, engine: str, model: str | None, adapter: str | Path | None
) -> str | None:
    """The baseline of ``--engine baseline:NAME``; None of another engine.

    Raises:
        InputError: no such baseline, a fused task, or a model or an adapter beside it.
    """
    from promptrank.baselines.listing import check_baselines

    if not engine.startswith(BASELINE):
        return None
    check_baselines([engine.removeprefix(BASELINE)])
    if model is not None or adapter is not None:
        raise InputError(f"{engine} has no decoder; leave --model and --adapter out")
    if opened.task.fused:
        raise InputError("a fusion is over a decoder's log-odds; a baseline ranks an unfused task")
    return engine.removeprefix(BASELINE)


def fit_on(
    opened: OpenTask,
    file: RequestFile,
    sample: Sample,
    wanted: WantedBaselines,
    say: Say,
    watch: Callable[[Request], None] | None = None,
    check: Callable[[], None] | None = None,
) -> "dict[str, Baseline]":
    """Fit baselines on a file's ``train``; the sample that is to be ranked is held on the way.

    The file is decoded once, and twice more for a baseline that looks at training requests again.

    Args:
        watch: is shown every request of the file too.
        check: is called once they were read, before anything is fitted.

    Raises:
        ModelError: a baseline that was named needs a model that cannot be had.
    """
    from promptrank.baselines.baseline import Sources, aim_of
    from promptrank.baselines.baseline_fit import BaselineFit

    texts = printed_item_fields(opened)
    fit = BaselineFit(aim_of(opened.task, texts), wanted.names)
    from_table = False

    def look(request: Request) -> None:
        nonlocal from_table
        fit.add(request)
        if watch is not None:
            watch(request)
        # An item of a table has a key; one whose fields came with the request has none.
        from_table = from_table or any(c.item.key is not None for c in request.candidates)

    say("reading requests")
    sample.hold(look)
    if check is not None:
        check()
    say("fitting baselines")
    return fit.fit(
        Sources(
            train=lambda: file.read({"train"}),
            catalogue=(lambda: catalogue_texts(file, sample, texts)) if from_table else None,
            model=lambda name, baseline: _model(name, baseline in wanted.fetched, say),
            say=say,
        )
    )


def _model(name: str, fetch: bool, say: Say) -> Path | str:
    """The folder of an embedding model, or why it was not fetched."""
    from promptrank.assets import resolve_embedding

    if fetch:
        return resolve_embedding(name, say=say)
    try:
        return resolve_embedding(name, offline=True)
    except ModelError:
        return f"its model is not here; --vs baseline:embedding or `promptrank pull {name}` gets it"


def check_by_ranks(names: Iterable[str], rankers: Collection[str]) -> None:
    """Refuse fusions of ranks, such as ``decoder+bm25``, of rankers that will not be compared.

    Args:
        rankers: names of those that will be.

    Raises:
        InputError: a form that is none, or such a ranker.
    """
    from promptrank.baselines.listing import BASELINES
    from promptrank.evaluation.rank_fusion import check_form, parts_of

    for name in names:
        for part in check_form(name):
            if part in BASELINES and part not in rankers:
                raise InputError(
                    f"rrf:{name}: {part} is compared where it is named; add --vs baseline:{part}"
                )
        parts_of(name, rankers)


def check_made(
    names: Iterable[str], baselines: "Mapping[str, Baseline]", sample: Iterable[Request]
) -> None:
    """Refuse fusions of ranks with a baseline that could not be made.

    Raises:
        InputError: such a fusion, with the reason.
    """
    from promptrank.evaluation.rank_fusion import check_form

    for name in names:
        for part in check_form(name):
            reason = baselines[part].reason if part in baselines else None
            if part == "logged" and not any(
                c.logged_score is not None for request in sample for c in request.candidates
            ):
                reason = "no candidate has a logged score"
            if reason is not None:
                raise InputError(f"rrf:{name}: there is no {part} here: {reason}")


def baseline_ranker(
    opened: OpenTask, name: str, baselines: "Mapping[str, Baseline]", file: RequestFile
) -> Ranker:
    """A fitted baseline as a ranker.

    Args:
        file: what it was fitted on. Corrections of its labels are part of what the baseline is:
            its facts say how it learned, and hold nothing of what.

    Raises:
        InputError: it could not be made.
    """
    who, baseline = f"{BASELINE}{name}", baselines[name]
    if baseline.rank is None:
        raise InputError(f"{who} cannot be made for {opened.name}: {baseline.reason}")
    made = {"baseline": name, "facts": baseline.facts, **(file.labels_stamp() or {})}
    digest = json_digest(made)
    info = EngineInfo("baseline", who, digest, "float64", 0, device="cpu")
    method = Direct(baseline.rank, who, digest)
    origin = Origin(
        name,
        task=opened.name,
        task_digest=task_digest(opened.task),
        method=method.name,
        prompt=digest,
        engine=asdict(info),
        versions=versions(_LIBRARIES),
    )
    return Ranker(opened.task, method, Opened(Unasked(info)), origin)
