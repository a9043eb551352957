"""A task bound to a model: the object that ranks."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from promptrank.adapters.shelf import find_adapter
from promptrank.api.adapters import AdapterFolder, adapter_folders
from promptrank.api.engines import ENGINES, open_engine
from promptrank.api.fusions import OpenFusion, open_fusion
from promptrank.api.tasks import OpenTask, Say, open_task, silent
from promptrank.engine.contract import Engine, EngineInfo
from promptrank.errors import InputError, TaskError
from promptrank.fusion.layers import fuse_ranking
from promptrank.ranking.loop import Ranking, rank_answers, rank_requests
from promptrank.records import Request

if TYPE_CHECKING:
    from promptrank.prompt.encode import Encoder
    from promptrank.students.card import StudentCard, StudentFolder

STUDENT = "student:"


class Ranker:
    """Ranks requests of one task with one engine.

    Attributes:
        opened: the task and where it lies.
        encoder: requests to token ids.
        engine: token ids to log-probs.
        fusion: what makes the score of a task that says ``score: fused``.
    """

    fusion: OpenFusion | None = None

    def __init__(
        self,
        opened: OpenTask,
        encoder: "Encoder",
        engine: Engine,
        adapter: str | None = None,
        folder_of: AdapterFolder | None = None,
    ) -> None:
        self.opened, self.encoder, self.engine, self.adapter = opened, encoder, engine, adapter
        self._folder_of = folder_of or (lambda name: str(find_adapter(name, opened.project).folder))

    @property
    def info(self) -> EngineInfo:
        """Facts about what ranks, for manifests and reports."""
        return self.engine.info

    @property
    def fingerprint(self) -> str:
        """SHA-256 over all that turns a request into what is scored."""
        return self.encoder.fingerprint

    def notes(self) -> tuple[str, ...]:
        """What was fallen back on while ranking; a decoder has nothing to fall back on."""
        return ()

    def rank(self, request: Request | Mapping[str, Any]) -> Ranking:
        """Rank one request: a `Request`, or the plain dict that docs/requests.md describes.

        Raises:
            DataError: a dict that is no request.
        """
        return next(self.rank_many([request]))

    def rank_many(
        self,
        requests: Iterable[Request | Mapping[str, Any]],
        *,
        adapter_of: Callable[[Request], str | Path | None] | None = None,
    ) -> Iterator[Ranking]:
        """One ranking per request, in order, lazily; several requests share a forward pass.

        Args:
            adapter_of: the adapter of each request (a folder, a name, an alias, or None for the
                base model), where they differ; the ranker's own for all where left out.

        Raises:
            DataError: a dict that is no request.
            ModelError: an adapter that is not there, or that does not fit model or task.
        """
        from promptrank.requests.dicts import request_from_dict

        def chosen(request: Request) -> str | None:
            if adapter_of is None:
                return self.adapter
            found = adapter_of(request)
            return self._folder_of(found) if found is not None else None

        task, fusion = self.opened.task, self.fusion
        if fusion is not None and adapter_of is not None:
            raise InputError("a fusion belongs to one adapter; rank without adapter_of")
        records = (r if isinstance(r, Request) else request_from_dict(r) for r in requests)
        found = rank_requests(task, self.encoder, self.engine, records, adapter_of=chosen)
        if fusion is None:
            return found
        return (fuse_ranking(fusion.fusion, task, ranking) for ranking in found)

    def close(self) -> None:
        """Give back the engine's memory."""
        self.engine.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


class StudentRanker(Ranker):
    """Ranks with a student that needs no prompt: it has neither ``encoder`` nor ``engine``."""

    def __init__(self, opened: OpenTask, found: "StudentFolder", threads: int | None) -> None:
        from promptrank.students.kinds import kind_of

        self.opened, self.adapter = opened, None
        self.student = kind_of(found.card.kind).load(opened.task, found.folder, threads)
        name = f"student:{found.card.name}"
        self._info = EngineInfo(found.card.kind, name, found.digest, "float64", 0)

    @property
    def info(self) -> EngineInfo:
        """Kind, name and digest of the student."""
        return self._info

    @property
    def fingerprint(self) -> str:
        """The student's digest: it reads fields, and no template words them."""
        return self._info.digest

    def notes(self) -> tuple[str, ...]:
        """Values that were missing or never seen in training, and what stood in for them."""
        return self.student.notes()

    def rank_many(
        self,
        requests: Iterable[Request | Mapping[str, Any]],
        *,
        adapter_of: Callable[[Request], str | Path | None] | None = None,
    ) -> Iterator[Ranking]:
        """One ranking per request, in order, lazily.

        Raises:
            InputError: adapters were asked for; a student has none.
        """
        from promptrank.requests.dicts import request_from_dict
        from promptrank.students.serve import slot_scores

        if adapter_of is not None:
            raise InputError(f"{self._info.model}: a student has no adapters")
        records = (r if isinstance(r, Request) else request_from_dict(r) for r in requests)
        answers = slot_scores(self.opened.task, self.student)
        return rank_answers(self.opened.task, answers, records)

    def close(self) -> None:
        """Nothing to give back."""


