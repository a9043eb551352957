"""Off-policy estimates against truth: simulated marketplaces, and the Open Bandit data.

    python bench/off_policy.py [--logs 200] [--members 150]

For every simulated log it is known what three rankers would have earned (`promptrank.simulation`):
how often does each interval hold that, how far off is the estimate, and how far off would trusting
the log's own mean be? Then the Open Bandit data (`promptrank pull open-bandit`): the value of
Thompson sampling from the log of the uniform policy, beside what Thompson sampling itself earned.
"""

import argparse
import sys
from collections import defaultdict
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))

from promptrank.assets import resolve_dataset
from promptrank.assets.open_bandit import CAMPAIGNS, POLICIES
from promptrank.evaluation.off_policy import estimate, greedy
from promptrank.evaluation.off_policy_text import amount_text
from promptrank.evaluation.reward_model import expected_rewards
from promptrank.simulation.switches import Switches
from support.logged_market import Market
from support.open_bandit import bandit_log

SHOWN = ("ips", "snips", "dr")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--logs", type=int, default=200)
    parser.add_argument("--members", type=int, default=150)
    parser.add_argument("--draws", type=int, default=400)
    given = parser.parse_args()
    simulated(given.logs, given.members, given.draws)
    for campaign in CAMPAIGNS:
        open_bandit(resolve_dataset("open-bandit"), campaign, given.draws)


def simulated(logs: int, members: int, draws: int) -> None:
    """Print coverage, error and width of each estimate on so many logs."""
    held = defaultdict[tuple[str, str], list[bool]](list)
    error = defaultdict[tuple[str, str], list[float]](list)
    width = defaultdict[tuple[str, str], list[float]](list)
    effective = defaultdict[str, list[float]](list)
    for seed in range(logs):
        market = Market(Switches(members=members, seed=seed))
        features = np.column_stack([market.log.pairs.known, market.log.logged])
        predicted = expected_rewards(features, market.places)
        policies = {
            name: greedy(market.places, scores, predicted)
            for name, scores in market.rankers.items()
        }
        found = estimate(market.places, policies, predicted, draws=draws, seed=seed)
        for row in found.rankers:
            truth = market.earned(market.order(market.rankers[row.name]))
            effective[row.name].append(row.effective / found.places)
            for name in SHOWN:
                amount = getattr(row, name)
                held[row.name, name].append(amount.low <= truth <= amount.high)
                error[row.name, name].append(amount.value - truth)
                width[row.name, name].append(amount.high - amount.low)
    for (ranker, name), inside in held.items():
        errors = np.array(error[ranker, name])
        print(
            f"{ranker:8} {name:6} covered={np.mean(inside):.3f} bias={errors.mean():+.4f} "
            f"rmse={np.sqrt((errors**2).mean()):.4f} width={np.mean(width[ranker, name]):.3f} "
            f"effective={np.mean(effective[ranker]):.3f}"
        )


def open_bandit(folder: Path, campaign: str, draws: int) -> None:
    """Print what Thompson sampling earned, and what the log of the uniform policy says of it."""
    uniform, thompson = (bandit_log(folder, policy, campaign) for policy in POLICIES)
    predicted = expected_rewards(uniform.features, uniform.places)
    policy = uniform.policy(thompson.shares(), predicted)
    found = estimate(uniform.places, {"bts": policy}, predicted, draws=draws)
    row = found.ranker("bts")
    said = " ".join(f"{name}={amount_text(getattr(row, name))}" for name in SHOWN)
    print(
        f"open-bandit {campaign}: bts earned {thompson.places.reward.mean():.4f}, the uniform log "
        f"{found.logged.value:.4f}; from that log {said} effective={row.effective:,.0f}"
    )


if __name__ == "__main__":
    main()
