"""The Open Bandit data: the conversion by hand, and estimates beside what the policies earned."""

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from promptrank.assets.open_bandit import CAMPAIGNS, POLICIES, convert
from promptrank.evaluation.off_policy import estimate
from promptrank.evaluation.off_policy_rows import Amount
from promptrank.evaluation.reward_model import expected_rewards
from support.open_bandit import POSITIONS, bandit_log

HEAD = (
    ",timestamp,item_id,position,click,propensity_score,user_feature_0,user_feature_1,"
    "user_feature_2,user_feature_3,user-item_affinity_0\n"
)
ITEMS = ",item_id,item_feature_0,item_feature_1,item_feature_2,item_feature_3\n0,7,-0.5,ab,12,0e1\n"


def test_two_tables(tmp_path: Path) -> None:
    for policy in POLICIES:
        for campaign in CAMPAIGNS:
            rows = "0,2019-11-24 00:00:34.762830+00:00,7,3,1,0.0125,81,03,c2,f9,0.0\n"
            rows += "1,2019-11-24 00:00:35+00:00,7,1,0,4.5e-05,81,03,c2,f9,1.0\n"
            name = f"obp-dataset-obd-{policy}-{campaign}-{campaign}.csv"
            (tmp_path / name).write_text(HEAD + rows)
            name = f"obp-dataset-obd-random-{campaign}-item_context.csv"
            (tmp_path / name).write_text(ITEMS)
    out = tmp_path / "out"
    out.mkdir()
    convert(tmp_path, out)
    shown = pq.read_table(out / "impressions.parquet").to_pylist()
    assert len(shown) == 12
    assert shown[2] == {
        "policy": "random",
        "campaign": "men",
        "impression_id": "random-men-0",
        "shown_at": 1574553634.76283,
        "item_id": "7",
        "position": 3,
        "p": 0.0125,
        "click": 1,
        "user_feature_0": "81",
        "user_feature_1": "03",
        "user_feature_2": "c2",
        "user_feature_3": "f9",
    }
    assert (shown[-1]["impression_id"], shown[-1]["p"]) == ("bts-women-1", 4.5e-05)
    items = pq.read_table(out / "items.parquet").to_pylist()
    assert items[0] == {
        "campaign": "all",
        "item_id": "7",
        "item_feature_0": -0.5,
        "item_feature_1": "ab",
        "item_feature_2": "12",  # a hash that looks like a number is text
        "item_feature_3": "0e1",
    }


def holds(amount: Amount | None, value: float) -> bool:
    assert amount is not None
    assert amount.low is not None
    assert amount.high is not None
    return amount.low < value < amount.high


@pytest.mark.slow
@pytest.mark.parametrize("campaign", CAMPAIGNS)
def test_what_thompson_sampling_earned_is_estimated_from_the_uniform_log(
    campaign: str, open_bandit_path: Path
) -> None:
    """As in the paper's experiments: the value of one policy from the log of the other."""
    logs = {policy: bandit_log(open_bandit_path, policy, campaign) for policy in POLICIES}
    uniform, thompson = logs["random"], logs["bts"]
    predicted = expected_rewards(uniform.features, uniform.places)
    policies = {
        "bts": uniform.policy(thompson.shares(), predicted),
        "random": uniform.policy(np.full((uniform.items, POSITIONS), 1 / uniform.items), predicted),
    }
    found = estimate(uniform.places, policies, predicted, draws=500)
    row = found.ranker("bts")
    earned = float(thompson.places.reward.mean())
    for amount in (row.ips, row.snips, row.dr):
        assert holds(amount, earned), (campaign, amount, earned)
    assert 2000 < row.effective < 5000
    # The policy that made the log has weights of 1 there, exactly.
    assert found.ranker("random").ips.value == pytest.approx(found.logged.value)
    assert found.ranker("random").effective == pytest.approx(10_000)


@pytest.mark.slow
def test_the_other_way_some_weights_are_too_large(open_bandit_path: Path) -> None:
    """Thompson sampling hardly ever showed some items: its log says little of showing all."""
    effective = {}
    for campaign in CAMPAIGNS:
        log = bandit_log(open_bandit_path, "bts", campaign)
        uniform = log.policy(np.full((log.items, POSITIONS), 1 / log.items))
        found = estimate(log.places, {"random": uniform}, draws=300)
        row = found.ranker("random")
        assert holds(row.mean_weight, 1.0)  # its propensities are those of the log
        effective[campaign] = row.effective
        told = any("says next to nothing" in note for note in found.notes)
        assert told == (row.effective < 100)
    assert effective["women"] < 10 < 300 < effective["all"] < effective["men"]
