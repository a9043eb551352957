"""How rankers agree with people's choices between two candidates, as a part of the report."""

from collections.abc import Iterator
from dataclasses import dataclass

from promptrank.basics.plurals import counted

_OTHERS = 3  # rankers beside the reference that are told of


@dataclass(frozen=True, slots=True)
class PreferenceRow:
    """One ranker.

    Attributes:
        share: of the pairs in which the preferred candidate has the higher score; a tie is half.
        low, high: its 95% interval; None where there are no draws, or only one subject.
    """

    name: str
    share: float
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True, slots=True)
class Preferences:
    """All rankers on the same pairs.

    Attributes:
        pairs: in which one of both is preferred, and all rankers score both.
        subjects: whose requests they are of.
        equal: pairs of which people said that both fit alike.
        split: pairs on which people's voices are level.
        unscored: pairs of which some ranker lacks a score.
        chosen: pairs that were chosen by a model's scores; these say little of it.
    """

    rankers: tuple[PreferenceRow, ...]
    pairs: int
    subjects: int
    equal: int
    split: int
    unscored: int
    chosen: int = 0


def preference_lines(told: Preferences) -> Iterator[str]:
    """What people preferred, and which share of it each ranker agrees with."""
    aside = [("both alike", told.equal), ("people split", told.split), ("no score", told.unscored)]
    left = ", ".join(f"{count:,} {what}" for what, count in aside if count)
    yield (
        f"preferences: {counted(told.pairs, 'pair')} of {counted(told.subjects, 'subject')} in "
        "which people preferred one" + (f" (beside them: {left})" if left else "")
    )
    if told.rankers:
        first, *others = told.rankers
        best = sorted(others, key=lambda row: -row.share)[:_OTHERS]
        said = [f"{row.name} with {_share(row)}" for row in best]
        yield f"  {', '.join([f'{first.name} agrees with {_share(first)}', *said])}"
    if told.chosen:
        yield (
            f"  {told.chosen:,} of these pairs {'was' if told.chosen == 1 else 'were'} chosen by a "
            "model's scores; shares on such pairs are lower than on random ones, and favour others"
        )


def _share(row: PreferenceRow) -> str:
    if row.low is None or row.high is None:
        return f"{row.share:.0%}"
    return f"{row.share:.0%} ({row.low:.0%} to {row.high:.0%})"
