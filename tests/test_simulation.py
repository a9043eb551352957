"""The jobs marketplace: what it promises of its tables, its truth and its best possible AUC."""

import json
from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

import promptrank
from promptrank.cli.main import app
from promptrank.errors import InputError
from promptrank.simulation import bayes, log, utility, words, world
from promptrank.simulation.auc import expected_auc
from promptrank.simulation.draws import exponential, normal, uniform
from promptrank.simulation.marketplace import Marketplace, make_marketplace
from promptrank.simulation.switches import Switches
from promptrank.simulation.world_tables import digest

DAY = 86400
SMALL = Switches(members=150, seed=3)
PLAIN = Switches(
    members=400,
    position_bias=0,
    delay=0,
    false_negatives=0,
    hidden=0,
    affinity=0,
    cold=0,
    flip=None,
    noise=0,
)

# Whatever changes one of these changes what every ranker is judged by: raise the version then.
FROZEN = {
    "members": "1303258f7212652c",
    "jobs": "baecfdc85d76240f",
    "impressions": "de63e782c618b46c",
    "actions": "5f60a2b5c66c3581",
    "reviews": "80d19e082aa0aae5",
    "queries": "43bea74d6a2b0dcf",
    "judgements": "b638804096cf2944",
    "similar": "391afdedb0bc0a33",
    "truth/members": "0b170f172022b9a5",
    "truth/impressions": "dd758ff056defb4c",
    "truth/reviews": "46ac20a8921f8926",
    "truth/judgements": "c8f4856f21057c0e",
    "truth/similar": "f4dd5fd58581eaab",
}


class Arrays:
    """A log as arrays, with what the model says of it."""

    def __init__(self, s: Switches) -> None:
        self.s = s
        self.members, self.jobs = world.make_members(s), world.make_jobs(s)
        self.log = log.make_impressions(s, self.members, self.jobs)
        self.known = bayes.best_chances(s, self.jobs, self.log, affinity=True)
        self.text = bayes.best_chances(s, self.jobs, self.log, affinity=False)
        self.recorded = self.log.seen_by() <= self.log.time + log.WINDOW


@cache
def arrays(s: Switches) -> Arrays:
    """The log of these switches, made once."""
    return Arrays(s)


@pytest.fixture(scope="module")
def default() -> Arrays:
    return arrays(Switches())


@pytest.fixture(scope="module")
def small() -> Marketplace:
    return make_marketplace(SMALL)


def columns(table: Any) -> dict[str, Any]:
    return {name: np.array(table[name].to_pylist(), dtype=object) for name in table.column_names}


def test_the_frozen_marketplace_is_what_it_was() -> None:
    made = make_marketplace(Switches(members=60, seed=1))
    assert made.report["version"] == 1
    assert {name: digest[:16] for name, digest in made.report["sha256"].items()} == FROZEN


@pytest.mark.long
def test_equal_seeds_give_equal_bytes_and_other_seeds_other_tables(
    small: Marketplace, tmp_path: Path
) -> None:
    for name in ("a", "b"):
        promptrank.simulate_jobs(tmp_path / name, SMALL)
    files = sorted(p.relative_to(tmp_path / "a") for p in (tmp_path / "a").rglob("*.*"))
    assert len(files) == 14
    for file in files:
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()
    other = make_marketplace(replace(SMALL, seed=4)).report["sha256"]
    assert not set(other.values()) & set(small.report["sha256"].values())


def test_a_digest_sees_names_types_and_values(small: Marketplace) -> None:
    table = small.readable["queries"]
    assert digest(table) == small.report["sha256"]["queries"]
    assert digest(table) != digest(table.rename_columns(["query_id", "words"]))
    assert digest(table) != digest(table.slice(1))


@pytest.mark.long
def test_a_switch_leaves_people_jobs_and_slates_alone() -> None:
    base = replace(SMALL, members=40)
    plain = make_marketplace(base).report["sha256"]
    changed: dict[str, Any] = {
        "position_bias": 1.0,
        "delay": 4.0,
        "false_negatives": 0.4,
        "hidden": 0.5,
        "affinity": 0.3,
        "drift": 20,
        "bad_match": "none",
        "flip": None,
        "noise": 0.3,
    }
    for name, value in changed.items():
        other = make_marketplace(replace(base, **{name: value})).report["sha256"]
        for table in ("members", "jobs", "impressions", "queries"):
            assert other[table] == plain[table], (name, table)
        assert other != plain, name


