"""Scores files for a task: read, and held against the prompts that the task words today."""

from dataclasses import replace
from pathlib import Path

from promptrank.basics.addresses import address, is_object
from promptrank.basics.telling import Say
from promptrank.errors import DataError, ModelError
from promptrank.places.local_copies import local_copy
from promptrank.runs.read_run import read_run
from promptrank.scores.read import read_scores
from promptrank.scores.scores import Scores
from promptrank.workspace.encoders import open_encoder
from promptrank.workspace.tasks import OpenTask


def open_scores(
    opened: OpenTask, path: str | Path, say: Say, *, allow_changed: bool = False
) -> Scores:
    """A scores file of a task, or a folder of a run: prompts are today's, and no policy has run.

    What lies in an object store is read from a copy that is gone afterwards.

    Args:
        allow_changed: only say so where they are not.

    Raises:
        DataError: no scores file, scores of another task, of other prompts, of requests with
            made-up texts, or of a probe.
    """
    if is_object(path):
        with local_copy(path, (".config.json",)) as copy:
            scores = open_scores(opened, copy, say, allow_changed=allow_changed)
        if scores.origin.ranker != f"scores:{copy}":
            return scores
        return Scores(scores.table, replace(scores.origin, ranker=f"scores:{address(path)}"))
    read = read_run if Path(path).is_dir() else read_scores
    scores = read(Path(path), opened.task, opened.name).before_policy()
    if scores.origin.obscured is not None:
        raise DataError(
            f"{path}: these scores are of requests whose {', '.join(scores.origin.obscured)} was "
            "obscured, a control that stands for no ranker; rank again, or run `promptrank eval` "
            "with --obscure"
        )
    if scores.origin.probe is not None:
        raise DataError(
            f"{path}: these scores are of the probe {scores.origin.probe}, which stands for no "
            "ranker; rank again, or run `promptrank eval` with --probe"
        )
    name = Path(path).name
    if scores.origin.prompt is None:
        say(f"{name} does not say how it was made: whether its prompts are today's is not known")
        return scores
    now = _prompts_now(opened, scores, say)
    if now is not None and now != scores.origin.prompt:
        text = (
            f"{path}: these scores were made with other prompts than {opened.name} words today "
            "(template, answers, budget or tokenizer changed)"
        )
        if not allow_changed:
            raise DataError(f"{text}; rank again, or undo the change")
        say(f"warning: {text}")
    return scores


def _prompts_now(opened: OpenTask, scores: Scores, say: Say) -> str | None:
    """The fingerprint of the same model's prompts today; None where it cannot be known."""
    from promptrank.assets import resolve_model

    engine = scores.origin.engine or {}
    if scores.origin.ranker.startswith("student:") and engine.get("dtype") == "float64":
        return scores.origin.prompt  # it reads fields, and no template words them
    if engine.get("name") == "baseline":
        return scores.origin.prompt  # the same
    # The fake engine has no model: its prompts are made with the task's tokenizer.
    name = opened.task.model if engine.get("name") == "fake" else str(engine.get("model"))
    try:
        folder = resolve_model(name, offline=True)
    except ModelError:
        say(f"{name} is not here: whether the scores' prompts are today's is not known")
        return None
    return open_encoder(opened, folder, int(engine.get("max_tokens") or 0)).fingerprint
