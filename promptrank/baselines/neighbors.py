"""The baseline ``neighbors``: who liked what this one liked, liked this too (item-item cosine).

Sarwar et al. 2001, for likes instead of ratings: U_i is the set of subjects that liked item i in
training, and a candidate's score is its mean cosine with the items that the request goes by:

    1/|H| * sum over h in H without i: |U_h and U_i| / sqrt(|U_h| |U_i|)

H is the request's source item, else what its history liked; the sum over nothing is 0, a tie. An
item is never its own neighbour. What a subject liked in training is the relevant candidates of its
training requests and the liked events of their histories, and a source item itself.

Like the regression, it learns from all of the training part. Histories are as of the request, but
under a split by the last requests of each subject some of the training part is later than a request
that is judged: a stronger rival than one could serve. Under a split by time it is as-of.
"""

from typing import Any

import numpy as np

from promptrank.baselines.baseline import Aim, Baseline, Sources
from promptrank.baselines.liked import liked_events
from promptrank.basics.arrays import Floats
from promptrank.ranking.values import Values
from promptrank.records import Request

NO_HISTORY = "no request has a source item or a history to be a neighbour of"
NO_LIKES = "nobody liked anything in the training requests"


class NeighborsFit:
    """Notes who liked what in training, about 50 bytes a like."""

    def __init__(self, aim: Aim) -> None:
        """Know of no like yet."""
        self._aim = aim
        self._items: dict[str, int] = {}
        self._liked: dict[str, set[int]] = {}
        self._wanted = False

    def add(self, request: Request) -> None:
        """Note the likes of a training request, and of any whether it goes by something."""
        self._wanted = self._wanted or request.subject.source is not None or bool(request.history)
        if request.split != "train":
            return
        names = wanted_items(request, self._aim)
        for candidate in request.candidates:
            gain = self._aim.gain_of(candidate)
            if gain is not None and gain >= self._aim.relevant_at:
                names.append(candidate.item.item_id)
        liked = self._liked.setdefault(request.subject.subject_id, set())
        liked.update(self._items.setdefault(name, len(self._items)) for name in names)

    def fit(self, sources: Sources) -> Baseline:
        """The neighbours; a reason where nobody liked anything, or no request goes by anything."""
        if not self._wanted:
            return Baseline(None, NO_HISTORY)
        if not self._items:
            return Baseline(None, NO_LIKES)
        model = Neighbors(self._aim, self._items, list(self._liked.values()))
        return Baseline(model.rank, facts=model.facts())


class Neighbors:
    """Items by who liked them."""

    def __init__(self, aim: Aim, items: dict[str, int], liked: list[set[int]]) -> None:
        """Take the likes.

        Args:
            items: item -> its column.
            liked: columns of what each subject liked.
        """
        from scipy import sparse

        self._aim, self._items = aim, items
        subjects = np.repeat(np.arange(len(liked)), [len(each) for each in liked])
        columns = np.array([column for each in liked for column in sorted(each)], dtype=np.int64)
        shape = (len(liked), len(items))
        likes = sparse.csc_array((np.ones(len(columns)), (subjects, columns)), shape=shape)
        self._counts: Floats = np.asarray(likes.sum(axis=0), dtype=np.float64)
        # Columns of length 1, so that a product of two is their cosine.
        self._likes: Any = (likes / np.sqrt(self._counts)).tocsc()

    def rank(self, request: Request) -> Values:
        """Mean cosine of each candidate with what the request goes by."""
        names = [candidate.item.item_id for candidate in request.candidates]
        wanted = list(dict.fromkeys(wanted_items(request, self._aim)))
        scores = np.zeros(len(names))
        rows = [i for i, name in enumerate(names) if name in self._items]
        ours = [name for name in wanted if name in self._items]
        if rows and ours:
            theirs = [self._items[names[i]] for i in rows]
            places = [self._items[name] for name in ours]
            together = np.asarray(self._likes[:, places].sum(axis=1)).ravel()
            cosines = together @ self._likes[:, theirs]
            # An item is not its own neighbour. Rounded, since sums of one value may differ by the
            # order of their terms, and a tie must stay one.
            cosines -= np.isin(theirs, places)
            scores[rows] = np.round(cosines / len(wanted), 12) + 0.0
        return Values(scores.tolist())

    def facts(self) -> dict[str, Any]:
        """What it learned from, for the report."""
        subjects, items = self._likes.shape
        return {"subjects": subjects, "items": items, "likes": int(self._counts.sum())}


def wanted_items(request: Request, aim: Aim) -> list[str]:
    """Ids of what a request goes by: its source item, else what its history liked."""
    if request.subject.source is not None:
        return [request.subject.source.item_id]
    events = liked_events(request, aim.gain_of, aim.relevant_at)
    return [event.item.item_id for event in events]
