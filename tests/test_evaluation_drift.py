"""Drift and cold starts: what was planted is found and named, what was not is not."""

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest

from promptrank.basics.arrays import Codes
from promptrank.evaluation.compare import compare, report_of
from promptrank.evaluation.drift import DAY, NAME, Stretches, drift_of, stretches, trends
from promptrank.evaluation.drift_rows import CALENDAR, TRAINING, WEEK, Drift
from promptrank.evaluation.label_mass import mass_alerts
from promptrank.evaluation.labelled import Labelled
from promptrank.evaluation.measure import Measured
from promptrank.evaluation.report import Report, ReportSlice
from promptrank.evaluation.report_departures import departures
from promptrank.evaluation.slice_contrasts import contrasts_of, with_contrasts
from promptrank.evaluation.slices import Slicing, fit_slicings
from promptrank.ranking.values import Values
from promptrank.records import Candidate, Event, Item, Request, Subject
from promptrank.schema.task import Task
from promptrank.scores.origin import Origin
from promptrank.scores.scores import Scores, thin_answers
from support.data import make_task
from support.measured import labelled_of, rows_of, scores_by

PARTS = 6
MONDAY = 1_699_833_600.0  # 13 November 2023, 00:00 UTC


def log(
    generator: np.random.Generator,
    noise: tuple[float, ...],
    subjects: int = 120,
    rows: int = 12,
) -> tuple[Labelled, Codes]:
    """Rankers that err as much as the part says; subjects have rows in several parts."""
    owner = np.repeat(np.arange(subjects), rows)
    part = generator.integers(0, PARTS, len(owner))
    truth = generator.normal(size=len(owner)) + 0.5 * generator.normal(size=subjects)[owner]
    gain = (truth + generator.normal(size=len(owner)) > 0).astype(np.float64)
    away = generator.normal(size=(2, len(owner)))
    spread = np.array(noise)[part]
    given = rows_of(gain.tolist(), owner.tolist(), owner.tolist())
    scores = {"decoder": truth + spread * away[0], "steady": truth + 0.8 * away[1]}
    return replace(labelled_of(given, scores), slices={NAME: part, "by": part}), part


def drift(labelled: Labelled, draws: int = 200) -> tuple[Report, Drift]:
    report = report_of(labelled, ["auc"], reference="decoder", draws=draws)
    starts = tuple(MONDAY + i * WEEK for i in range(PARTS))
    keep = np.ones(len(labelled), dtype=np.bool_)
    made = drift_of(labelled, keep, report, Stretches(TRAINING, MONDAY, WEEK, starts))
    assert made is not None
    return replace(report, drift=made), made


def test_a_planted_drift_is_found_and_named_and_no_other() -> None:
    labelled, _ = log(np.random.default_rng(0), (0.1, 0.5, 1.0, 1.5, 2.0, 3.0), subjects=200)
    report, found = drift(labelled)
    assert [ranker.name for ranker in found.shown] == ["decoder"]
    slope = found.shown[0].slope
    assert slope is not None and slope.value < 0 and slope.verdict == "worse"
    (line,) = departures(report)
    assert line.startswith("drift: auc of decoder falls by .0")
    assert line.endswith("over 6 weeks after training in 6 stretches, corrected for 2 rankers")
    values = [point.cell.value or 0 for point in found.rankers[0].points]
    assert values[0] > 0.75 > 0.7 > values[-1]
    assert sum(point.candidates for point in found.rankers[0].points) == len(labelled)


def test_a_slope_is_that_of_weighted_least_squares() -> None:
    at, weight = np.array([0.0, 1.0, 3.0, 4.0]), np.array([10, 20, 30, 5])
    values = np.array([[0.9, 0.8, 0.7, 0.65], [0.9, np.nan, 0.7, 0.8], [0.9, np.nan, np.nan, 0.8]])
    slopes = trends(at, weight, values)
    for row in (0, 1):
        known = ~np.isnan(values[row])
        line = np.polyfit(at[known], values[row][known], 1, w=np.sqrt(weight[known]))
        assert slopes[row] == pytest.approx(line[0])
    assert np.isnan(slopes[2])


def contrasts(labelled: Labelled, draws: int = 200) -> Report:
    report = report_of(labelled, ["auc"], reference="decoder", draws=draws)
    slicing = Slicing("by", tuple("abcdef"), lambda request, candidate: 0)
    keep = np.ones(len(labelled), dtype=np.bool_)
    whole = [ReportSlice("by", name, report.counts, report.rankers) for name in slicing.labels]
    return replace(report, slices=tuple(with_contrasts(labelled, keep, report, whole, [slicing])))


