"""The Open Bandit data as logged places: a place is a request, and all items are its candidates."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from promptrank.basics.arrays import Codes, Floats
from promptrank.evaluation.logged_places import LoggedPlaces
from promptrank.evaluation.off_policy import Policy
from promptrank.evaluation.reward_model import Predicted

POSITIONS = 3


@dataclass(frozen=True)
class BanditLog:
    """One policy's log of one campaign.

    Attributes:
        places: each its own request and subject; nobody knows who looked.
        item: (places,) index of the item shown.
        items: how many there are; candidate i of a request is item i.
        features: sparse (candidates, some) of item, user and day.
    """

    places: LoggedPlaces
    item: Codes
    items: int
    features: Any

    def shares(self) -> Floats:
        """(items, positions): how often the policy put each item there; sums to 1 by position.

        Over the week that is the policy itself, which looks at items and positions only.
        """
        counts = np.zeros((self.items, POSITIONS))
        np.add.at(counts, (self.item, self.places.position - 1), 1.0)
        return np.asarray(counts / counts.sum(axis=0))

    def policy(self, chance: Floats, predicted: Predicted | None = None) -> Policy:
        """The policy that shows items by (items, positions) probabilities."""
        at = self.places.position - 1
        if predicted is None:
            return Policy(chance[self.item, at])
        each = predicted.candidate.reshape(-1, self.items)
        expected = (each * chance.T[at]).sum(axis=1) + predicted.place
        return Policy(chance[self.item, at], expected)


def bandit_log(folder: Path, policy: str, campaign: str) -> BanditLog:
    """Read one log of `promptrank.assets.open_bandit`."""
    from scipy import sparse

    wanted = [("policy", "=", policy), ("campaign", "=", campaign)]
    log = pq.read_table(folder / "impressions.parquet", filters=wanted)
    items = pq.read_table(folder / "items.parquet", filters=wanted[1:])
    count, shown = items.num_rows, np.array(log["item_id"].to_pylist(), dtype=np.int64)
    n = len(shown)
    users = [_codes(log[f"user_feature_{k}"].to_pylist()) for k in range(4)]
    kinds = [_codes(items[f"item_feature_{k}"].to_pylist()) for k in range(1, 4)]
    columns = [np.tile(np.arange(count), n), *(np.tile(k, n) for k in kinds)]
    columns += [np.repeat(user, count) for user in users]
    ones = np.ones(n * count)
    rows = np.arange(n * count)
    features = sparse.hstack([sparse.csr_array((ones, (rows, column))) for column in columns])
    places = LoggedPlaces(
        np.repeat(np.arange(n), count),
        np.arange(n),
        log["impression_id"].to_pylist(),
        np.arange(n) * count + shown,
        log["position"].to_numpy(),
        log["p"].to_numpy(),
        log["click"].to_numpy().astype(np.float64),
    )
    return BanditLog(places, shown, count, features)


def _codes(values: list[str]) -> Codes:
    return np.asarray(np.unique(np.array(values), return_inverse=True)[1], dtype=np.int64)
