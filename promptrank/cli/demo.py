"""``promptrank demo``: real members, real movies, a real decoder, and honest baselines."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from promptrank.cli import options
from promptrank.cli.terminal import progress_bar, say, show

TASK = "movies/like"
FOLDER = Path("demo")
LIMIT = 100
ADAPTER = "movies"  # comes with promptrank; its card says how it was trained
OWN = "demo"
STUDENT = "movies-small"
LABELS = 500  # of the short training
FUSED_ON = 60  # validation members
TAUGHT = 120  # members for whom the decoder answers the student
LABELLED = 40  # of these, whose labels it is given too
TIMED = 40

NEXT = """
What to read off these tables
  auc, gauc, ndcg: larger is better; log_loss and ece: smaller. Intervals draw whole members.
  base             the decoder as it comes, never tuned on a rating
  adapter:demo     the same decoder after the short training you just watched
  decoder          with the adapter that comes with promptrank (promptrank adapters show movies)
  fused            a logistic layer over the decoder's score and two shares, fitted on validation
  fused, no decoder  the same layer without the decoder's score: only what fused has over it is
                   the decoder's own
  student:...      a small model of trees that learned from the decoder, and ranks in microseconds
  Item means are a strong baseline on MovieLens, where many agree on what is good.

What to try next
  (source .venv/bin/activate first, so that the shell finds promptrank)
  promptrank render movies/like                     the exact prompt, fragment by fragment
  promptrank train movies/like --adapter mine --limit 3000
  promptrank eval movies/like --adapter mine --vs adapter:movies
  promptrank eval movies/rating --limit 50          five graded answers instead of yes and no
  promptrank simulate jobs --out data/jobs          a second domain; then tasks jobs/apply, jobs/fit
  promptrank init my-project                        a project of your own to start from
"""


def demo(
    limit: Annotated[int, typer.Option("--limit", min=1, help="Members to rank for.")] = LIMIT,
    threads: options.Threads = None,
) -> None:
    """Train, fuse, distil and rank real movies for real members of MovieLens-100K; compare all.

    Outputs go to demo/, adapters/demo, fusions/ and students/.
    """
    from promptrank.api.distill import distill
    from promptrank.api.evaluate import evaluate
    from promptrank.api.fuse import fuse
    from promptrank.api.tasks import open_task
    from promptrank.api.train import train
    from promptrank.api.verdict import verdict
    from promptrank.cli.distill import show_verdict
    from promptrank.training.settings import Settings

    fused = open_task(TASK, settings=["score=fused"])
    out = FOLDER / "report.json"
    say(f"{TASK}: {fused.task.description}")
    say(f"1 of 5: a short training on about {LABELS} labels")
    with progress_bar("training", "steps") as progress:
        train(
            [TASK],
            OWN,
            training=Settings(limit=LABELS, valid=0, batch=4),
            overwrite=True,
            threads=threads,
            say=say,
            progress=progress,
        )
    say(f"2 of 5: a fusion of adapter {ADAPTER} and two numbers, on {FUSED_ON} validation members")
    with progress_bar("ranking", "requests") as progress:
        fuse(fused, adapter=ADAPTER, limit=FUSED_ON, threads=threads, say=say, progress=progress)
    say(
        f"3 of 5: a student of the labels of {LABELLED} members and of adapter {ADAPTER}'s answers "
        f"for {TAUGHT}, and one of these labels alone"
    )
    for name, loss, teacher in (
        (STUDENT, "direct", f"adapter:{ADAPTER}"),
        (f"{STUDENT}-labels", "labels", None),
    ):
        with progress_bar("teacher", "requests") as progress:
            distill(
                TASK,
                name=name,
                loss=loss,
                teacher=teacher,
                limit=TAUGHT,
                labels=LABELLED,
                replace_=True,
                threads=threads,
                say=say,
                progress=progress,
            )
    say(f"4 of 5: everything on the same {limit} members")
    with progress_bar("ranking", "requests") as progress:
        report = evaluate(
            fused,
            adapter=ADAPTER,
            vs=["base", f"adapter:{OWN}", f"student:{STUDENT}"],
            limit=limit,
            threads=threads,
            out=out,
            say=say,
            progress=progress,
        )
    say(f"5 of 5: what the student costs and keeps, on {TIMED} members and one core")
    with progress_bar("ranking", "requests") as progress:
        found = verdict(
            TASK,
            teacher=f"adapter:{ADAPTER}",
            students=[STUDENT, f"{STUDENT}-labels"],
            limit=TIMED,
            say=say,
            progress=progress,
        )
    _one_ranking(out.with_suffix(".scores.parquet"))
    show(report)
    show_verdict(found)
    sys.stdout.write(NEXT)
    sys.stdout.write(f"\nreport: {out}   scores: {out.with_suffix('.scores.parquet')}\n")


def _one_ranking(scores: Path) -> None:
    """Print the first member's ranking with titles, as people want to see what a score means."""
    import duckdb
    from rich.console import Console
    from rich.table import Table

    from promptrank.api.tasks import data_folder, open_task

    folder = data_folder(open_task(TASK))
    query = """
        SELECT s.subject_id, s.rank, s.score, i.title, i.year, r.rating
        FROM read_parquet($scores) s
        JOIN read_parquet($items) i USING (item_id)
        JOIN read_parquet($ratings) r ON r.item_id = s.item_id AND r.member_id = s.subject_id
        WHERE s.request_id = (SELECT min(request_id) FROM read_parquet($scores))
        ORDER BY s.rank
    """
    files = {
        "scores": str(scores),
        "items": str(folder / "items.parquet"),
        "ratings": str(folder / "ratings.parquet"),
    }
    with duckdb.connect() as connection:
        rows = connection.execute(query, files).fetchall()
    if not rows:
        return
    table = Table(title=f"Ten movies ranked for member {rows[0][0]}", title_justify="left")
    for name in ("rank", "score", "movie", "stars the member gave"):
        table.add_column(name)
    for _, rank, score, title, year, rating in rows:
        table.add_row(str(rank), f"{score:.3f}", f"{title} ({year})", "*" * int(rating))
    Console(file=sys.stdout, width=None if sys.stdout.isatty() else 120).print(table)