def test_a_part_that_departs_is_named() -> None:
    labelled, _ = log(np.random.default_rng(1), (4.0, 0.8, 0.8, 0.8, 0.8, 0.8), subjects=200)
    report = contrasts(labelled)
    verdicts = {part.name: part.beside.verdict for part in report.slices if part.beside}
    assert verdicts.pop("a") == "worse"
    assert verdicts == dict.fromkeys("bcdef")
    (line,) = departures(report)
    assert line.startswith("auc of decoder by by: a: .1")
    assert "below the others (-." in line
    assert line.endswith("worse (less the median of the other slices; corrected for 6)")


def test_a_contrast_is_less_the_median_of_the_others() -> None:
    values = np.array([[0.5, 0.8, 0.9], [0.5, np.nan, 0.9], [0.5, np.nan, np.nan]])
    # The middles of weights 10 and 30 lie at .125 and .625 of 40: the half is 3/4 of the way.
    made = contrasts_of(values, np.array([10, 30, 10]))
    assert made[0, 1] == pytest.approx(0.8 - 0.7)
    assert made[0, 2] == pytest.approx(0.9 - (0.5 + 0.75 * 0.3))
    assert made[0, 0] == pytest.approx(0.5 - (0.8 + 0.1 * (0.5 - 0.375) / 0.5))
    assert made[1] == pytest.approx([-0.4, np.nan, 0.4], nan_ok=True)
    assert np.isnan(made[2]).all()
    # Three of one weight: the middle one, whatever the lowest does.
    (low,) = contrasts_of(np.array([[0.9, 0.1, 0.6, 0.7]]), np.array([5, 5, 5, 5]))
    assert low[0] == pytest.approx(0.9 - 0.6)


def test_promises_of_a_slice_are_said_beside_what_happened() -> None:
    generator = np.random.default_rng(4)
    labelled, part = log(generator, (0.8,) * PARTS, subjects=200)
    rate = labelled.relevant.mean()
    said = np.where(part == 2, rate + 0.2, rate)
    labelled = replace(labelled, probabilities={"decoder": said})
    report = contrasts(labelled)
    verdicts = {each.name: each.promised.verdict for each in report.slices if each.promised}
    assert verdicts == dict.fromkeys("abdef") | {"c": "worse"}
    (line,) = departures(report)
    assert line.startswith("probabilities of decoder by by: c: said .")
    assert "too high beside the others (+.1" in line
    calibration = report.ranker("decoder").calibration
    assert calibration is not None
    assert calibration.predicted == pytest.approx(said.mean())
    assert calibration.observed == pytest.approx(rate)
    assert calibration.low is not None and calibration.high is not None
    assert calibration.low < calibration.gap < calibration.high
    assert report.ranker("steady").calibration is None


def test_an_alert_where_label_mass_falls() -> None:
    requests = [a_request(f"r{k}", MONDAY + k * DAY, events=k % 2) for k in range(60)]
    keys = [(r.request_id, c.candidate_id) for r in requests for c in r.candidates]
    (slicing,) = fit_slicings(["history"], requests)
    times = stretches(requests, None)
    assert times is not None

    def alerts(mass: Callable[[int], float]) -> list[str]:
        columns = {
            "request_id": [key[0] for key in keys],
            "candidate_id": [key[1] for key in keys],
            "score": [0.5] * len(keys),
            "q_label_mass": [mass(int(key[0][1:])) for key in keys],
        }
        scores = Scores(pa.table(columns), Origin("decoder"))
        return mass_alerts(task(), requests, scores, [slicing, times.slicing])

    (line,) = alerts(lambda k: 0.45 if k % 2 else 0.99)
    assert line == (
        "label mass falls by history: the answers to q hold .720 of the model's probability on the "
        "whole, but .450 where it is 1-2; look at prompts there"
    )
    (line,) = alerts(lambda k: 0.9 if k < 49 else 0.55)
    assert line.startswith("label mass falls by time: the answers to q hold .836")
    assert "but .550 from 2024-01-01 on" in line
    assert not alerts(lambda k: 0.93 + 0.01 * (k % 3))
    assert not alerts(lambda k: math.nan)
    assert thin_answers({"q": 0.51}) == []
    (warning,) = thin_answers({"q": 0.31, "p": 0.99})
    assert warning.startswith("the answers to q hold 31% of the model's probability")


@pytest.mark.slow
@pytest.mark.parametrize("of", ["drift", "slices"])
def test_a_placebo_is_named_in_about_one_of_twenty_logs(of: str) -> None:
    generator, named, logs = np.random.default_rng(5), 0, 200
    for _ in range(logs):
        labelled, _ = log(generator, (0.8,) * PARTS, subjects=120, rows=10)
        if of == "drift":
            named += bool(drift(labelled, draws=400)[1].shown)
        else:
            parts = contrasts(labelled, draws=400).slices
            named += any(part.beside and part.beside.verdict for part in parts)
    # 10 are expected; beyond 20 lies .1% of such counts.
    assert named <= 20, named


