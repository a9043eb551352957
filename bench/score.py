"""Candidates per second of the packed engine beside plain transformers and beside vLLM.

    python bench/score.py [--quick] [--requests N] [--rounds N] [--threads N] [--vllm all|quick|no]

Every rival scores the same requests, ids and answers, in turns; a rate is the median over rounds.
vLLM (where it is installed) runs in a process of its own, opened in the way that is fastest here,
and sleeps while others have their turn. --quick ends in three minutes: fewer requests and rounds,
the plain loop in its faster form only, vLLM opened in the way that won before.
"""

import argparse
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from _movielens import encoder_of, requests_of
from _rivals import plain_left, plain_right, reuse
from _vllm import WON, fastest, name_of, open_rival
from transformers import AutoModelForCausalLM

from promptrank.assets import resolve_dataset, resolve_model
from promptrank.engine import products
from promptrank.engine.contract import Failure, Tree, TreeScore
from promptrank.engine.packed import PackedEngine, open_packed
from promptrank.runtime.kept_ways import processor
from promptrank.runtime.opened import Opened

WARM = 3  # answers before the first that counts
Scores = list[float]
Run = Callable[[Sequence[Tree]], Scores]


@dataclass(frozen=True)
class Shape:
    """Attributes: its requests, and what they cost when every token is computed once."""

    trees: list[Tree]
    tokens: int
    flops: float

    @property
    def candidates(self) -> int:
        """Of all requests."""
        return sum(len(tree.branches) for tree in self.trees)


@torch.inference_mode()
def matmul_peak(seconds: float = 2.0) -> dict[str, float]:
    """The best rate of each way to multiply float32 matrices, in FLOP/s, over a few sizes.

    A trial lasts a tenth of a second, as a forward does: no decoder can sustain what a single
    product of three milliseconds reaches between two disturbances.
    """
    best = dict.fromkeys(products.available(torch.float32), 0.0)
    end = time.perf_counter() + seconds
    sizes = [(1024, 576, 1536), (1024, 1024, 1024), (2048, 2048, 2048), (2048, 576, 576)]
    while time.perf_counter() < end:
        for rows, inner, columns in sizes:
            left, right = torch.randn(rows, inner), torch.randn(columns, inner)
            for way in best:
                product = products.product(way, right)
                done, start = 0, time.perf_counter()
                while (taken := time.perf_counter() - start) < 0.1:
                    product(left, None)
                    done += 1
                best[way] = max(best[way], 2 * rows * inner * columns * done / taken)
    return best


def shape_of(trees: list[Tree], model: Any) -> Shape:
    """Count unique tokens and their FLOPs: a token once for all paths that begin alike.

    FLOPs: 2 x non-embedding parameters a token, and 4 x width x layers for each key it sees.
    """
    config = model.config
    width = config.num_attention_heads * config.head_dim
    weights = sum(
        p.numel() for n, p in model.named_parameters() if "embed" not in n and "lm_head" not in n
    )
    shared = trees[0].shared
    tokens, keys = shared, shared * (shared + 1) // 2
    for tree in trees:
        prefix = len(tree.prefix)
        tokens += prefix - shared
        keys += prefix * (prefix + 1) // 2 - shared * (shared + 1) // 2
        paths = sorted((*branch.ids, *branch.slots[0].ids) for branch in tree.branches)
        for before, path in zip([(), *paths], paths, strict=False):
            pairs = enumerate(zip(before, path, strict=False))
            seen = next((n for n, (a, b) in pairs if a != b), min(len(before), len(path)))
            tokens += len(path) - seen
            keys += (len(path) - seen) * prefix + sum(range(seen + 1, len(path) + 1))
    flops = 2 * weights * tokens + 4 * width * config.num_hidden_layers * keys
    return Shape(trees, tokens, float(flops))


def transformers_run(model: Any, score: Callable[[Any, Tree], torch.Tensor]) -> Run:
    """Log-probs of the answers by one of the plain ways, request after request."""

    def run(trees: Sequence[Tree]) -> Scores:
        found: Scores = []
        for tree in trees:
            answers = [path[0] for path in tree.branches[0].slots[0].paths]
            logits = score(model, tree)
            found += torch.log_softmax(logits, -1)[:, answers].flatten().tolist()
        return found

    return run


def packed_run(engine: PackedEngine, score: Callable[[Sequence[Tree]], Iterator[TreeScore]]) -> Run:
    """Log-probs by the engine; the instruction is computed anew in every run, once.

    Args:
        score: the engine's own, or that of the runtime over it.
    """

    def run(trees: Sequence[Tree]) -> Scores:
        engine.forget()
        scores: Scores = []
        for tree in score(trees):
            assert not isinstance(tree, Failure), tree
            for branch in tree:
                assert not isinstance(branch, Failure), branch
                scores += branch[0].logprobs
        return scores

    return run


def first_answers(folder: Path, data: Path, engine: PackedEngine, count: int) -> list[float]:
    """Seconds from a request of 10 candidates to its scores, one request after another, sorted.

    The model is warm and the request is new: its text is rendered and tokenized within the time.
    """
    encoder, opened = encoder_of(folder), Opened(engine)
    seconds = []
    for number, request in enumerate(requests_of(data, count + WARM, 10)):
        start = time.perf_counter()
        tree = encoder.encode(request).tree
        assert tree is not None
        scores = next(iter(opened.stream([tree])))
        taken = time.perf_counter() - start
        assert not isinstance(scores, Failure), scores
        if number >= WARM:
            seconds.append(taken)
    return sorted(seconds)


