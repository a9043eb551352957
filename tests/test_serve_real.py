"""A real model behind the server: under load, each request has the scores that it has alone."""

import asyncio

import pytest

from promptrank.serve.app import make_app
from promptrank.serve.bounds import Bounds
from promptrank.serve.shapes.every import SHAPES
from promptrank.workspace.rankers import open_ranker
from support.serving import client, hosted_of

FILMS = ["Heat", "Fargo", "Flubber", "Alien", "Babe", "Casino", "Clueless", "Se7en"]


def request(number: int) -> dict[str, object]:
    def film(title: str) -> dict[str, object]:
        return {"item_id": title, "item": {"title": title, "year": 1995, "genres": "Drama"}}

    seen = [{**film(title), "outcomes": {"like": "like"}} for title in FILMS[: number % 4]]
    return {
        "request_id": f"r{number}",
        "history": seen,
        "candidates": [film(title) for title in FILMS[2 : 4 + number % 5]],
    }


@pytest.mark.slow
@pytest.mark.usefixtures("smollm2_path")
def test_under_load_each_request_has_the_scores_it_has_alone() -> None:
    with open_ranker("movies/like", adapter="movies", threads=1) as ranker:
        app = make_app(hosted_of(ranker, names=("movies/like",)), SHAPES, bounds=Bounds(at_once=4))

        async def run() -> list[dict[str, object]]:
            async with client(app) as http:
                calls = [http.post("/v1/rank", json={"request": request(n)}) for n in range(12)]
                return [answer.json() for answer in await asyncio.gather(*calls)]

        for number, said in enumerate(asyncio.run(run())):
            alone = {s.item_id: s.score for s in ranker.rank(request(number)).scored}
            served = {s["item_id"]: s["score"] for s in said["scored"]}  # type: ignore[attr-defined]
            assert said["request_id"] == f"r{number}" and len(served) == 2 + number % 5
            assert served == pytest.approx(alone, abs=1e-4)
            assert said["provenance"]["adapter_digest"] == ranker.origin.adapter_digest  # type: ignore[index]
