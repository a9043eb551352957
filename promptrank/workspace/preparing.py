"""How many processes prepare a run's prompts, and what these open."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from promptrank.basics.telling import Say, silent
from promptrank.errors import ErrorRow, InputError
from promptrank.ranking.methods.pointwise import Pointwise
from promptrank.ranking.posing import Prompts
from promptrank.ranking.ranker import Ranker
from promptrank.requests.corrections import Corrections
from promptrank.requests.source import RequestFile
from promptrank.runs.feeding import Preparing
from promptrank.runs.preparation import Preparation
from promptrank.runtime.decoders import HTTP
from promptrank.workspace.encoders import open_encoder
from promptrank.workspace.item_tables import OwnItemTable
from promptrank.workspace.rankers import STUDENT
from promptrank.workspace.tasks import OpenTask

MOST = 64


def preparing(
    opened: OpenTask,
    ranker: Ranker,
    file: RequestFile,
    *,
    engine: str,
    model: str | None,
    prepare: int | None,
    say: Say = silent,
) -> Preparing | None:
    """The processes that prepare the prompts of a run; None where this one does.

    Args:
        prepare: how many. Where left out: one if the engine computes elsewhere (on a device, in a
            process of its own, on a server), none if it computes here, where it has all cores, and
            for students, which read no prompts.

    Raises:
        InputError: another number than 0 to `MOST`.
    """
    from promptrank.assets import resolve_model

    if prepare is not None and not 0 <= prepare <= MOST:
        raise InputError(f"--prepare {prepare}: give 0 to {MOST} processes")
    method = ranker.method
    prompts = isinstance(method, Pointwise) and isinstance(method.posing, Prompts)
    if not prompts:
        if prepare:
            say("a student reads no prompts, so there is nothing to prepare")
        return None
    count = prepare if prepare is not None else int(_elsewhere(engine, ranker))
    if not count:
        return None
    # A student that is a decoder has a model, and with it a tokenizer, of its own.
    own = ranker.info.model if engine.startswith(STUDENT) else None
    folder = resolve_model(own or model or opened.task.model)
    preparation = Preparation(
        partial(open_encoder, opened, folder, ranker.info.max_tokens),
        partial(_again, opened, file.path, file.set_aside, file.corrections),
        ranker.fingerprint,
        file.items_stamp(),
    )
    return Preparing(count, preparation)


def _elsewhere(engine: str, ranker: Ranker) -> bool:
    if engine == "vllm" or engine.startswith(HTTP):
        return True
    return ranker.info.device not in (None, "cpu")


@contextmanager
def _again(
    opened: OpenTask, path: Path, set_aside: tuple[ErrorRow, ...], corrections: Corrections | None
) -> Iterator[RequestFile]:
    """The request file of a run, opened by another process than the one that has found it."""
    own = OwnItemTable(opened)
    with own.kept():
        yield RequestFile(
            path,
            opened.task,
            own.opened,
            set_aside,
            own.stamp,
            corrections,
        )
