"""Fields that tell the label better than anything known at the time of a request should.

On held-out candidates each field alone is a ranker (`promptrank.evaluation.single_fields`), with
its AUC and interval by subject. It is suspected of a leak where the low end is .95 or more, or
where its AUC is more than .10 above that of all other fields together, and above every other field
alone, by the low end of the paired, corrected interval. Leaks would hide one another, so with
neither side stand copies of the field (rank correlation of .95 or more), fields that are suspected
already, other aspects of it (a list's length) and, where it reaches .85 itself, others that do.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from promptrank.basics.arrays import Floats
from promptrank.evaluation.compare import report_of
from promptrank.evaluation.labelled import Labelled
from promptrank.evaluation.report import Report
from promptrank.evaluation.single_fields import FieldColumns, single_scores

PERFECT, FAR, COPY, STRONG = 0.95, 0.10, 0.95, 0.85
FEWEST = 50
"""Fewer labelled candidates of either side tell nothing."""
_WORTH = 0.6  # a lower AUC is no suspect
_REST, _BEST, _ALL = "all others", "best other", "all fields"
_SHOWN = 5
_ASPECT = re.compile(r" \((length|mean|texts)\)$")  # columns of one field, of `single_scores`
_CATEGORIES = 20  # so few values are categories, however they are written
_ID = re.compile(r"(^|_)(id|key|uuid|guid)$", re.IGNORECASE)
_CODE = re.compile(r"[0-9a-fA-F-]{8,}|[A-Za-z]{0,6}[-_:#]?\d+")


@dataclass(frozen=True, slots=True)
class Leak:
    """A field that tells too much.

    Attributes:
        auc, low, high: of the field alone on held-out candidates, with its interval.
        rest: AUC of all other fields together; None where there is no other.
        perfect: whether it is suspected for being nearly perfect, and not for being far above.
    """

    field: str
    auc: float
    low: float
    high: float
    rest: float | None
    perfect: bool

    def told(self) -> str:
        """The finding and what to ask, as a sentence."""
        text = f"{self.field} alone tells the label with AUC {self.auc:.3f}"
        text += f" ({self.low:.3f} to {self.high:.3f})"
        if self.rest is not None:
            text += f", all other fields together with {self.rest:.3f}"
        return f"{text}: was it known at the time of the request?"


@dataclass(frozen=True, slots=True)
class LeakSearch:
    """What a search for leaks found.

    Attributes:
        aucs: field -> AUC alone on held-out candidates, the best first.
        together: AUC of all fields together; None where no field tells candidates apart.
        leaks: the suspects.
        ids: fields that name rows instead of saying something of them.
        candidates: how many were held out.
        unread: fields of which some value could not be looked at.
    """

    aucs: Mapping[str, float]
    together: float | None
    leaks: tuple[Leak, ...]
    ids: tuple[str, ...]
    candidates: int
    unread: tuple[str, ...] = ()

    def told(self) -> str:
        """What was found, as a line."""
        if self.together is None:
            text = f"leaks: no field tells {self.candidates:,} held-out candidates apart"
        else:
            best = [f"{name} {auc:.3f}" for name, auc in list(self.aucs.items())[:_SHOWN]]
            more = len(self.aucs) - len(best)
            text = (
                f"leaks: {len(self.leaks)} of {len(self.aucs)} fields are suspected; AUC alone on "
                f"{self.candidates:,} held-out candidates: {', '.join(best)}"
                f"{f' and {more} lower' if more > 0 else ''}; all together {self.together:.3f}"
            )
        if self.unread:
            count, more = len(self.unread), len(self.unread) - _SHOWN
            text += (
                f"; {count} field{'s' if count > 1 else ''} could not be looked at, or not whole: "
                f"{', '.join(self.unread[:_SHOWN])}{f' and {more} more' if more > 0 else ''}"
            )
        return text


def find_leaks(
    train: FieldColumns, held_out: FieldColumns, *, draws: int = 500
) -> LeakSearch | str:
    """Look at every field; the reason, as text, where too little is labelled to tell."""
    for name, part in (("training", train), ("held-out", held_out)):
        sides = sum(part.relevant), len(part) - sum(part.relevant)
        if min(sides) < FEWEST:
            return (
                f"{sides[0]:,} relevant and {sides[1]:,} other {name} candidates are too few to "
                f"look for leaks; it takes {FEWEST} of each"
            )
    singles = single_scores(train, held_out)
    unread = tuple(sorted(train.unread | held_out.unread))
    if not singles.names:
        return LeakSearch({}, None, (), tuple(_ids(train)), len(held_out), unread)
    relevant = np.array(train.relevant, dtype=np.bool_)
    columns = dict(zip(singles.names, singles.held_out.T, strict=True))
    together = singles.together(relevant)
    report = _report(held_out, {_ALL: together, **columns}, _ALL, draws)
    found = {row.name: row.cells["auc"].value or 0.5 for row in report.rankers}
    overall = found.pop(_ALL)
    order = sorted(found, key=lambda name: (-found[name], name))
    leaks: list[Leak] = []
    for name in order:
        # The as-of numbers that every request has are what is normal.
        if found[name] >= _WORTH and not name.startswith("baseline."):
            apart = {name, *(leak.field for leak in leaks), *_copies(name, columns)}
            apart |= {n for n in order if _field(n) == _field(name)}
            if found[name] >= STRONG:
                apart |= {n for n in order if found[n] >= STRONG and not n.startswith("baseline.")}
            rest = singles.together(relevant, apart)
            others = [n for n in order if n not in apart]
            leak = _leak(name, held_out, columns, rest, others, draws, report)
            leaks += [leak] if leak is not None else []
    aucs = {name: found[name] for name in order if not name.startswith("baseline.")}
    return LeakSearch(aucs, overall, tuple(leaks), tuple(_ids(train)), len(held_out), unread)


def _field(name: str) -> str:
    """The field that a column shows an aspect of."""
    return _ASPECT.sub("", name)


def _leak(
    name: str,
    held_out: FieldColumns,
    columns: Mapping[str, Floats],
    rest: Floats,
    others: Sequence[str],
    draws: int,
    report: Report,
) -> Leak | None:
    own = report.ranker(name).cells["auc"]
    if own.value is None or own.low is None or own.high is None:
        return None
    rivals = {_REST: rest} | ({_BEST: columns[others[0]]} if others else {})
    paired = _report(held_out, {name: columns[name], **rivals}, name, draws)
    gaps = [paired.ranker(rival).differences["auc"].turned for rival in rivals]
    far = all(gap.ends is not None and gap.ends[0] > FAR for gap in gaps)
    perfect = own.low >= PERFECT
    if not (perfect or far):
        return None
    value = paired.ranker(_REST).cells["auc"].value if others else None
    return Leak(name, own.value, own.low, own.high, value, perfect)


def _copies(name: str, columns: Mapping[str, Floats]) -> Iterator[str]:
    """Fields that order the held-out candidates as this one does."""
    from scipy.stats import rankdata

    own = rankdata(columns[name])
    for other, values in columns.items():
        if other != name and not other.startswith("baseline."):
            together = np.corrcoef(own, rankdata(values))[0, 1]
            if together >= COPY:
                yield other


def _report(rows: FieldColumns, scores: Mapping[str, Floats], reference: str, draws: int) -> Report:
    requests = {name: code for code, name in enumerate(dict.fromkeys(rows.request))}
    subjects = {name: code for code, name in enumerate(dict.fromkeys(rows.subject))}
    relevant = np.array(rows.relevant, dtype=np.bool_)
    labelled = Labelled(
        request=np.array([requests[name] for name in rows.request], dtype=np.int64),
        subject=np.array([subjects[name] for name in rows.subject], dtype=np.int64),
        request_ids=tuple(requests),
        subject_ids=tuple(subjects),
        gain=relevant.astype(np.float64),
        relevant=relevant,
        weight=np.ones(len(rows)),
        scores=scores,
    )
    return report_of(labelled, ["auc"], reference=reference, draws=draws, alone=True)


def _ids(train: FieldColumns) -> Iterator[str]:
    """Fields that have a value of its own for (nearly) every item, subject or candidate: codes, or
    whole numbers that are called ids or leave few gaps. A model learns rows by heart from them.
    """
    owners = {"item": len(set(train.item)), "context": len(train)}
    for name in train.names:
        root, _, own = name.partition(".")
        owned = owners.get(root, len(set(train.subject)))
        if owned <= _CATEGORIES or root in ("stats", "baseline") or _ASPECT.search(name):
            continue
        if name in train.numbers:
            values = train.number(name)
            distinct = np.unique(values[np.isfinite(values)])
            whole = bool((distinct == np.floor(distinct)).all())
            dense = len(distinct) > 0 and np.ptp(distinct) < 2 * len(distinct)
            alike = whole and (dense or _ID.search(own) is not None)
        else:
            rows = train.words(name)
            distinct = np.unique([words[0] for words in rows if len(words) == 1 and words[0]])
            alike = all(len(words) < 2 for words in rows) and all(map(_CODE.fullmatch, distinct))
        if alike and len(distinct) >= 0.9 * owned:
            yield name