@pytest.mark.long
def test_propensities_are_what_places_follow() -> None:
    s = Switches(members=1500)
    members, jobs = world.make_members(s), world.make_jobs(s)
    shown = log.make_impressions(s, members, jobs)
    # With 8 places and 3 of 10 slates in random order: 0.3 / 8, and 0.7 more in one's own place.
    own = shown.place == shown.rank
    assert set(np.round(shown.propensity[own], 6)) == {0.7375}
    assert set(np.round(shown.propensity[~own], 6)) == {0.0375}
    for place in (1, 4, 8):
        for rank in (1, 4, 8):
            among = shown.rank == rank
            share = (shown.place[among] == place).mean()
            expected = 0.7375 if place == rank else 0.0375
            assert share == pytest.approx(expected, abs=4 * np.sqrt(0.25 / among.sum()))
    # Every request shows each place once, sorted by the served score where not shuffled.
    places = shown.place.reshape(-1, log.SLATE)
    assert (places == np.arange(1, 9)).all()
    served = shown.logged.reshape(-1, log.SLATE)[own.reshape(-1, log.SLATE).all(1)]
    assert len(served) > 1000 and (np.diff(served, axis=1) <= 0).all()


def test_position_bias_is_how_often_a_place_is_looked_at() -> None:
    shown = arrays(replace(PLAIN, position_bias=1.0)).log
    for place in (1, 2, 8):
        looked = shown.looked[shown.place == place].mean()
        assert looked == pytest.approx(1 / place, abs=0.04)
    assert arrays(replace(PLAIN, members=50)).log.looked.all()


@pytest.mark.long
def test_nobody_is_shown_a_job_twice_or_before_it_was_posted(default: Arrays) -> None:
    shown = default.log
    pairs = np.stack([shown.member, shown.job])
    assert np.unique(pairs, axis=1).shape == pairs.shape
    assert (default.jobs.posted[shown.job] < shown.time).all()
    assert (default.members.signed_up[shown.member] < shown.time).all()
    assert (default.members.region[shown.member] == default.jobs.region[shown.job]).all()


@pytest.mark.long
@pytest.mark.parametrize("lost_at", ["all", "company_site"])
def test_the_share_of_lost_applications(lost_at: Any) -> None:
    s = Switches(members=800, false_negatives=0.3, lost_at=lost_at)
    made = arrays(s)
    applied = made.log.applied < world.NEVER
    lost = made.log.lost[applied]
    assert lost.mean() == pytest.approx(0.3, abs=0.03)
    away = made.jobs.site[made.log.job][applied] == words.SITES.index("company site")
    expected = {"all": (0.3, 0.3), "company_site": (0.0, 0.6)}[lost_at]
    assert lost[~away].mean() == pytest.approx(expected[0], abs=0.04)
    assert lost[away].mean() == pytest.approx(expected[1], abs=0.04)
    # Nothing of a lost application is recorded, and the view before it is.
    assert (made.log.seen_by()[applied & made.log.lost] == world.NEVER).all()


def test_what_is_recorded_of_each_impression(small: Marketplace) -> None:
    shown, acted = columns(small.readable["impressions"]), columns(small.readable["actions"])
    truth = columns(small.truth["impressions"])
    at = dict(zip(shown["impression_id"], shown["shown_at"], strict=True))
    assert all(at[i] < t for i, t in zip(acted["impression_id"], acted["acted_at"], strict=True))
    by_action = {
        a: set(acted["impression_id"][acted["action"] == a]) for a in ("view", "apply", "dismiss")
    }
    ids = truth["impression_id"]
    assert by_action["apply"] == set(ids[truth["applied"].astype(bool) & (truth["lost"] == 0)])
    assert by_action["view"] == set(ids[truth["viewed"].astype(bool)])
    assert by_action["dismiss"] == set(ids[truth["dismissed"].astype(bool)])
    assert not by_action["view"] & by_action["dismiss"]
    assert by_action["apply"] < by_action["view"]