def race(rivals: dict[str, Run], shape: Shape, rounds: int) -> tuple[dict[str, float], float]:
    """Median seconds of each rival, who take turns; prints how far apart their scores are.

    Returns:
        The medians, and packed's best round, to be set against the best matrix product.
    """
    times: dict[str, list[float]] = {name: [] for name in rivals}
    scores: dict[str, Scores] = {}
    for run in rivals.values():
        run(shape.trees[:1])
    for _ in range(rounds):
        for name, run in rivals.items():
            start = time.perf_counter()
            scores[name] = run(shape.trees)
            times[name].append(time.perf_counter() - start)
    seconds = {name: statistics.median(taken) for name, taken in times.items()}
    for name, taken in seconds.items():
        apart = max(abs(a - b) for a, b in zip(scores[name], scores["packed"], strict=True))
        print(
            f"  {name:12} {shape.candidates / taken:7.2f} candidates/s"
            f" {shape.tokens / taken:8.0f} unique tokens/s   max |difference| {apart:.1e}"
        )
        if apart > (2e-3 if name == "vllm" else 1e-4):
            raise SystemExit(f"{name}: scores differ from packed by {apart:.2g}")
    return seconds, min(times["packed"])


def main() -> None:
    """Run both shapes and print the line that is recorded."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="smollm2-135m-instruct")
    parser.add_argument("--data", default="ml-100k")
    parser.add_argument("--quick", action="store_true", help="three minutes")
    parser.add_argument("--requests", type=int, help="of 10 candidates; 6, or 3 with --quick")
    parser.add_argument("--rounds", type=int, help="5, or 2 with --quick")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--budget", type=int)
    parser.add_argument("--vllm", choices=["all", "quick", "no"])
    parser.add_argument("--shapes", type=int, nargs="+", choices=[10, 30], default=[10, 30])
    args = parser.parse_args()
    few = args.quick
    asked, rounds = args.requests or (3 if few else 6), args.rounds or (2 if few else 5)
    vllm = args.vllm or ("quick" if few else "all")
    torch.set_num_threads(args.threads)
    folder, data = resolve_model(args.model), resolve_dataset(args.data)
    model: Any = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    budget = {"token_budget": args.budget} if args.budget else {}
    engine = open_packed(folder, name=args.model, **budget)
    peaks = matmul_peak()
    peak = max(peaks.values())
    rates = ", ".join(f"{way} {rate / 1e9:.0f}" for way, rate in peaks.items())
    print(f"{processor()}, {args.threads} threads; products in GFLOP/s: {rates}")
    chosen = ", ".join(f"{'x'.join(map(str, s))} {way}" for s, way in engine.ways.items())
    print(f"layers: {chosen}; notes: {engine.info.notes}")
    ratios: dict[int, float] = {}
    with_ten: dict[str, float] = {}
    share = 0.0
    for candidates, requests in ((10, asked), (30, max(1, asked // 2))):
        if candidates not in args.shapes:
            continue
        encoder = encoder_of(folder)
        encoded = encoder.encode_many(requests_of(data, requests, candidates))
        shape = shape_of([e.tree for e in encoded if e.tree is not None], model)
        each = shape.tokens / len(shape.trees)
        print(f"{requests} requests of {candidates} candidates, {each:.0f} unique tokens each")
        rivals = {
            "plain, right": transformers_run(model, plain_right),
            "packed": packed_run(engine, engine.score),
        }
        if not few:
            own = open_packed(folder, name=args.model, pack_weights=False, **budget)
            rivals |= {
                "plain, left": transformers_run(model, plain_left),
                "reuse": transformers_run(model, reuse),
                "own products": packed_run(own, own.score),
                "runtime": packed_run(engine, Opened(engine).stream),
            }
        with ExitStack() as stack:
            if candidates == 10 and vllm != "no" and find_spec("vllm") is not None:
                way = WON if few else fastest(folder, shape.trees, args.threads, vllm == "quick")
                if way is not None:
                    print(f"  vllm is the one with {name_of(*way)}")
                    rivals["vllm"] = stack.enter_context(open_rival(folder, way, args.threads))
            seconds, best = race(rivals, shape, rounds)
        plain = min(taken for name, taken in seconds.items() if name.startswith("plain"))
        peak = max(peak, *matmul_peak(1.0).values())
        ratios[candidates] = plain / seconds["packed"]
        for name in ("runtime", "own products", "reuse"):
            if name in seconds:
                print(f"  packed/{name} {seconds[name] / seconds['packed']:.2f}")
        print(f"  packed/plain {ratios[candidates]:.2f} (by tokens {token_ratio(shape):.2f})")
        print(f"  packed's best round reaches {shape.flops / best / peak:.3f} of the matmul peak")
        if candidates == 10:
            with_ten, share = seconds, shape.flops / best
    if set(args.shapes) < {10, 30}:
        return
    answers = first_answers(folder, data, engine, 30 if few else 100)
    p50, p99 = (1000 * answers[int(share * (len(answers) - 1))] for share in (0.5, 0.99))
    print(f"one request of 10 candidates, from a warm model: p50 {p50:.0f} ms, p99 {p99:.0f} ms")
    against = f"{with_ten['vllm'] / with_ten['packed']:.2f}" if "vllm" in with_ten else "none"
    print(
        f"packed/plain={ratios[10]:.2f} packed/plain30={ratios[30]:.2f}"
        f" packed/vllm={against} peak_share={share / peak:.3f} first_ms={p50:.0f}"
    )


def token_ratio(shape: Shape) -> float:
    """Tokens of the padded prompts over unique tokens: what packing gains at equal efficiency."""
    padded = sum(
        len(tree.branches)
        * (len(tree.prefix) + max(len(b.ids) + len(b.slots[0].ids) for b in tree.branches))
        for tree in shape.trees
    )
    return padded / shape.tokens


if __name__ == "__main__":
    main()
