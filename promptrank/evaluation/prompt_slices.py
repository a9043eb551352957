"""Slices by the prompts of the ranker that is measured: how long they are, and whether cut.

Both stand in its scores (`promptrank.scores.columns`), so that a scores file has them too.
"""

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from promptrank.errors import InputError
from promptrank.evaluation.slices import BY_PROMPT, Counted, Slicing
from promptrank.records import Candidate, Request
from promptrank.scores.scores import Scores

TOKENS = (0, 129, 257, 513, 1025, 2049, 4097, 8193)
"""The least length of each band, in tokens; the last band is open."""

_BANDS = Counted(TOKENS, lambda request, candidate: None, "")
LABELS: Mapping[str, tuple[str, ...]] = {
    "prompt_tokens": ("up to 128", *_BANDS.labels[1:]),
    "cut": ("whole", "cut", "unknown"),
}
"""Names of the slices; ``unknown`` for candidates that the ranker did not score."""


def named_by_prompts(names: Sequence[str]) -> list[Slicing]:
    """Those of the names that go by prompts, with their slices' names and nothing in them yet."""
    return [Slicing(n, LABELS[n], lambda request, candidate: 0) for n in names if n in BY_PROMPT]


def prompt_slicings(names: Sequence[str], scores: Scores) -> list[Slicing]:
    """Those of the names that go by prompts.

    Args:
        scores: of the ranker that is measured.

    Raises:
        InputError: they say nothing of prompts, as those of baselines or from elsewhere.
    """
    made = []
    for name in names:
        if name not in BY_PROMPT:
            continue
        codes = _codes_of_tokens(scores) if name == "prompt_tokens" else _codes_of_cuts(scores)
        if codes is None:
            raise InputError(
                f"--slice {name}: the scores of {scores.origin.ranker} say nothing of prompts; "
                "leave it out, or make them again with `promptrank rank`"
            )
        made.append(Slicing(name, LABELS[name], _looked_up(codes, scores, len(LABELS[name]) - 1)))
    return made


def _looked_up(
    codes: Sequence[int], scores: Scores, unknown: int
) -> Callable[[Request, Candidate], int]:
    index = scores.index

    def code(request: Request, candidate: Candidate) -> int:
        row = index.get((request.request_id, candidate.candidate_id))
        return unknown if row is None else codes[row]

    return code


def _codes_of_tokens(scores: Scores) -> list[int] | None:
    tokens = scores.numbers("prompt_tokens")
    if np.isnan(tokens).all():
        return None
    places = np.searchsorted(TOKENS, tokens, side="right") - 1
    codes: list[int] = np.where(np.isnan(tokens), len(TOKENS), places).tolist()
    return codes


def _codes_of_cuts(scores: Scores) -> list[int] | None:
    dropped = scores.numbers("events_dropped")
    # A baseline cuts nothing and reads no prompt either.
    if np.isnan(dropped).all() or np.isnan(scores.numbers("prompt_tokens")).all():
        return None
    shortened = scores.table.column("fields_shortened").to_pylist()
    cut = [
        2 if np.isnan(count) else int(count > 0 or bool(names))
        for count, names in zip(dropped, shortened, strict=True)
    ]
    return cut
