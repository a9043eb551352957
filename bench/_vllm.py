"""vLLM as a rival, at its best: its own offline loop over the same ids, in a process of its own.

Run as a script this is that process. It reads lines of JSON: first how to open vLLM, then lists of
prompts; it answers each with the answers' log-probs.
"""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import product
from pathlib import Path
from typing import Any

from promptrank.engine.contract import Tree
from promptrank.engine.vllm_engine.launch import Launch, environment

Run = Callable[[Sequence[Tree]], list[float]]
BLOCKS = (16, 32, 128)
WON = (32, False, True)
"""Block size, eager, worker process: the fastest way on every machine that was tried."""


class Refused(Exception):
    """vLLM cannot be opened like this."""


def name_of(block: int, eager: bool, workers: bool) -> str:
    """How one way to open vLLM is printed."""
    return f"blocks of {block}, {'eager' if eager else 'compiled'}, " + (
        "worker process" if workers else "in process"
    )


def ways(quick: bool) -> list[tuple[int, bool, bool]]:
    """Block size, eager, worker process: all combinations, or the one that won before."""
    if quick:
        return [WON]
    return list(product(BLOCKS, (True, False), (False, True)))


@contextmanager
def open_rival(model: Path, way: tuple[int, bool, bool], threads: int) -> Iterator[Run]:
    """A run of vLLM, opened in one way; the prefix cache is empty at the start of each run.

    Raises:
        Refused: it cannot be opened in that way.
    """
    block, eager, workers = way
    settings = Launch(str(model), "float32", 1024, threads, eager=eager, workers=workers)
    process = subprocess.Popen(
        [sys.executable, __file__],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=environment(settings),
        encoding="utf-8",
        start_new_session=True,
    )
    assert process.stdin is not None and process.stdout is not None
    source, sink = process.stdout, process.stdin

    def ask(message: Any) -> Any:
        sink.write(json.dumps(message) + "\n")
        sink.flush()
        answer = json.loads(source.readline() or '{"error": "the process has ended"}')
        if isinstance(answer, dict):
            raise Refused(answer["error"])
        return answer

    def run(trees: Sequence[Tree]) -> list[float]:
        prompts = [
            [[*t.prefix, *b.ids, *b.slots[0].ids], [path[0] for path in b.slots[0].paths]]
            for t in trees
            for b in t.branches
        ]
        os.killpg(process.pid, signal.SIGCONT)
        found: list[float] = ask(prompts)
        os.killpg(process.pid, signal.SIGSTOP)  # an idle one polls, and the others' turns come
        return found

    try:
        ask({"model": str(model), "block_size": block, "enforce_eager": eager})
        yield run
    finally:
        os.killpg(process.pid, signal.SIGCONT)
        sink.close()
        process.wait()


def fastest(
    model: Path, trees: Sequence[Tree], threads: int, quick: bool
) -> tuple[int, bool, bool] | None:
    """Try every way on the same requests, print each, and return the best; None without vLLM."""
    best: tuple[float, tuple[int, bool, bool]] | None = None
    candidates = sum(len(tree.branches) for tree in trees)
    refused: set[int] = set()
    for way in ways(quick):
        if way[0] in refused:
            continue
        try:
            with open_rival(model, way, threads) as run:
                run(trees)  # warm: compiled, and memory touched
                taken = []
                for _ in range(3):
                    start = time.perf_counter()
                    run(trees)
                    taken.append(time.perf_counter() - start)
        except Refused as error:
            refused.add(way[0])
            print(f"  vllm, blocks of {way[0]}: cannot be opened ({error})", flush=True)
            continue
        print(f"  vllm, {name_of(*way)}: {candidates / min(taken):.2f} candidates/s", flush=True)
        if best is None or min(taken) < best[0]:
            best = min(taken), way
    return best[1] if best else None


def _serve() -> None:
    """The process: vLLM's own offline loop."""
    out = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what vLLM prints is no answer

    def tell(answer: Any) -> None:
        out.write(json.dumps(answer) + "\n")
        out.flush()

    options = json.loads(sys.stdin.readline())
    from vllm import LLM, SamplingParams

    # Whatever vLLM says of these options is to be printed by the benchmark.
    try:
        llm = LLM(
            **options,
            dtype="float32",
            max_model_len=1024,
            enable_prefix_caching=True,
            kv_cache_memory_bytes=2 << 30,
            skip_tokenizer_init=True,
            hf_overrides={"head_dtype": "float32"},
            seed=0,
        )
    except Exception as error:
        lines = str(error).splitlines()
        tell({"error": f"{type(error).__name__}: {lines[0] if lines else ''}"[:200]})
        raise
    tell([])
    for line in sys.stdin:
        llm.reset_prefix_cache()
        prompts = json.loads(line)
        params = {
            tuple(wanted): SamplingParams(
                max_tokens=1, temperature=0.0, logprob_token_ids=wanted, detokenize=False
            )
            for _, wanted in prompts
        }
        outputs = llm.generate(
            [{"prompt_token_ids": ids} for ids, _ in prompts],
            [params[tuple(wanted)] for _, wanted in prompts],
            use_tqdm=False,
        )
        tell(
            [
                output.outputs[0].logprobs[0][token].logprob
                for output, (_, wanted) in zip(outputs, prompts, strict=True)
                for token in wanted
            ]
        )


if __name__ == "__main__":
    _serve()
