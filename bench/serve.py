"""A server beside the engine in it, and beside vLLM's own server, over HTTP on this machine.

    python bench/serve.py [--quick] [--threads N] [--eager] [--only student decoder vllm]

The clients are a process of their own whose share of the processor is printed (`bench/_load.py`).

* student: a gradient-boosted student, made here from MovieLens-100K's labels, answers requests of
  100 candidates on one core; beside what ranking alone takes in this process.
* decoder: SmolLM2 answers requests of 10 candidates of movies/like. 1, 4 and 16 clients who ask
  again as soon as they are answered (closed loop); then requests that arrive by chance (Poisson) at
  50, 80 and 120% of what 16 clients got, with a deadline of ten times a lone request's time.
  ``overhead`` is 1 minus the share of the bare engine's candidates a second that 16 clients get;
  the bare engine scores requests that are encoded already, before and after each round.
  ``goodput`` is what was answered within the deadline, as a share of what 16 clients got just
  before and after.
* vllm: the same prompts, as token ids, to vLLM's server, with the answers' log-probs by id; 16
  clients.

Requests are new ones until all of the test part have been sent, so that no cache knows them. Scores
over HTTP are held against the bare engine's. The last line is for machines.
"""

import argparse
import json
import os
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from _load import Clients, Load, Measured, clients
from _servers import (
    NotStarted,
    Served,
    completion_body,
    completion_logprobs,
    rank_body,
    serve,
    serve_vllm,
)
from _vllm import WON, name_of

from promptrank import build, distill, open_ranker
from promptrank.assets import resolve_model
from promptrank.engine.contract import Failure, Tree
from promptrank.ranking.ranker import Ranker
from promptrank.records import Request
from promptrank.students.latency import times_of, wide_requests
from promptrank.workspace.request_files import given_file
from promptrank.workspace.tasks import open_task

TASK, MODEL = "movies/like", "smollm2-135m-instruct"
CLIENTS = 16
DEADLINE = 10  # times what a lone request takes
LOADS = (0.5, 0.8, 1.2)
CORES = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else [0]


@dataclass(frozen=True, slots=True)
class Lengths:
    """Seconds of each part, and rounds of the one that counts most."""

    student: float
    few: float
    many: float
    open: float
    bare: int  # requests
    rounds: int


FULL = Lengths(student=15, few=15, many=25, open=40, bare=30, rounds=3)
QUICK = Lengths(student=6, few=6, many=12, open=14, bare=14, rounds=1)


def say(text: str) -> None:
    """Print at once."""
    print(text, flush=True)


# ---- a student


