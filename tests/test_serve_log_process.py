"""A server's whole day: aliases move under load, it is ended, and its log is replayed and learned.

By the real commands, over a real (tiny) model.
"""

import csv
import json
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import httpx2 as httpx
import pytest

from promptrank.api.adapters import rollback, set_alias
from promptrank.api.evaluate import evaluate
from promptrank.api.join import join
from promptrank.api.replay import replay
from promptrank.requests.read import read_requests
from promptrank.runs.log_files import log_files
from promptrank.serve.shadow import is_chosen
from support.logs import toy_request
from support.runs import QUICK, run
from support.toys import adapters_for

pytestmark = pytest.mark.slow

ALIAS = "toys@prod"
SHARE = 0.8  # eval leaves out a ranker that scored less than half of what is judged


def started(project: Path, log: Path, *options: str) -> tuple[subprocess.Popen[str], str]:
    """A server that is ready, and its address."""
    command = [sys.executable, "-m", "promptrank", "serve", "toys/like", "--project", str(project)]
    command += ["--port", "0", "--threads", "1", "--log", str(log), *options]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    url = process.stderr.readline().strip()
    for line in process.stderr:
        if line.strip() == "ready":
            break
    return process, url


class Client(threading.Thread):
    """Asks until it is told to stop, or refused.

    Attributes:
        answers: that came with 200.
        refused: status and text of the others.
    """

    def __init__(self, url: str, number: int) -> None:
        super().__init__(daemon=True)
        self.url, self.number = url, number
        self.answers: list[dict[str, Any]] = []
        self.refused: list[str] = []
        self.over = threading.Event()

    def run(self) -> None:
        with httpx.Client(base_url=self.url, timeout=60) as http:
            while not self.over.is_set():
                name = f"c{self.number}-{len(self.answers)}"
                try:
                    answer = http.post("/v1/rank", json=toy_request(name, name))
                except httpx.HTTPError:
                    return  # it is ended
                if answer.status_code == 200:
                    self.answers.append(answer.json())
                else:
                    self.refused.append(f"{answer.status_code}: {answer.text}")
                    return


def test_serve_log_replay_join_evaluate_and_train(
    toys: Path, tiny_llama_path: Path, tmp_path: Path
) -> None:
    old, new, shadow = adapters_for(toys, tiny_llama_path, 3)
    set_alias(ALIAS, old, project=toys)
    log = tmp_path / "log"
    process, url = started(toys, log, "--adapter", ALIAS, "--shadow", f"adapter:{shadow}={SHARE}")
    told: list[str] = []
    assert process.stderr is not None
    reading = threading.Thread(target=lambda: told.extend(process.stderr or ()), daemon=True)
    reading.start()
    clients = [Client(url, number) for number in range(6)]
    try:
        for client in clients:
            client.start()
        for name in (new, old, new):
            if name == old:
                rollback(ALIAS, project=toys)
            else:
                set_alias(ALIAS, name, project=toys)
            wait_for(clients, name)
        assert not any(client.refused for client in clients)  # no request has failed
        # Half of them leave the server time for shadows; the others go on over its end.
        for client in clients[1:]:
            client.over.set()
        for client in clients[1:]:
            client.join(60)
        clients[0].over.set()
        clients[0].join(60)
        answered = [answer["request_id"] for client in clients for answer in client.answers]
        wait_for_shadows(url, sum(is_chosen(name, SHARE) for name in answered))
        last = Client(url, 99)
        clients.append(last)
        last.start()
        wait_for([last], new)
        process.send_signal(signal.SIGTERM)
        assert process.wait(180) == 0
    finally:
        process.kill()
        process.wait()
    last.join(60)
    reading.join(60)
    process.stderr.close()
    assert all(told.startswith("503: ") for told in last.refused), last.refused
    answers = {a["request_id"]: a for client in clients for a in client.answers}
    assert {a["provenance"]["adapter"] for a in answers.values()} == {old, new}
    # What was answered is in the log, and nothing else.
    files = log_files(log, "toys/like")
    errors: list[Any] = []
    requests = [r for path in files.requests for r in read_requests(path, errors=errors.append)]
    assert errors == [] and {r.request_id for r in requests} == set(answers)
    assert any(line.startswith("log: ") and "dropped" not in line for line in told)
    moves = [json.loads(line) for line in told if '"event":"alias"' in line]
    assert [move["adapter"] for move in moves] == [new, old, new]
    # Ranked again, each request by the adapter that its answer names.
    (done,) = replay(log, project=toys)
    assert done.differences.same and done.differences.requests == len(answers)
    assert done.changes == ()
    (other,) = replay(log, project=toys, adapter=shadow, limit=10)
    assert not other.differences.same and any("adapter" in change for change in other.changes)
    # What came of it.
    liked = tmp_path / "liked.csv"
    with liked.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["request_id", "candidate_id", "label"])
        writer.writerows([name, ("Ball", "Car")[n % 2], "like"] for n, name in enumerate(answers))
    joined = join(
        log,
        "toys/like",
        tmp_path / "joined.parquet",
        outcomes=liked,
        none="dislike",
        valid=0.2,
        test=0.4,
        project=toys,
    )
    assert joined.labelled == 3 * len(answers) and set(joined.parts) == {"test", "train", "valid"}
    report = evaluate(
        "toys/like",
        requests=joined.path,
        scores=joined.scores["served"],
        vs=["logged", f"scores:{joined.scores[shadow]}"],
        project=toys,
        draws=100,
    )
    names = {row.name for row in report.rankers}
    assert {report.reference, "logged", f"scores:{joined.scores[shadow]}"} <= names
    assert 0 < report.counts.requests < len(answers)  # those that the shadow scored, too
    trained = run(
        toys,
        "from-log",
        requests=joined.path,
        settings=[],
        training=QUICK,
    )
    assert trained.labels == {"toys/like": 3 * joined.parts["train"]}


def wait_for(clients: list[Client], adapter: str) -> None:
    """Until each client has an answer by this adapter."""
    for client in clients:
        begun = len(client.answers)
        for _ in range(12_000):
            new = client.answers[begun:]
            if any(answer["provenance"]["adapter"] == adapter for answer in new):
                break
            assert not client.refused, client.refused
            threading.Event().wait(0.01)
        else:
            raise AssertionError(f"no answer by {adapter}")


def wait_for_shadows(url: str, chosen: int) -> None:
    """Until each of the chosen requests was scored by the shadow, or dropped."""
    through = 0.0
    for _ in range(120):
        lines = httpx.get(f"{url}/metrics", timeout=60).text.splitlines()
        totals = [line for line in lines if line.startswith("promptrank_shadow_rankings_total")]
        through = sum(float(line.rsplit(" ", 1)[1]) for line in totals)
        if through >= chosen:
            return
        threading.Event().wait(0.5)
    raise AssertionError(f"shadows are through with {through} of {chosen}")
