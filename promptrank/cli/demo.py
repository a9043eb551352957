"""``promptrank demo``: real members, real movies, a real decoder, and honest baselines."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from promptrank.basics.stopping import if_stopped
from promptrank.cli import options
from promptrank.cli.demo_conclusion import conclusion, page, renamed, show_conclusion
from promptrank.cli.demo_plan import (
    ADAPTER,
    BASELINES,
    DECODER,
    FOLDER,
    FUSED,
    FUSED_ON,
    INTRO,
    LABELLED,
    LABELS,
    LIMIT,
    MORE,
    NEXT,
    OWN,
    PUPIL,
    STEPS,
    STUDENT,
    TASK,
    TAUGHT,
    UNTAUGHT,
)
from promptrank.cli.demo_ranking import choose_member, ranked_movies, ranking_table, write_request
from promptrank.cli.progress import spent
from promptrank.cli.terminal import PLAIN_WIDTH, print_table, progress_bar, say

if TYPE_CHECKING:
    from promptrank.evaluation.report import Report


def demo(
    limit: Annotated[int, typer.Option("--limit", min=10, help="Members to rank for.")] = LIMIT,
    threads: options.Threads = None,
) -> None:
    """Rank real movies for real members of MovieLens-100K; train, fuse, distil; compare all.

    Shows one ranking within a minute and the conclusion after some six. Outputs go to demo/,
    adapters/demo, fusions/, students/ and cache/.
    """
    with if_stopped("the same command starts over, with what is ranked already in demo/"):
        _demo(limit, threads)


def _demo(limit: int, threads: int | None) -> None:
    started = time.monotonic()
    say(INTRO)
    requests = _build()
    _one_ranking(requests, threads)
    say(f"(This ranking was there after {spent(time.monotonic() - started)}.)")
    say(NEXT)
    with _step(1, f"train an adapter of your own on about {LABELS} ratings"):
        say("  This is how a model learns a domain; the shipped adapter had 12,000 ratings.")
        _train(requests, threads)
    with _step(2, "add three plain numbers to the model's score"):
        say(
            "  The movie's share of likes, the member's taste and share: a logistic layer weighs "
            f"them against\n  the model, fitted on {FUSED_ON} validation members."
        )
        _fuse(requests, threads)
    with _step(3, "teach a small, fast student"):
        say(
            f"  Trees that learn from the model's answers for {TAUGHT} members; a twin has the "
            f"labels of {LABELLED} members\n  alone, and shows what the model's answers are worth."
        )
        _distil(requests, threads)
    with _step(4, f"rank for {limit} members with all of them"):
        say("  Members of the test part: no adapter, layer or student has seen these stars.")
        report = _rank_all(requests, limit, threads)
    with _step(5, "compare the students with their teacher, and measure what each costs"):
        say("  On one core, with a hundred candidates at a time.")
        comparison = _compare(requests, limit)
    _finish(report, comparison)
    say(f"The demo took {spent(time.monotonic() - started)}.")


@contextmanager
def _step(number: int, title: str) -> Iterator[None]:
    say(f"\nstep {number} of {STEPS}: {title}")
    started = time.monotonic()
    yield
    say(f"  took {spent(time.monotonic() - started)}")


def _build() -> Path:
    """The request file that every step uses."""
    from promptrank.api.build import build
    from promptrank.assets import resolve_model
    from promptrank.workspace.tasks import data_folder, open_task

    opened = open_task(TASK)
    resolve_model(opened.task.model, say=say)
    data_folder(opened, say)
    requests = FOLDER / "requests.parquet"
    built = build(opened, requests)
    say(
        f"\nBuilt {sum(built.requests.values()):,} requests, which all steps use: a member, the "
        "member's last ratings, and up to ten movies."
    )
    return requests


def _one_ranking(requests: Path, threads: int | None) -> None:
    """Print one member's ranking with titles, as people want to see what a score means."""
    from promptrank.api.rank import rank
    from promptrank.workspace.tasks import data_folder, open_task

    folder = data_folder(open_task(TASK))
    member = choose_member(requests, folder)
    single, scores = FOLDER / "one.parquet", FOLDER / "one.scores.parquet"
    write_request(requests, member.request_id, single)
    say(f"Ranking ten movies for member {member.member_id} ...")
    rank(TASK, scores, requests=single, adapter=ADAPTER, threads=threads)
    lines = [f"\nTen movies ranked for member {member.member_id}: {member.about}"]
    for what, titles in (("liked", member.liked), ("did not like", member.disliked)):
        if titles:
            lines.append(f"of the last movies, {what}: {', '.join(titles[:4])}")
    sys.stdout.write("\n".join(lines) + "\n\n")
    print_table(ranking_table(ranked_movies(scores, folder)), PLAIN_WIDTH)
    sys.stdout.write("\nThe model was shown what came before, never these stars.\n")
    sys.stdout.flush()


