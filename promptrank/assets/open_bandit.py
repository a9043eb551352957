"""The Open Bandit data: from the sample in obp's wheel to two parquet tables.

ZOZOTOWN, a fashion shop, showed three items at a time on its page, in three campaigns, for a week
of November 2019, by one of two policies: uniformly at random, or by Bernoulli Thompson sampling.
The log has the probability with which each item was shown at its position (Saito, Aihara,
Matsutani and Narita 2020, "Open Bandit Dataset and Pipeline", arXiv:2008.07146). The wheel holds a
sample of 10,000 places of each policy and campaign.
"""

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pyarrow as pa

POLICIES = ("random", "bts")
CAMPAIGNS = ("all", "men", "women")
_MEMBER = [f"user_feature_{k}" for k in range(4)]
_ITEM = [f"item_feature_{k}" for k in range(4)]


def convert(unpacked: Path, folder: Path) -> None:
    """Write ``impressions`` and ``items`` as parquet to ``folder``.

    * impressions: ``policy`` (``random``, ``bts``), ``campaign`` (``all``, ``men``, ``women``),
      ``impression_id``, ``shown_at`` in unix seconds, ``item_id``, ``position`` (1 to 3), ``p``
      (probability that the policy shows this item there), ``click`` (0 or 1), ``user_feature_0`` to
      ``user_feature_3`` (hashed). One row is one place; which three belonged together is not known,
      nor who looked. The affinities of users and items are left out.
    * items: ``campaign``, ``item_id``, ``item_feature_0`` (a number), ``item_feature_1`` to
      ``item_feature_3`` (hashed). Each log has hashes of its own; these are those of ``random``.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    shown = [_impressions(unpacked, p, c) for p in POLICIES for c in CAMPAIGNS]
    pq.write_table(pa.concat_tables(shown), folder / "impressions.parquet")
    items = [_items(unpacked, campaign) for campaign in CAMPAIGNS]
    pq.write_table(pa.concat_tables(items), folder / "items.parquet")


def _impressions(unpacked: Path, policy: str, campaign: str) -> "pa.Table":
    import pyarrow as pa

    path = unpacked / f"obp-dataset-obd-{policy}-{campaign}-{campaign}.csv"
    wanted = ["timestamp", "item_id", "position", "propensity_score", "click", *_MEMBER]
    table = _read(path, wanted)
    count = table.num_rows
    seconds = [moment.timestamp() for moment in table["timestamp"].to_pylist()]
    columns = {
        "policy": pa.array([policy] * count),
        "campaign": pa.array([campaign] * count),
        "impression_id": pa.array([f"{policy}-{campaign}-{i}" for i in range(count)]),
        "shown_at": pa.array(seconds, pa.float64()),
        "item_id": table["item_id"],
        "position": table["position"].cast(pa.int64()),
        "p": table["propensity_score"].cast(pa.float64()),
        "click": table["click"].cast(pa.int64()),
    }
    return pa.table({**columns, **{name: table[name] for name in _MEMBER}})


def _items(unpacked: Path, campaign: str) -> "pa.Table":
    import pyarrow as pa

    path = unpacked / f"obp-dataset-obd-random-{campaign}-item_context.csv"
    table = _read(path, ["item_id", *_ITEM])
    table = table.set_column(1, _ITEM[0], table[_ITEM[0]].cast(pa.float64()))
    return table.add_column(0, "campaign", pa.array([campaign] * table.num_rows))


def _read(path: Path, columns: list[str]) -> "pa.Table":
    """These columns of a CSV file, texts but for the time."""
    import pyarrow as pa
    from pyarrow import csv

    types = {name: pa.string() for name in columns}
    if "timestamp" in types:
        types["timestamp"] = pa.timestamp("us", "UTC")
    return csv.read_csv(
        path,
        convert_options=csv.ConvertOptions(include_columns=columns, column_types=types),
    )
