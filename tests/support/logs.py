"""Logs of servers, made without a net: the toys, served by the fake engine."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from promptrank.ranking.ranker import Ranker
from promptrank.serve.serving_log import ServingLog
from promptrank.workspace.rankers import open_ranker
from support.adapters import a_folder
from support.serving import app_of, ask, rank_body


def toy_request(
    name: str, person: str = "Ann", toys: Sequence[str] = ("Ball", "Car", "Doll")
) -> Any:
    """A body of ``/v1/rank`` with a history."""
    body = rank_body(name, toys)
    body["request"]["member"] = {"name": person}
    body["request"]["member_id"] = person
    body["request"]["history"] = [{"item": {"title": "Top"}, "action": "like"}]
    return body


def served(project: Path, folder: Path, adapter: str | None, names: Sequence[str]) -> Ranker:
    """Serve requests of these names into a log, and close it; an adapter is made if need be."""
    if adapter is not None and not (project / "adapters" / adapter).exists():
        a_folder(project / "adapters" / adapter, seed=len(adapter))
    ranker = open_ranker("toys/like", project=project, engine="fake", adapter=adapter)
    log = ServingLog(folder)
    app = app_of(ranker, serving_log=log)
    for name in names:
        answer = ask(app, "/v1/rank", toy_request(name, f"person {name}"))
        assert answer.status_code == 200, answer.text
    log.close()
    return ranker
