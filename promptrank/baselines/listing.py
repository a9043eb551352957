"""The baselines by name: how each learns, and what it may know.

A baseline that is **as-of** knows of a request what was known before it: nothing at or after its
time can change a score. Where the data has no clock, its counts and means come from the training
part instead. The others **learn** from the training part, all of it: under a split by time that
lies before the requests that are judged; under a split by the last requests of each subject some of
it is later than they are, which makes a stronger rival than one could serve. A property test goes
through this list and holds each to what it says.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from promptrank.baselines.baseline import Aim, Learner
from promptrank.baselines.bm25 import Bm25Fit
from promptrank.baselines.chance import ChanceFit
from promptrank.baselines.embedding import EmbeddingFit
from promptrank.baselines.item_member_mean import ItemMemberMeanFit
from promptrank.baselines.lambdamart import LambdaMartFit
from promptrank.baselines.logged import LoggedFit
from promptrank.baselines.logistic import LogisticFit
from promptrank.baselines.neighbors import NeighborsFit
from promptrank.baselines.popularity import PopularityFit
from promptrank.baselines.recent_popularity import RecentPopularityFit
from promptrank.basics.hints import near
from promptrank.errors import InputError


@dataclass(frozen=True, slots=True)
class ListedBaseline:
    """One baseline.

    Attributes:
        learner: makes what learns it.
        as_of: whether nothing at or after a request's time can change its scores; it learns from
            the training part otherwise.
        always: whether it stands in every report; others only where they are named.
    """

    learner: Callable[[Aim], Learner]
    as_of: bool
    always: bool = True


BASELINES = {
    "logged": ListedBaseline(LoggedFit, as_of=True),
    "popularity": ListedBaseline(PopularityFit, as_of=True),
    "recent_popularity": ListedBaseline(RecentPopularityFit, as_of=True, always=False),
    "item_member_mean": ListedBaseline(ItemMemberMeanFit, as_of=True),
    "neighbors": ListedBaseline(NeighborsFit, as_of=False, always=False),
    "bm25": ListedBaseline(Bm25Fit, as_of=False),
    "embedding": ListedBaseline(EmbeddingFit, as_of=True, always=False),
    "logistic": ListedBaseline(LogisticFit, as_of=False),
    "lambdamart": ListedBaseline(LambdaMartFit, as_of=False, always=False),
    "random": ListedBaseline(ChanceFit, as_of=True),
}
ALWAYS = tuple(name for name, listed in BASELINES.items() if listed.always)
"""Those that stand in every report."""


def check_baselines(names: Iterable[str], *, also: Iterable[str] = ()) -> None:
    """Refuse names that are no baseline's.

    Args:
        also: further words that may be given.

    Raises:
        InputError: such a name, with what it may have been meant for.
    """
    known = [*BASELINES, *also]
    for name in names:
        if name not in known:
            raise InputError(f"no baseline {name!r}; {near(name, known)}")