def test_delays_have_the_declared_mean_and_cross_windows() -> None:
    made = arrays(replace(PLAIN, delay=3.0))
    applied = made.log.applied < world.NEVER
    waited = (made.log.applied - made.log.time)[applied] / DAY
    assert waited.mean() == pytest.approx(3.0, rel=0.1)
    late = (waited > 7).mean()
    # The sum of two exponential waits of means 0.75 and 2.25 days.
    assert late == pytest.approx(
        (2.25 * np.exp(-7 / 2.25) - 0.75 * np.exp(-7 / 0.75)) / 1.5, abs=0.02
    )
    at_once = arrays(replace(PLAIN, members=100)).log
    done = at_once.applied < world.NEVER
    assert set((at_once.applied - at_once.time)[done]) == {80}


@pytest.mark.long
def test_the_flipped_region_turns_one_preference_around(default: Arrays) -> None:
    shown, s = default.log, default.s
    plain = utility.pairs(
        replace(s, flip=None), default.members, default.jobs, shown.member, shown.job, shown.time
    )
    change = shown.pairs.known - plain.known
    west = default.members.region[shown.member] == s.region_names.index("west")
    assert not change[~west].any()
    mode = default.jobs.mode[shown.job, world.version(default.jobs.changed, shown.job, shown.time)]
    # 0.9 turned around: on site gains 1.8, remote loses 1.8.
    assert np.allclose(change[west], np.array([1.8, 0.0, -1.8])[mode[west]])
    rate = {
        (r, m): shown.wanted[(west == r) & (mode == m)].mean()
        for r in (False, True)
        for m in (0, 2)
    }
    assert rate[False, 2] > rate[False, 0] + 0.15
    assert rate[True, 2] < rate[True, 0] - 0.05


def test_the_drift_changes_the_level_that_is_looked_for_from_its_day_on() -> None:
    s = replace(PLAIN, drift=30)
    made, before = arrays(s), arrays(PLAIN)
    change = made.log.pairs.known - before.log.pairs.known
    after = made.log.time >= world.START + 30 * DAY
    assert not change[~after].any()
    gap = _gap(made)
    # Two levels down: 2.5 from what is liked best before, 1 after; times 0.8.
    assert np.allclose(change[after & (gap == -2)], 0.8 * 1.5)
    assert np.allclose(change[after & (gap == 1)], -0.8 * 1.5)


def _gap(made: Arrays) -> Any:
    shown = made.log
    level = made.jobs.level[shown.job, world.version(made.jobs.changed, shown.job, shown.time)]
    own = made.members.level[
        shown.member, world.version(made.members.changed, shown.member, shown.time)
    ]
    return level - own


def test_cold_members_sign_up_late_and_have_little_history(default: Arrays) -> None:
    cold = default.members.cold
    assert cold.mean() == pytest.approx(0.1, abs=0.04)
    assert (default.members.signed_up[cold] >= world.START + 42 * DAY).all()
    assert (default.members.signed_up[~cold] < world.START).all()
    per_member = np.bincount(default.log.member, minlength=1000) / log.SLATE
    assert per_member[cold].max() == 2
    assert per_member[~cold].min() >= 2


@pytest.mark.parametrize(
    ("rule", "parts"),
    [("both", (1, 1)), ("location", (1, 0)), ("licence", (0, 1)), ("none", (0, 0))],
)
def test_the_rule_for_a_bad_match_holds_in_the_tables(rule: Any, parts: tuple[int, int]) -> None:
    made = make_marketplace(replace(SMALL, bad_match=rule, noise=0.0))
    people = {r["member_id"]: r for r in made.readable["members"].to_pylist()}
    truth = {(r["member_id"], r["job_id"]): r["bad"] for r in made.truth["reviews"].to_pylist()}
    versions: dict[str, list[Mapping[str, Any]]] = {}
    for row in made.readable["jobs"].to_pylist():
        versions.setdefault(row["job_id"], []).append(row)
    for row in made.readable["reviews"].to_pylist():
        person = people[row["member_id"]]
        known = [j for j in versions[row["job_id"]] if j["updated_at"] < row["reviewed_at"]]
        job = known[-1]
        away = job["mode"] != "remote" and job["city"] != person["city"]
        lacks = job["licence"] not in ("none", person["licence"])
        bad = bool((away and parts[0]) or (lacks and parts[1]))
        assert truth[row["member_id"], row["job_id"]] == bad
        assert row["verdict"] == ("bad" if bad else "good")