def student(project: Path, requests: Path, lengths: Lengths) -> float:
    """Milliseconds of the student's p99 over HTTP, one client, one core."""
    opened = open_task(TASK, project=project)
    labels = {"limit": 300, "labels": 300, "loss": "labels", "teacher": None, "threads": 1}
    distill(opened, name="small", student="gbdt", requests=requests, timed=5, **labels)  # type: ignore[arg-type]
    wide = wide_requests(given_file(opened, requests).read({"test"}))
    bodies = [rank_body(request) for request in wide]
    with open_ranker(opened, engine="student:small", threads=1) as ranker:
        bare = sorted(times_of(ranker.rank, wide, 200))
        words = (TASK, "--project", str(project), "--engine", "student:small", "--threads", "1")
        own, others = CORES[:1], CORES[1:] or CORES
        with serve(project, *words, cores=own) as served, clients(others) as load:

            def closed(number: int) -> Measured:
                return load.send(
                    Load(served.port, "/v1/rank", bodies, lengths.student, number, keep=5)
                )

            load.send(Load(served.port, "/v1/rank", bodies, 1.0, 1))
            alone, four = closed(1), closed(4)
        _same_ranking(alone, wide, ranker)
    p50, p99 = alone.milliseconds(0.5), alone.milliseconds(0.99)
    ranking = 1000 * bare[len(bare) // 2]
    say(
        f"student, {len(wide[0].candidates)} candidates, one core: p50 {p50:.2f} ms, p99 {p99:.2f} "
        f"ms, {alone.rate(5):.0f} requests/s by one client and {four.rate(5):.0f} by four"
    )
    say(
        f"  ranking alone {ranking:.2f} ms, {ranking / p50:.2f} of it; clients take "
        f"{alone.cpu:.3f} of another core"
    )
    return p99


def _same_ranking(measured: Measured, requests: Sequence[Request], ranker: Ranker) -> None:
    """Hold the scores of kept answers against those of the ranker itself."""
    if measured.count(200) < len(measured.status) or not measured.kept:
        raise SystemExit(f"answers that are no 200: {sorted(set(measured.status))}")
    for number, text in measured.kept.items():
        answer = json.loads(text)
        served = {row["candidate_id"]: row["score"] for row in answer["scored"]}
        alone = {row.candidate_id: row.score for row in ranker.rank(requests[int(number)]).scored}
        if served.keys() != alone.keys() or any(abs(served[k] - alone[k]) > 1e-4 for k in alone):
            raise SystemExit(f"request {answer['request_id']}: other scores over HTTP")


# ---- a decoder


class Decoder:
    """The bare engine in this process, a server, and clients; and what they were sent so far."""

    def __init__(
        self, ranker: Ranker, requests: Sequence[Request], served: Served, load: Clients
    ) -> None:
        self.ranker, self.requests, self.served, self.load = ranker, requests, served, load
        assert ranker.encoder is not None
        encoded = ranker.encoder.encode_many(requests)
        self.trees = [each.tree for each in encoded if each.tree is not None]
        self.bodies = [rank_body(request) for request in requests]
        self._sent = self._scored = 0

    def bare(self, count: int) -> float:
        """Requests a second of the bare engine, with a new instruction."""
        engine: Any = self.ranker.opened.engine
        trees = [self.trees[(self._scored + n) % len(self.trees)] for n in range(count)]
        self._scored += count
        engine.forget()
        start = time.perf_counter()
        for score in engine.score(trees):
            assert not isinstance(score, Failure), score
        return count / (time.perf_counter() - start)

    def closed(self, number: int, seconds: float, keep: int = 0) -> Measured:
        """So many clients, each of whom asks again when it is answered."""
        return self._send(seconds, clients=number, keep=keep)

    def open(self, rate: float, seconds: float, deadline: float) -> Measured:
        """Requests by chance; the deadline in seconds."""
        headers = {"X-Deadline-Ms": str(round(1000 * deadline))}
        return self._send(seconds, rate=rate, headers=headers, seed=7)

    def _send(self, seconds: float, **how: Any) -> Measured:
        load = Load(self.served.port, "/v1/rank", self.bodies, seconds, first=self._sent, **how)
        measured = self.load.send(load)
        self._sent += len(measured.status)
        return measured


def decoder(run: Decoder, lengths: Lengths) -> tuple[float, float]:
    """The overhead at 16 clients, and the goodput at 120%."""
    tokens = _tokens(run.trees)
    say(f"decoder: {len(run.requests)} requests of 10 candidates, {tokens:.0f} tokens each")
    run.bare(3)
    warm = run.closed(1, 3.0, keep=3)
    _same_ranking(warm, run.requests, run.ranker)
    lone = 0.0
    for number in (1, 4):
        bare, measured = run.bare(lengths.bare // 2), run.closed(number, lengths.few)
        lone = lone or measured.milliseconds(0.5) / 1000
        _tell(f"{number} clients", measured, bare, number)
    shares, bare = [], run.bare(lengths.bare)
    for _ in range(lengths.rounds):
        measured, before = run.closed(CLIENTS, lengths.many), bare
        bare = run.bare(lengths.bare)
        shares.append(_tell(f"{CLIENTS} clients", measured, (before + bare) / 2, CLIENTS))
    deadline, goodput, capacity = DEADLINE * lone, 0.0, measured.rate(CLIENTS)
    for load in LOADS:
        measured = run.open(load * capacity, lengths.open, deadline)
        before, capacity = capacity, run.closed(CLIENTS, lengths.few).rate(CLIENTS)
        goodput = measured.good(lengths.open / 5, lengths.open, deadline) * 2 / (before + capacity)
        refused, late = measured.count(429), measured.count(504)
        say(
            f"  {load:.0%} of capacity by chance: {len(measured.status)} requests, p99 "
            f"{measured.milliseconds(0.99):.0f} ms of {1000 * deadline:.0f}; {refused} told to "
            f"come again (429), {late} too late (504); goodput {goodput:.3f} of capacity"
        )
    return 1 - statistics.median(shares), goodput


def _tell(what: str, measured: Measured, bare: float, number: int) -> float:
    """Print a round, and return its share of the bare engine."""
    share = measured.rate(number) / bare
    others = len(measured.status) - measured.count(200)
    say(
        f"  {what}: {10 * measured.rate(number):.1f} candidates/s, {share:.3f} of the bare "
        f"engine's {10 * bare:.1f}; p50 {measured.milliseconds(0.5):.0f} ms, p99 "
        f"{measured.milliseconds(0.99):.0f} ms; {others} without an answer; clients take "
        f"{measured.cpu / len(CORES):.4f} of the processor"
    )
    return share


def _tokens(trees: Sequence[Tree]) -> float:
    return statistics.mean(
        len(tree.prefix) + sum(len(b.ids) + len(b.slots[0].ids) for b in tree.branches)
        for tree in trees
    )


# ---- vLLM's server


def against_vllm(
    run: Decoder,
    model: Path,
    folder: Path,
    threads: int,
    way: tuple[int, bool, bool],
    lengths: Lengths,
) -> float:
    """Our candidates a second over those of vLLM's server, 16 clients each, in turns."""
    say(f"vllm: its server with {name_of(*way)}; it takes a minute to start")
    bodies = [completion_body(tree) for tree in run.trees]
    ratios = []
    with serve_vllm(model, folder, way, threads) as rival:

        def ask(number: int, seconds: float, first: int, keep: int = 0) -> Measured:
            load = Load(
                rival.port, "/v1/completions", bodies, seconds, number, first=first, keep=keep
            )
            return run.load.send(load)

        warm = ask(1, 5.0, 0, keep=3)
        _same_logprobs(warm, run)
        sent = len(warm.status)
        for _ in range(min(2, lengths.rounds)):
            with rival.paused():
                ours = run.closed(CLIENTS, lengths.few).rate(CLIENTS)
            measured = ask(CLIENTS, lengths.many, sent)
            sent += len(measured.status)
            theirs = measured.rate(CLIENTS)
            ratios.append(ours / theirs)
            say(
                f"  {CLIENTS} clients: {10 * ours:.1f} candidates/s to vLLM's {10 * theirs:.1f}, "
                f"whose p99 is {measured.milliseconds(0.99):.0f} ms; clients take "
                f"{measured.cpu / len(CORES):.4f} of the processor"
            )
    return statistics.median(ratios)


def _same_logprobs(measured: Measured, run: Decoder) -> None:
    if measured.count(200) < len(measured.status) or not measured.kept:
        raise SystemExit(f"vLLM's server: {sorted(set(measured.status))}")
    engine: Any = run.ranker.opened.engine
    for number, text in measured.kept.items():
        tree = run.trees[int(number)]
        (score,) = engine.score([tree])
        ours = [logprob for branch in score for logprob in branch[0].logprobs]
        theirs = completion_logprobs(text, tree)
        apart = max(abs(a - b) for a, b in zip(ours, theirs, strict=True))
        if apart > 2e-3:
            raise SystemExit(f"vLLM's server: log-probs differ by {apart:.2g}")


# ---- all of it


def main() -> None:
    """Run all parts and print the line that is recorded."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--quick", action="store_true", help="four minutes")
    parser.add_argument("--threads", type=int, default=len(CORES), help="of a decoder")
    parser.add_argument("--model", default=MODEL, help="a name or a folder")
    parser.add_argument("--eager", action="store_true", help="vLLM: not compiled, starts sooner")
    parts = ["student", "decoder", "vllm"]
    parser.add_argument("--only", nargs="+", choices=parts, default=parts)
    given = parser.parse_args()
    lengths = QUICK if given.quick else FULL
    told = dict.fromkeys(("overhead", "student_p99_ms", "goodput120", "vs_vllm"), "none")
    with TemporaryDirectory(prefix="promptrank-") as name:
        folder = Path(name)
        requests = folder / "requests.parquet"
        opened = open_task(TASK, project=folder)
        build(opened, requests)
        if "student" in given.only:
            told["student_p99_ms"] = f"{student(folder, requests, lengths):.2f}"
        if {"decoder", "vllm"} & set(given.only):
            few = [
                r for r in given_file(opened, requests).read({"test"}) if len(r.candidates) == 10
            ]
            words = [TASK, "--project", str(folder), "--threads", str(given.threads)]
            words += ["--model", given.model]
            with (
                open_ranker(opened, model=given.model, threads=given.threads) as ranker,
                serve(folder, *words) as served,
                clients() as load,
            ):
                run = Decoder(ranker, few, served, load)
                if "decoder" in given.only:
                    overhead, goodput = decoder(run, lengths)
                    told |= {"overhead": f"{overhead:.3f}", "goodput120": f"{goodput:.3f}"}
                if "vllm" in given.only and find_spec("vllm") is not None:
                    way = (WON[0], given.eager or WON[1], WON[2])
                    model = resolve_model(given.model)
                    try:
                        ratio = against_vllm(run, model, folder, given.threads, way, lengths)
                        told["vs_vllm"] = f"{ratio:.2f}"
                    except NotStarted as error:
                        say(f"vllm: {error}")
    print(" ".join(f"{name}={value}" for name, value in told.items()))


if __name__ == "__main__":
    main()
