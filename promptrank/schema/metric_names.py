"""Names of metrics, as task files and commands write them: ``auc``, ``ndcg@10``."""

import re
from collections.abc import Iterable

from promptrank.basics.hints import near_names

METRICS = ("auc", "gauc", "ndcg", "mrr", "recall", "log_loss", "ece")
NEEDS_K = frozenset({"ndcg", "recall"})
TAKES_K = frozenset({"ndcg", "mrr", "recall"})
_FORM = re.compile(r"([a-z_]+)(?:@([1-9]\d*))?")


def parse_metric(name: str) -> tuple[str, int | None]:
    """``ndcg@10`` -> (``ndcg``, 10), ``auc`` -> (``auc``, None); ValueError for no metric."""
    match = _FORM.fullmatch(name)
    base = match[1] if match else name.partition("@")[0]
    if match is None or base not in METRICS:
        names = near_names(base.lower(), METRICS)
        hint = f"did you mean {names[0]!r}?" if names else f"known: {', '.join(METRICS)}"
        raise ValueError(f"no metric {name!r}; {hint}")
    cut = int(match[2]) if match[2] else None
    if cut is not None and base not in TAKES_K:
        raise ValueError(f"{name!r}: {base} takes no @k")
    if cut is None and base in NEEDS_K:
        raise ValueError(f"{name!r}: say how deep, such as {base}@10")
    return base, cut


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