def _train(requests: Path, threads: int | None) -> None:
    from promptrank.api.train import train
    from promptrank.training.settings import Settings

    with progress_bar("  training", "steps") as progress:
        train(
            [TASK],
            OWN,
            requests=requests,
            training=Settings(limit=LABELS, valid=0, batch=4),
            overwrite=True,
            threads=threads,
            progress=progress,
        )


def _fuse(requests: Path, threads: int | None) -> None:
    from promptrank.api.fuse import fuse

    with progress_bar("  ranking", "members") as progress:
        fuse(
            TASK,
            requests=requests,
            settings=FUSED,
            adapter=ADAPTER,
            limit=FUSED_ON,
            threads=threads,
            progress=progress,
        )


def _distil(requests: Path, threads: int | None) -> None:
    from promptrank.api.distill import distill

    for name, loss, teacher in (
        (STUDENT, "direct", f"adapter:{ADAPTER}"),
        (UNTAUGHT, "labels", None),
    ):
        with progress_bar("  asking the model", "members") as progress:
            distill(
                TASK,
                name=name,
                loss=loss,
                teacher=teacher,
                requests=requests,
                limit=TAUGHT,
                labels=LABELLED,
                replace_=True,
                threads=threads,
                progress=progress,
            )


def _rank_all(requests: Path, limit: int, threads: int | None) -> "Report":
    """Scores of every ranker on the same members, and the report that compares them."""
    from promptrank.api.evaluate import evaluate
    from promptrank.api.rank import rank

    def scores(
        stem: str,
        what: str,
        *,
        adapter: str | None = None,
        engine: str = "packed",
        settings: list[str] | None = None,
        cache: bool = False,
    ) -> Path:
        path = FOLDER / f"{stem}.scores.parquet"
        with progress_bar(f"  {what}", "members") as progress:
            rank(
                TASK,
                path,
                requests=requests,
                splits={"test"},
                limit=limit,
                engine=engine,
                adapter=adapter,
                settings=settings,
                threads=threads,
                cache=cache,
                progress=progress,
            )
        return path

    # Kept in the score cache, the answers are there when the student is compared.
    fused = scores("fused", "the shipped adapter", adapter=ADAPTER, settings=FUSED, cache=True)
    others = {
        scores("own", "your adapter of step 1", adapter=OWN): "decoder, your adapter of step 1",
        scores("untuned", "the model untuned"): "decoder, untuned",
        scores("student", "the student", engine=f"student:{STUDENT}"): PUPIL,
    }
    names = {
        "decoder": DECODER,
        "fused": f"{DECODER} + three numbers",
        "fused, no decoder": "the three numbers alone",
        **BASELINES,
        **{f"scores:{path}": name for path, name in others.items()},
    }
    report = evaluate(
        TASK,
        requests=requests,
        settings=FUSED,
        scores=fused,
        vs=[f"scores:{path}" for path in others],
        limit=limit,
    )
    return renamed(report, names)


def _compare(requests: Path, limit: int) -> "Report":
    from promptrank.api.compare_students import compare_students

    return compare_students(
        TASK,
        teacher=f"adapter:{ADAPTER}",
        students=[STUDENT, UNTAUGHT],
        requests=requests,
        limit=limit,
    )


def _finish(report: "Report", students: "Report") -> None:
    """The conclusion first, then the short table; the long ones go to files."""
    from promptrank.basics.files import write_text
    from promptrank.evaluation.report import write_report
    from promptrank.students.comparison import TEACHER

    teacher, student = students.ranker(TEACHER).cost, students.ranker(STUDENT).cost
    assert teacher is not None and student is not None, "measured by `compare_students`"
    text = conclusion(
        report,
        list(BASELINES.values()),
        PUPIL,
        decoder_us=teacher.us_per_candidate,
        student_us=student.us_per_candidate,
    )
    figures, data = FOLDER / "report.md", FOLDER / "report.json"
    write_report(report, data)
    write_text(figures, page(text, report, students))
    show_conclusion(text, report)
    sys.stdout.write(f"All figures: {figures} (and {data} for programs)\n{MORE}")
    sys.stdout.flush()
