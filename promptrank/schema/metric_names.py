"""Names of metrics, as task files, commands and reports write them.

``auc``, ``ndcg@10``; over sampled negatives also the sampler and how many were wanted for each
request: ``ndcg@10~u99`` for 99 drawn uniformly, ``~p99`` in proportion to past events. A metric
over sampled negatives says nothing of the same metric over others, or over all items (Krichene and
Rendle 2020, doi:10.1145/3394486.3403226), so that names that differ are never compared.
"""

import re
from collections.abc import Iterable

from promptrank.basics.hints import near_names
from promptrank.schema.metric_kinds import KINDS

METRICS = tuple(KINDS)
SAMPLERS = {"uniform": "u", "popular": "p"}
"""Sampler of negatives -> how names write it."""
_FORM = re.compile(r"([a-z_]+)(?:@([1-9]\d*))?(?:~([a-z][1-9]\d*))?")


def parse_metric(name: str) -> tuple[str, int | None]:
    """``ndcg@10`` -> (``ndcg``, 10), ``auc~u99`` -> (``auc``, None); ValueError for no metric."""
    match = _FORM.fullmatch(name)
    base = match[1] if match else re.split("[@~]", name)[0]
    if match is None and base in KINDS and name[len(base) :].startswith("@"):
        raise ValueError(f"{name!r}: how deep is a whole number from 1 up, such as {base}@10")
    if match is None or base not in KINDS:
        names = near_names(base.lower(), METRICS)
        hint = f"did you mean {names[0]!r}?" if names else f"known: {', '.join(METRICS)}"
        raise ValueError(f"no metric {name!r}; {hint}")
    cut = int(match[2]) if match[2] else None
    if cut is not None and KINDS[base].cutoff == "never":
        raise ValueError(f"{name!r}: {base} takes no @k")
    if cut is None and KINDS[base].cutoff == "must":
        raise ValueError(f"{name!r}: say how deep, such as {base}@10")
    if match[3] and match[3][0] not in SAMPLERS.values():
        known = ", ".join(f"~{letter}99 ({sampler})" for sampler, letter in SAMPLERS.items())
        raise ValueError(f"{name!r}: no sampler '{match[3][0]}'; write {known}")
    return base, cut


def sampling_of(name: str) -> str | None:
    """``ndcg@10~u99`` -> ``u99``; None where the name has none."""
    return name.partition("~")[2] or None


def without_sampling(name: str) -> str:
    """``ndcg@10~u99`` -> ``ndcg@10``."""
    return name.partition("~")[0]


def check_metrics(names: Iterable[str]) -> None:
    """Raise one ValueError that names every bad metric."""
    problems = []
    for name in names:
        try:
            parse_metric(name)
        except ValueError as error:
            problems.append(str(error))
    if problems:
        raise ValueError("; ".join(problems))
