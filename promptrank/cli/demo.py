"""``promptrank demo``: real members, real movies, a real decoder, and honest baselines."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from promptrank.cli import options
from promptrank.cli.terminal import progress_bar, say, show

TASK = "movies/like"
FOLDER = Path("demo")
LIMIT = 300

NEXT = """
What to read off this table
  auc, gauc, ndcg: larger is better; log_loss and ece: smaller. Intervals draw whole members.
  The decoder was never tuned on a rating: it reads ten films with their ratings, and the share of
  viewers who liked each. Item means are a strong baseline on MovieLens, where many agree on what
  is good; an untuned 135M decoder loses to them. Its probabilities are not calibrated (ece).

What to try next
  (source .venv/bin/activate first, so that the shell finds promptrank)
  promptrank render movies/like              the exact prompt, fragment by fragment
  promptrank eval movies/like --limit 50 --set history.last=20
  promptrank eval movies/rating --limit 50   five graded answers instead of yes and no
  promptrank eval movies/similar --limit 50  a source movie and its neighbours, no history
  Copy tasks/movies/like.yaml and templates/movies/like.j2 into folders tasks/ and templates/ of
  yours, point `data` at your tables, and run `promptrank validate tasks/movies/like.yaml` there.
"""


def demo(
    limit: Annotated[int, typer.Option("--limit", min=1, help="Members to rank for.")] = LIMIT,
    threads: options.Threads = None,
) -> None:
    """Rank real movies for real members of MovieLens-100K with SmolLM2-135M, and evaluate.

    Outputs go to demo/.
    """
    from promptrank.api.evaluate import evaluate
    from promptrank.api.tasks import open_task

    opened = open_task(TASK)
    out = FOLDER / "report.json"
    say(f"{TASK}: {opened.task.description}")
    with progress_bar("ranking", "requests") as progress:
        report = evaluate(opened, limit=limit, threads=threads, out=out, say=say, progress=progress)
    _one_ranking(out.with_suffix(".scores.parquet"))
    show(report)
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
    for name in ("rank", "P(like)", "movie", "stars the member gave"):
        table.add_column(name)
    for _, rank, score, title, year, rating in rows:
        table.add_row(str(rank), f"{score:.3f}", f"{title} ({year})", "*" * int(rating))
    Console(file=sys.stdout, width=None if sys.stdout.isatty() else 120).print(table)
