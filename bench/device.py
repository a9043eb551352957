"""Rates of one device: packed, vLLM where it is installed, training, and the share of its peak.

    python bench/device.py --device cuda [--small]

Part of bench/device.sh. All in bfloat16, with the requests of bench/score.py. The peak is the
best rate of a product of matrices in bfloat16 that this script itself reaches; a share is of the
FLOPs that the tokens need once (see bench/score.py), over that peak.
"""

import argparse
import shutil
import statistics
import time
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from _movielens import encoder_of, requests_of
from score import Shape, packed_run, shape_of
from transformers import AutoModelForCausalLM

from promptrank import train
from promptrank.assets import resolve_dataset, resolve_model
from promptrank.engine.contract import Failure, Tree
from promptrank.engine.devices import find_device
from promptrank.engine.packed import open_packed
from promptrank.training.settings import Settings

TASK = "movies/like"
DTYPE = "bfloat16"


def name_of(device: torch.device) -> str:
    """The device as its maker calls it."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else str(device)


def wait(device: torch.device) -> None:
    """Until the device has done what it was told."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


@torch.inference_mode()
def peak(device: torch.device, side: int, seconds: float) -> float:
    """The best rate of a product of square matrices, in FLOP/s."""
    left, right = (torch.randn(side, side, device=device).bfloat16() for _ in "ab")
    best, end = 0.0, time.perf_counter() + seconds
    while time.perf_counter() < end:
        start = time.perf_counter()
        for _ in range(10):
            left @ right
        wait(device)
        best = max(best, 10 * 2 * side**3 / (time.perf_counter() - start))
    return best


def median(run: Any, shape: Shape, rounds: int) -> float:
    """Median seconds of a run, after one that compiles what there is to compile."""
    run(shape.trees)
    taken = []
    for _ in range(rounds):
        start = time.perf_counter()
        run(shape.trees)
        taken.append(time.perf_counter() - start)
    return statistics.median(taken)


def vllm_seconds(folder: Path, shape: Shape, rounds: int) -> float | None:
    """Those of the engine ``vllm``; None where it is not installed or cannot be opened."""
    if find_spec("vllm") is None:
        return None
    from promptrank.engine.vllm_engine.open import open_vllm
    from promptrank.errors import ModelError

    def run(trees: Sequence[Tree]) -> None:
        for score in engine.score(trees):
            assert not isinstance(score, Failure), score

    try:
        engine = open_vllm(folder, dtype=DTYPE, max_tokens=1024, eager=False)
    except ModelError as error:
        print(f"vllm: {error}")
        return None
    try:
        return median(run, shape, rounds)
    finally:
        engine.close()


def training(device: str, steps: int, batch: int) -> float:
    """Examples a second, the first third of the steps (which compile) left out."""
    moments: list[float] = []
    settings = Settings(steps=steps, every=10_000, batch=batch, micro=batch, valid=0, limit=2000)
    with TemporaryDirectory(prefix="promptrank-") as folder:
        project = Path(folder)
        for name in ("tasks", "templates"):
            shutil.copytree(Path(__file__).parent.parent / name, project / name)
        made = train(
            [TASK],
            "device",
            project=project,
            training=settings,
            device=device,
            say=print,
            progress=lambda done, total: moments.append(time.perf_counter()),
        )
    timed = made.steps - made.steps // 3
    return timed * batch / (moments[-1] - moments[-1 - timed])


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--small", action="store_true", help="to try the script itself")
    args = parser.parse_args()
    device, small = find_device(args.device), args.small
    folder, data = resolve_model("smollm2-135m-instruct"), resolve_dataset("ml-100k")
    best = peak(device, 512 if small else 8192, 1.0 if small else 5.0)
    print(f"{name_of(device)}, torch {torch.__version__}: products {best / 1e12:.2f} TFLOP/s")
    counted: Any = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    rates: dict[str, float] = {}
    for candidates, requests in ((10, 2),) if small else ((10, 64), (30, 32)):
        encoded = encoder_of(folder).encode_many(requests_of(data, requests, candidates))
        shape = shape_of([e.tree for e in encoded if e.tree is not None], counted)
        rounds = 1 if small else 5
        for tokens in (1152,) if small else (1152, 8192, 32_768):
            engine = open_packed(folder, device=str(device), dtype=DTYPE, token_budget=tokens)
            seconds = median(packed_run(engine, engine.score), shape, rounds)
            rate, share = shape.candidates / seconds, shape.flops / seconds / best
            print(
                f"packed, {candidates} candidates, {tokens:,} tokens a forward: {rate:.1f} "
                f"candidates/s, {shape.tokens / seconds:.0f} unique tokens/s, "
                f"{share:.3f} of the peak; notes: {engine.info.notes}",
                flush=True,
            )
            rates["packed"] = max(rates.get("packed", 0.0), rate)
            rates["share"] = max(rates.get("share", 0.0), share)
            engine.close()
        if candidates == 10 and not small:
            taken = vllm_seconds(folder, shape, rounds)
            if taken is not None:
                rates["vllm"] = shape.candidates / taken
                print(f"vllm, 10 candidates: {rates['vllm']:.1f} candidates/s", flush=True)
            rates["packed10"] = rates["packed"]
    trained = training(str(device), 2 if small else 30, 1 if small else 16)
    against = f"{rates['packed10'] / rates['vllm']:.2f}" if "vllm" in rates else "none"
    print(
        f"packed={rates['packed']:.1f} packed/vllm={against} train={trained:.3g} examples/s "
        f"peak_share={rates['share']:.3f}"
    )


if __name__ == "__main__":
    main()