@pytest.mark.long
def test_judges_err_as_often_as_they_are_told_to() -> None:
    made = make_marketplace(Switches(members=600, noise=0.2))
    said = made.readable["reviews"]["verdict"].to_pylist()
    true = made.truth["reviews"]["bad"].to_pylist()
    wrong = np.mean([(a == "bad") != b for a, b in zip(said, true, strict=True)])
    assert wrong == pytest.approx(0.2, abs=0.03)
    assert set(made.truth["reviews"]["p_bad"].to_pylist()) == {0.2, 0.8}
    for name in ("judgements", "similar"):
        grades = np.array(made.readable[name]["grade"].to_pylist())
        right = np.array(made.truth[name]["grade"].to_pylist())
        inner = np.isin(right, ["weak", "good"])
        assert (grades != right)[inner].mean() == pytest.approx(0.2, abs=0.07)


def test_nothing_that_a_ranker_may_read_tells_the_truth(small: Marketplace) -> None:
    hidden = {"taste", "wanted", "utility", "looked", "lost", "bad", "applied", "cold", "history"}
    for name, table in small.readable.items():
        leaks = [c for c in table.column_names if c in hidden or c.startswith("p_")]
        assert not leaks, name
    assert set(small.truth) == {"members", "impressions", "reviews", "judgements", "similar"}


@pytest.mark.parametrize(
    ("scores", "labels", "expected"),
    [
        ([1, 2, 3, 4], [0, 1, 0, 1], 3 / 4),
        ([1, 1, 1], [0, 1, 1], 1 / 2),
        # Pairs by hand: 2 before 1: .8 * .6 = .48 right of .48 + .2 * .4 = .56 in all.
        ([1, 2], [0.4, 0.8], 0.48 / 0.56),
    ],
)
def test_the_expected_auc_by_hand(scores: Any, labels: Any, expected: float) -> None:
    assert expected_auc(scores, labels) == pytest.approx(expected)


def test_the_expected_auc_is_the_mean_over_drawn_labels() -> None:
    rng = np.random.default_rng(0)
    chances = np.round(rng.random(300), 2)
    drawn = [expected_auc(chances, rng.random(300) < chances) for _ in range(400)]
    aucs = np.array(drawn, float)
    assert expected_auc(chances, chances) == pytest.approx(
        aucs.mean(), abs=4 * aucs.std() / np.sqrt(400)
    )
    assert expected_auc([1.0, 2.0], [1, 1]) is None
    assert expected_auc([], []) is None


def test_noise_is_integrated_out_as_drawing_it_does() -> None:
    u = np.array([-2.0, 0.0, 1.5])
    drawn = utility.chances(u[:, None] + 1.3 * normal(0, "test", 1, 200_000))
    exact = utility.expected_chances(u, 1.3)
    for name in ("apply", "view", "dismiss", "nothing"):
        assert np.allclose(getattr(exact, name), getattr(drawn, name).mean(1), atol=2e-3)