def open_encoder(opened: OpenTask, model_folder: Path, max_tokens: int) -> "Encoder":
    """The encoder of a task for one model's tokenizer.

    Raises:
        TemplateError: the template is missing or cannot work.
        TaskError: answers that collide, merge with the prompt's tail, or vanish.
    """
    from promptrank.prompt.encode import Encoder
    from promptrank.prompt.template import load_template
    from promptrank.prompt.tokenizer import open_tokenizer

    template = load_template(opened.task.template, opened.place.template_folders)
    encoder = Encoder(opened.task, template, open_tokenizer(model_folder), max_tokens=max_tokens)
    if encoder.problems:
        raise TaskError(str(opened.place.path), encoder.problems)
    return encoder


def open_ranker(
    task: str | OpenTask,
    *,
    engine: str = "packed",
    model: str | None = None,
    adapter: str | Path | None = None,
    project: str | Path | None = None,
    settings: Iterable[str] = (),
    threads: int | None = None,
    allow_changed: bool = False,
    say: Say = silent,
) -> Ranker:
    """Open a task with its model, fetching the model first if need be.

    Args:
        task: name or path of a task.
        engine: ``packed``, ``vllm``, ``plain`` (one prompt at a time, slow: the reference), or
            ``fake`` (deterministic numbers without a model's weights).
        model: name or path; the task's own where left out.
        adapter: a peft adapter folder, a name in ``adapters/``, or an alias (``movies@prod``).
        settings: ``a.b=c`` overrides of the task file.
        threads: CPU threads; torch's own choice where left out.
        allow_changed: only warn where template or answers changed since an adapter was trained.
        say: is told what takes long.
    """
    from promptrank.assets import resolve_model

    opened = (
        task
        if isinstance(task, OpenTask)
        else open_task(task, project=project, settings=list(settings))
    )
    if engine.startswith(STUDENT):
        return _open_student(opened, engine.removeprefix(STUDENT), model, adapter, threads, say)
    if engine not in ENGINES:
        raise InputError(f"no engine {engine!r}; engines: {', '.join(ENGINES)}, student:NAME")
    name = model or opened.task.model
    folder = resolve_model(name, say=say)
    folder_of = adapter_folders(opened, name, folder, allow_changed=allow_changed, say=say)
    adapter_path = folder_of(adapter) if adapter is not None else None
    fusion = None
    if opened.task.fused:
        fusion = open_fusion(
            opened, engine, folder, adapter_path, allow_changed=allow_changed, say=say
        )
    longest = opened.task.budget.tokens
    found = open_engine(engine, folder, name, adapter_path, threads, longest, say)
    try:
        encoder = open_encoder(opened, folder, found.info.max_tokens)
    except BaseException:
        found.close()
        raise
    ranker = Ranker(opened, encoder, found, adapter_path, folder_of)
    ranker.fusion = fusion
    return ranker


def _open_student(
    opened: OpenTask,
    name: str,
    model: str | None,
    adapter: str | Path | None,
    threads: int | None,
    say: Say,
) -> Ranker:
    from promptrank.students.card import check_task, find_student

    if opened.task.fused:
        raise InputError("a fusion is over a decoder's log-odds; a student ranks an unfused task")
    if model is not None or adapter is not None:
        raise InputError(f"student {name} has weights of its own; leave --model and --adapter out")
    found = find_student(name, opened.project)
    check_task(found, opened.task, opened.name)
    if found.card.kind == "decoder":
        return open_decoder(opened, found.card, found.folder, threads, say)
    return StudentRanker(opened, found, threads)


def open_decoder(
    opened: OpenTask, card: "StudentCard", folder: Path, threads: int | None, say: Say = silent
) -> Ranker:
    """The ranker of a decoder student in ``folder``.

    Raises:
        InputError: it was trained on other prompts than the task words today.
    """
    ranker = open_ranker(opened, model=str(folder / "model"), threads=threads, say=say)
    # Cards that are older than this fact say nothing.
    if card.facts.get("prompt", ranker.fingerprint) != ranker.fingerprint:
        ranker.close()
        raise InputError(
            f"student {card.name}: the prompts of {opened.name} have changed since (template, "
            "answers, budget or tokenizer); distill it again"
        )
    return ranker