def a_request(name: str, time: float | None, subject: str = "s", events: int = 0) -> Request:
    history = tuple(Event(Item("h", {}), time=float(i)) for i in range(events))
    rows = tuple(
        Candidate(f"c{i}", Item(f"c{i}", {}), outcomes={"q": str(i % 2)}) for i in range(4)
    )
    return Request(name, Subject(subject), rows, history, time)


def test_stretches_are_weeks_after_training_or_of_the_calendar_or_days() -> None:
    def at(*times: float) -> list[Request]:
        return [a_request(str(i), MONDAY + time) for i, time in enumerate(times)]

    weekly = at(*(i * WEEK + 3 * DAY for i in range(5)))
    trained = stretches(weekly, MONDAY + 2 * DAY)
    assert trained is not None
    assert (trained.since, trained.origin, trained.width) == (TRAINING, MONDAY + 2 * DAY, WEEK)
    assert trained.starts == tuple(MONDAY + 2 * DAY + i * WEEK for i in range(5))
    codes = [trained.slicing.code(r, r.candidates[0]) for r in weekly]
    assert codes == [0, 1, 2, 3, 4]
    # Some lie before the end of training: weeks of the calendar, from a Monday.
    mixed = stretches(weekly, MONDAY + 2 * WEEK)
    assert mixed is not None
    assert (mixed.since, mixed.starts[0]) == (CALENDAR, MONDAY)
    daily = stretches(at(0, DAY, 2.5 * DAY), None)
    assert daily is not None and daily.width == DAY and len(daily.starts) == 3
    long = stretches(at(*(i * WEEK for i in range(100))), None)
    assert long is not None and long.width == 4 * WEEK and len(long.starts) == 25
    assert stretches(at(0, 1, 2), None) is None
    assert stretches([a_request("r", None)], None) is None
    assert mixed.slicing.code(a_request("r", None), weekly[0].candidates[0]) == 5


def task() -> Task:
    answers = {"1": {"say": "Yes", "value": 1}, "0": {"say": "No", "value": 0}}
    return make_task(questions={"q": {"ask": "?", "answers": answers}}, metrics=["auc"])


@pytest.mark.long
def test_a_comparison_tells_of_both_and_of_neither() -> None:
    generator = np.random.default_rng(2)
    requests = [
        a_request(f"r{k}-{week}", MONDAY + week * WEEK, f"s{k}", events=k % 2)
        for k in range(80)
        for week in range(5)
    ]

    def fading(request: Request) -> Values:  # knows less every week
        spread = 0.2 + 0.5 * ((request.time or 0) - MONDAY) / WEEK
        return Values([float(c.outcomes["q"]) + spread * noise() for c in request.candidates])

    def cold(request: Request) -> Values:  # knows nothing of members without history
        known = bool(request.history)
        return Values([known * float(c.outcomes["q"]) + noise() for c in request.candidates])

    def noise() -> float:
        return float(generator.normal())

    def lines(name: str, rank: object) -> list[str]:
        scores = scores_by(requests, {name: rank})  # type: ignore[dict-item]
        report = compare(
            task(),
            requests,
            scores,
            draws=200,
            slicings=fit_slicings(["history"], requests),
            times=stretches(requests, MONDAY - 30 * DAY),
        )
        assert report.drift is not None
        assert len(report.drift.rankers[0].points) == 5
        return list(departures(report))

    (told,) = lines("fading", fading)
    assert told.startswith("drift: auc of fading falls by ")
    (told,) = lines("cold", cold)
    assert told.startswith("auc of cold by history: 0: .")
    assert "below the others" in told and "1-2: " in told and "above the others" in told
    assert not lines("noise", lambda r: Values([noise() for _ in r.candidates]))


def test_without_draws_nothing_is_named() -> None:
    labelled, _ = log(np.random.default_rng(0), (0.1, 0.5, 1.0, 1.5, 2.0, 3.0))
    report, found = drift(labelled, draws=0)
    assert not found.shown and not list(departures(report))
    besides = [part.beside for part in contrasts(labelled, 0).slices]
    assert besides and all(beside and beside.verdict is None for beside in besides)


def test_a_curve_of_what_has_no_draws_says_why_it_has_no_intervals(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # As `smooth_ece`, whose library takes seconds to import.
    undrawn = Measured(
        lambda times: np.full(len(times), np.nan), "candidates", 9, reason="no draws", value=0.1
    )
    monkeypatch.setattr("promptrank.evaluation.part_draws.measure", lambda *given: undrawn)
    _, made = drift(log(np.random.default_rng(0), (1.0,) * PARTS, subjects=40)[0], draws=50)
    cells = [point.cell for point in made.rankers[0].points]
    assert {(cell.value, cell.low, cell.reason) for cell in cells} == {(0.1, None, "no draws")}