def test_the_best_chances_are_frequencies_among_those_with_the_same_past() -> None:
    """Monte Carlo through the generating process itself, kept where the past came out as given.

    One member, two impressions in the past of kinds 2 and 0, and a candidate of kind 2.
    """
    n, delay, look, lost = 300_000, 2.0, np.array([0.9, 0.6, 1.0]), 0.3
    base, kinds, age = np.array([0.4, 1.0, 0.2]), np.array([2, 0, 2]), np.array([2.0, 1.0])
    s = replace(PLAIN, delay=delay, false_negatives=lost, hidden=0.2, affinity=0.0)
    taste = (uniform(0, "t", n) * 5).astype(int)
    u = utility.utility(
        s, base + utility.TASTE * (taste[:, None] == kinds), 0.0, normal(0, "h", n, 3)
    )
    does, draw = utility.chances(u), uniform(0, "a", 3, n, 3)
    looked, applies = draw[0] < look, draw[1] < does.apply
    views = draw[1] < does.apply + does.view
    waits = exponential(0, "w", 2, n, 3) * np.array([delay / 4, 3 * delay / 4])[:, None, None]
    viewed = np.where(looked & views, waits[0], np.inf)
    applied = np.where(looked & applies & (draw[2] >= lost), viewed + waits[1], np.inf)
    gone = looked & ~views & (draw[1] >= 1 - does.dismiss)
    dismissed = np.where(gone, exponential(0, "d", n, 3) * delay / 4, np.inf)
    # The second impression of the past: nothing was heard of it within its one day.
    silent = (viewed[:, 1] >= age[1]) & (dismissed[:, 1] >= age[1])
    about_a_day = (viewed[:, 0] > 0.8) & (viewed[:, 0] < 1.2)
    now = world.START + 10 * DAY
    shown = now - np.array([2 * DAY, DAY, 0])
    both = tuple(
        utility.expected_chances(utility.utility(s, base + t, 0.0, 0.0), utility.SPREAD * 0.2**0.5)
        for t in (0.0, utility.TASTE)
    )
    never = np.full(3, world.NEVER)
    empty = arrays(replace(PLAIN, members=20)).log
    # The first: viewed after a day, and then either applied for, or nothing more so far.
    for then, at in ((applied[:, 0] < age[0], shown[0] + DAY + 3600), (None, world.NEVER)):
        kept = silent & about_a_day & (then if then is not None else applied[:, 0] >= age[0])
        three = replace(
            empty,
            request=np.array([0, 1, 2]),
            member=np.zeros(3, np.int64),
            time=shown,
            viewed=np.array([shown[0] + DAY, world.NEVER, world.NEVER]),
            applied=np.array([at, world.NEVER, world.NEVER]),
            dismissed=never,
            lost=np.zeros(3, np.bool_),
            pairs=utility.Pairs(base, kinds, *[np.zeros(3, np.bool_)] * 3),
        )
        # The chance of a look is given by impression here, as above, and not by place.
        match = bayes._match_chance(
            s,
            three,
            (both[0], both[1]),
            np.full(3, lost),
            0,
            3,
            look_at=lambda s, place: look[: len(place)],
        )
        assert match[0] == pytest.approx(0.2)
        assert kept.sum() > 1800
        share = (taste[kept] == 2).mean()
        assert share == pytest.approx(match[2], abs=3.5 * np.sqrt(0.2 / kept.sum()))
        exact = utility.Chances.mix(both[0], both[1], match).apply[2]
        frequency = (looked & applies)[kept, 2].mean()
        assert frequency == pytest.approx(exact, abs=3.5 * np.sqrt(0.25 / kept.sum()))
        if then is not None:
            assert match[2] > 0.3, "an application must tell of the taste"


def test_what_came_out_agrees_with_the_chances(default: Arrays) -> None:
    outcomes = {
        "apply": default.recorded,
        "view": default.log.viewed <= default.log.time + log.WINDOW,
        "applied": default.log.applied < world.NEVER,
        "wanted": default.log.wanted,
    }
    for known in (default.known, default.text):
        for name, labels in outcomes.items():
            chance = getattr(known, name)
            for part in np.array_split(np.argsort(chance), 10):
                spread = np.sqrt((chance[part] * (1 - chance[part])).mean() / len(part))
                assert labels[part].mean() == pytest.approx(chance[part].mean(), abs=4 * spread)
            best, real = expected_auc(chance, chance), expected_auc(chance, labels)
            # The standard error of an AUC with 5,000 positives is below 0.005.
            assert real == pytest.approx(best, abs=0.012)


@pytest.mark.long
def test_each_piece_of_knowledge_raises_the_best() -> None:
    def best(known: bayes.Observed) -> float:
        return expected_auc(known.apply, known.apply) or 0.0

    s = Switches(members=400, hidden=0.15, affinity=0.15)
    made = arrays(s)
    assert best(made.known) > best(made.text) + 0.01
    assert best(arrays(replace(s, hidden=0.0)).known) > best(made.known) + 0.01
    # Whoever knew the taste and the hidden part as well could do more; no ranker may.
    chance = utility.chances(made.log.utility).apply
    assert (expected_auc(chance, chance) or 0.0) > best(made.known) + 0.02
    numberless = arrays(replace(s, affinity=0.0))
    assert best(numberless.known) == best(numberless.text)


def test_the_report_counts_what_the_tables_hold(small: Marketplace) -> None:
    report = json.loads(json.dumps(small.report))
    truth = columns(small.truth["impressions"])
    assert report["rows"]["impressions"] == len(truth["request_id"])
    assert report["log"]["applications"] == truth["applied"].sum()
    assert report["log"]["applications_lost"] == truth["lost"].sum()
    best = report["best"]["apply"]
    labelled = truth["labelled"].astype(bool)
    chance = truth["p_apply"][labelled].astype(float)
    assert best["rows"] == labelled.sum()
    assert best["best_auc"] == round(expected_auc(chance, chance) or 0, 4)
    regions = [v for k, v in best["slices"].items() if k.startswith("region=")]
    assert len(regions) == 4
    assert sum(v["rows"] for v in regions) == best["rows"]
    assert sum(v["positives"] for v in regions) == best["positives"]
    assert report["switches"]["seed"] == 3


