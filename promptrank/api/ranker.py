"""A task bound to a model: the object that ranks."""

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from promptrank.api.tasks import OpenTask, Say, open_task, silent
from promptrank.engine.base import Engine
from promptrank.errors import InputError, ModelError, TaskError
from promptrank.ranking.run import Ranking, rank_requests
from promptrank.records import Request

if TYPE_CHECKING:
    from promptrank.prompt.encode import Encoder

ENGINES = ("packed", "fake")


class Ranker:
    """Ranks requests of one task with one engine.

    Attributes:
        opened: the task and where it lies.
        encoder: requests to token ids.
        engine: token ids to log-probs.
    """

    def __init__(
        self, opened: OpenTask, encoder: "Encoder", engine: Engine, adapter: str | None = None
    ) -> None:
        self.opened, self.encoder, self.engine, self.adapter = opened, encoder, engine, adapter

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
            adapter_of: the adapter of each request (a folder, a name in ``adapters/``, or None for
                the base model), where they differ; the ranker's own for all where left out.

        Raises:
            DataError: a dict that is no request.
            ModelError: an adapter that is not there.
        """
        from promptrank.data.plain import request_from_dict

        def chosen(request: Request) -> str | None:
            found = adapter_of(request) if adapter_of is not None else self.adapter
            return _adapter_folder(self.opened, found) if found is not None else None

        records = (r if isinstance(r, Request) else request_from_dict(r) for r in requests)
        return rank_requests(
            self.opened.task, self.encoder, self.engine, records, adapter_of=chosen
        )

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
    say: Say = silent,
) -> Ranker:
    """Open a task with its model, fetching the model first if need be.

    Args:
        task: name or path of a task.
        engine: ``packed``, or ``fake`` (deterministic numbers without a model's weights).
        model: name or path; the task's own where left out.
        adapter: a peft adapter folder, or its name in the project's ``adapters/``.
        settings: ``a.b=c`` overrides of the task file.
        threads: CPU threads; torch's own choice where left out.
        say: is told what takes long.
    """
    from promptrank.assets import resolve_model

    opened = (
        task
        if isinstance(task, OpenTask)
        else open_task(task, project=project, settings=list(settings))
    )
    if engine not in ENGINES:
        raise InputError(f"no engine {engine!r}; engines: {', '.join(ENGINES)}")
    name = model or opened.task.model
    folder = resolve_model(name, say=say)
    adapter_path = _adapter_folder(opened, adapter) if adapter is not None else None
    found = _open_engine(engine, folder, name, adapter_path, threads, say)
    try:
        encoder = open_encoder(opened, folder, found.info.max_tokens)
    except BaseException:
        found.close()
        raise
    return Ranker(opened, encoder, found, adapter_path)


def _open_engine(
    engine: str, folder: Path, name: str, adapter: str | None, threads: int | None, say: Say
) -> Engine:
    from promptrank.engine.limits import model_limits

    limits = model_limits(folder)
    if engine == "fake":
        from promptrank.engine.fake import FakeEngine

        return FakeEngine(vocab=limits.vocab, max_tokens=limits.max_tokens)
    say(f"loading {name}")
    from promptrank.engine.packed import open_packed

    found = open_packed(
        folder,
        name=name,
        adapters=[adapter] if adapter is not None else [],
        max_tokens=limits.max_tokens,
        threads=threads,
    )
    for note in found.info.notes:
        say(note)
    return found


def _adapter_folder(opened: OpenTask, adapter: str | Path) -> str:
    tried = [Path(adapter).expanduser(), opened.place.root / "adapters" / str(adapter)]
    for folder in tried:
        if (folder / "adapter_config.json").is_file():
            return os.fspath(folder.resolve())
    searched = ", ".join(str(f) for f in tried)
    raise ModelError(f"no adapter {adapter!s}: no adapter_config.json in {searched}")