def logistic_way(made: Arrays) -> float:
    """How far from 0.5 to the best a logistic regression on every declared field gets."""
    from sklearn.linear_model import LogisticRegression

    shown, members, jobs = made.log, made.members, made.jobs
    m, j = shown.member, shown.job
    mv, jv = (
        world.version(members.changed, m, shown.time),
        world.version(jobs.changed, j, shown.time),
    )
    distance = np.sqrt(((members.place[m] - jobs.place[j]) ** 2).sum(1))
    one_hot = [
        (jobs.level[j, jv], 5),
        (members.level[m, mv], 5),
        (jobs.mode[j, jv], 3),
        (jobs.hours[j, jv], 2),
        (jobs.field[j], 8),
        (members.field[m], 8),
        (jobs.kind[j], 5),
        (jobs.site[j], 2),
        (members.region[m] * 3 + members.city[m], 18),
        (jobs.region[j] * 3 + jobs.city[j], 18),
    ]
    numbers = [jobs.licence[j], members.licensed[m], distance / 50, shown.affinity]
    design = np.hstack(
        [jobs.skills[j, jv], members.skills[m, mv]]
        + [np.eye(size)[index] for index, size in one_hot]
        + [np.asarray(n, float)[:, None] for n in numbers]
    )
    train = shown.time < world.START + 42 * DAY
    test = shown.time >= world.START + 49 * DAY
    fitted = LogisticRegression(max_iter=300).fit(design[train], made.recorded[train])
    got = expected_auc(fitted.decision_function(design[test]), made.recorded[test])
    best = expected_auc(made.known.apply[test], made.known.apply[test])
    assert got is not None and best is not None
    return (got - 0.5) / (best - 0.5)


@pytest.mark.long
def test_main_effects_reach_at_most_sixty_percent_of_the_way(default: Arrays) -> None:
    way = logistic_way(default)
    assert 0.3 < way <= 0.6


@pytest.mark.long
def test_main_effects_do_not_reach_further_with_everything_switched_off() -> None:
    assert logistic_way(arrays(replace(PLAIN, members=1000, seed=7))) <= 0.6


def test_switches_out_of_range_are_all_named_at_once(tmp_path: Path) -> None:
    wrong = replace(SMALL, members=3, hidden=0.6, affinity=0.6, flip="coast")
    with pytest.raises(InputError) as error:
        promptrank.simulate_jobs(tmp_path / "x", wrong)
    lines = str(error.value).splitlines()
    assert len(lines) == 3
    assert lines[0] == "members: 3 is not between 20 and 1e+06"
    assert "hidden + affinity: 1.2" in lines[1]
    assert "flip: no 'coast'; one of north, east, south, west" in lines[2]
    assert not list(tmp_path.iterdir())


def test_another_folder_is_never_replaced(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(InputError, match="holds something else"):
        promptrank.simulate_jobs(tmp_path, replace(SMALL, members=20))
    assert [p.name for p in tmp_path.iterdir()] == ["notes.txt"]
    out = tmp_path / "jobs"
    for seed in (1, 2):
        promptrank.simulate_jobs(out, replace(SMALL, members=20, seed=seed))
    assert json.loads((out / "report.json").read_text())["switches"]["seed"] == 2
    assert sorted(p.name for p in tmp_path.iterdir()) == ["jobs", "notes.txt"]


def test_the_command_writes_what_the_function_does(tmp_path: Path) -> None:
    command = ["simulate", "jobs", "--members", "20", "--seed", "5", "--flip", "none"]
    result = CliRunner().invoke(app, [*command, "--drift", "30", "-o", str(tmp_path / "a")])
    assert result.exit_code == 0
    assert "best AUC for apply: 0." in result.stderr
    switches = Switches(members=20, seed=5, flip=None, drift=30)
    made = promptrank.simulate_jobs(tmp_path / "b", switches)
    assert json.loads((tmp_path / "a" / "report.json").read_text()) == made.report
    assert "drift=after" in made.report["best"]["apply"]["slices"]
