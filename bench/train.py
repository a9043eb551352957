"""Training: turns, packed candidates, and one padded prompt per label, in one run.

    python bench/train.py [--labels N] [--step N] [--held N] [--threads N]

The three loops see the same labels in the same order, as many to an optimizer step, with the same
model, LoRA, learning rate and weight of the prompt's own tokens. The usual way shows each label
the ten turns before its request and pads a batch to its longest prompt. Every loop runs in a
process of its own, for its peak memory; held-out loss is measured between steps, and not timed.
A ratio is of the seconds until the plain loop's final held-out loss is reached and kept.
"""

import argparse
import json
import random
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from transformers import AutoModelForCausalLM

from promptrank.api.build import build
from promptrank.assets import resolve_model
from promptrank.records import Request
from promptrank.training import adapter_model as lora
from promptrank.training import objective
from promptrank.training.answer_losses import answers_loss
from promptrank.training.collate import Collator
from promptrank.training.examples import Example, examples
from promptrank.training.label_shares import Share
from promptrank.training.settings import Settings
from promptrank.workspace.encoders import open_encoder
from promptrank.workspace.request_files import given_file
from promptrank.workspace.tasks import open_task

TASK = "movies/like"
LOOPS = ("plain", "packed", "turns")
SETTINGS = Settings(lr=1e-4)
PLAIN_BATCH = 8  # prompts in a forward of the usual way

Step = Callable[[int], None]


@dataclass(frozen=True)
class Data:
    """Per optimizer step its examples, in both shapes, and what to hold out.

    Attributes:
        turns, packed: the same labels: a request with its history's ten, or as two requests.
    """

    turns: list[list[Example]]
    packed: list[list[Example]]
    held: list[Example]


def data_of(file: Path, folder: Path, labels: int, step: int, held: int) -> Data:
    """Pairs of requests in a row: the candidates of the first are the turns of the second."""
    task = open_task(TASK)
    encoder = open_encoder(task, folder, 8192)
    pairs: list[tuple[Request, Request]] = []
    last: dict[str, Request] = {}
    for request in given_file(task, file).read({"train"}):
        before = last.get(request.subject.subject_id)
        full = len(request.history) == len(request.candidates) == 10
        if before is not None and full and len(before.history) == len(before.candidates) == 10:
            shown = {e.item.item_id for e in request.history}
            if shown == {c.item.item_id for c in before.candidates}:
                pairs.append((before, request))
                last.pop(request.subject.subject_id)
                continue
        last[request.subject.subject_id] = request
    random.Random(0).shuffle(pairs)
    each = max(1, step // 20)
    pairs = pairs[: labels // 20 // each * each]
    valid = list(given_file(task, file).read({"valid"}))
    random.Random(0).shuffle(valid)
    everything = Share(0)

    def made(requests: Sequence[Request], turns: bool) -> list[Example]:
        shares = {r.request_id: everything for r in requests}
        return list(examples(task.task, encoder, requests, shares, turns=turns))

    steps = [pairs[n : n + each] for n in range(0, len(pairs), each)]
    return Data(
        [made([later for _, later in some], True) for some in steps],
        [made([request for pair in some for request in pair], False) for some in steps],
        made(valid[:held], False),
    )


def held_loss(model: Any, held: Sequence[Example]) -> float:
    """Mean -log P of the held-out labels."""
    base = model.get_base_model()
    base.eval()
    total, count = 0.0, 0.0
    for one in held:
        batch = Collator().batch([one])
        with torch.inference_mode():
            summed = answers_loss(
                objective.answer_logprobs(base, batch), batch.shares, batch.weights
            )
        total, count = total + float(summed.total), count + float(summed.count)
    base.train()
    return total / count


def our_step(model: Any, steps: Sequence[Sequence[Example]], optimizer: Any) -> Step:
    """One step over laid-out examples, one forward for each two."""
    collator, base, share = Collator(), model.get_base_model(), SETTINGS.prompt_weight

    def run(number: int) -> None:
        mine = steps[number % len(steps)]
        batches = [collator.batch(mine[n : n + 2]) for n in range(0, len(mine), 2)]
        sums = torch.stack([objective.counts_of(b).as_tensor() for b in batches]).sum(0)
        counts = objective.LossCounts(*sums.tolist())
        for batch in batches:
            with objective.prompt_loss(base, batch, counts, wanted=True) as prompts:
                logprobs = objective.answer_logprobs(model, batch)
            answers = objective.answers_total(logprobs, batch, SETTINGS.losses, counts)
            torch.autograd.backward((1 - share) * answers + share * prompts[0])
        optimizer.step()
        optimizer.zero_grad()

    return run


@dataclass(frozen=True)
class Prompt:
    """One label the usual way: its whole prompt, the right answer's wordings."""

    ids: list[int]
    answers: list[int]


def prompts_of(example: Example) -> Iterator[Prompt]:
    """Every candidate as a prompt of its own."""
    for branch, (target,) in example.branches:
        assert target is not None
        slot = branch.slots[0]
        chosen = target.paths[target.shares.index(1.0)]
        answers = [slot.paths[place][0] for place in chosen]
        yield Prompt([*example.prefix, *branch.ids, *slot.ids], answers)


def plain_step(model: Any, steps: Sequence[Sequence[Example]], optimizer: Any) -> Step:
    """One step over padded prompts: all logits, a mask, one loss over answers and prompt."""
    share = SETTINGS.prompt_weight

    def run(number: int) -> None:
        prompts = [p for example in steps[number % len(steps)] for p in prompts_of(example)]
        random.Random(number).shuffle(prompts)
        tokens = sum(len(p.ids) - 1 for p in prompts)
        for start in range(0, len(prompts), PLAIN_BATCH):
            some = prompts[start : start + PLAIN_BATCH]
            width = max(len(p.ids) for p in some)
            ids = torch.tensor([p.ids + [0] * (width - len(p.ids)) for p in some])
            mask = torch.tensor([[1] * len(p.ids) + [0] * (width - len(p.ids)) for p in some])
            logits = model(input_ids=ids, attention_mask=mask, use_cache=False).logits
            wanted = torch.where(mask[:, 1:] > 0, ids[:, 1:], -100)
            prompt = torch.nn.functional.cross_entropy(
                logits[:, :-1].flatten(0, 1), wanted.flatten(), reduction="sum"
            )
            answers = logits.new_zeros(())
            for row, one in enumerate(some):
                said = torch.log_softmax(logits[row, len(one.ids) - 1], -1)
                answers = answers - torch.logsumexp(said[one.answers], -1)
            total = (1 - share) * answers / len(prompts) + share * prompt / tokens
            torch.autograd.backward(total)
        optimizer.step()
        optimizer.zero_grad()

    return run


def loop(name: str, file: Path, args: argparse.Namespace) -> dict[str, Any]:
    """One loop in this process: seconds, labels and held-out loss after each step, peak memory."""
    torch.set_num_threads(args.threads)
    folder = resolve_model(args.model)
    data = data_of(file, folder, args.labels, args.step, args.held)
    steps = data.turns if name == "turns" else data.packed
    if name == "plain":
        base: Any = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
        base.requires_grad_(False)
    else:
        base = lora.base_model(folder, args.model)
    model = lora.with_adapter(base, args.model, SETTINGS, None)
    weights = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(weights, lr=SETTINGS.lr, weight_decay=0.0)
    step = (plain_step if name == "plain" else our_step)(model, steps, optimizer)
    judge = held_prompts if name == "plain" else held_loss
    losses, seconds, spent = [judge(model, data.held)], [0.0], 0.0
    most = len(steps) if name == "plain" else 2 * len(steps)
    for number in range(most):
        start = time.perf_counter()
        step(number)
        spent += time.perf_counter() - start
        seconds.append(spent)
        last = number == most - 1
        losses.append(judge(model, data.held) if last or name != "plain" else float("nan"))
        if number >= len(steps) - 1 and args.target is not None and losses[-1] <= args.target:
            break
    done = sum(e.labels for n in range(len(seconds) - 1) for e in steps[n % len(steps)])
    tokens = sum(e.tokens for n in range(len(seconds) - 1) for e in steps[n % len(steps)])
    if name == "plain":
        tokens = sum(len(p.ids) for some in steps for e in some for p in prompts_of(e))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    return {
        "losses": losses,
        "seconds": seconds,
        "labels": done,
        "tokens": tokens / done,
        "peak": peak,
    }


def held_prompts(model: Any, held: Sequence[Example]) -> float:
    """The same loss by plain prompts, one at a time."""
    model.eval()
    found = []
    with torch.inference_mode():
        for one in held:
            for prompt in prompts_of(one):
                ids = torch.tensor([prompt.ids])
                logits = model(input_ids=ids, use_cache=False, logits_to_keep=1).logits[0, -1]
                said = torch.log_softmax(logits, -1)
                found.append(-float(torch.logsumexp(said[prompt.answers], -1)))
    model.train()
    return sum(found) / len(found)


def until(found: dict[str, Any], target: float) -> float | None:
    """Seconds of training until the loss stays at the target or below; None if it does not.

    Between steps by a straight line. Not the first time it is there: in the first steps the loss of
    so few held-out labels goes up and down.
    """
    losses, seconds = found["losses"], found["seconds"]
    above = max(place for place, loss in enumerate(losses) if loss > target)
    if above == len(losses) - 1:
        return None
    part = (losses[above] - target) / (losses[above] - losses[above + 1])
    return float(seconds[above] + part * (seconds[above + 1] - seconds[above]))


def main() -> None:
    """Run the loops one after the other and print the line that is recorded."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="smollm2-135m-instruct")
    parser.add_argument("--labels", type=int, default=240)
    parser.add_argument("--step", type=int, default=20, help="labels in an optimizer step")
    parser.add_argument("--held", type=int, default=8, help="held-out requests of ten")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--loop", choices=LOOPS, help=argparse.SUPPRESS)
    parser.add_argument("--requests", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--target", type=float, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.loop:
        print(json.dumps(loop(args.loop, args.requests, args)))
        return
    with TemporaryDirectory() as folder:
        file = Path(folder) / "requests.parquet"
        build(open_task(TASK), file, splits={"train", "valid"})
        results: dict[str, dict[str, Any]] = {}
        for name in LOOPS:
            words = [sys.executable, __file__, *sys.argv[1:], "--loop", name]
            words += ["--requests", str(file)]
            if "plain" in results:
                words += ["--target", repr(results["plain"]["losses"][-1])]
            run = subprocess.run(words, check=True, stdout=subprocess.PIPE, encoding="utf-8")
            results[name] = json.loads(run.stdout.splitlines()[-1])
            one = results[name]
            print(
                f"  {name:7} {one['labels'] / one['seconds'][-1]:7.2f} labels/s"
                f" {one['tokens']:6.1f} tokens a label  peak {one['peak']:.2f} GiB"
                f"  held-out loss {one['losses'][0]:.4f} -> {one['losses'][-1]:.4f}"
                f" in {one['seconds'][-1]:.1f} s",
                flush=True,
            )
    plain = results["plain"]
    target, whole = plain["losses"][-1], plain["seconds"][-1]
    ratios = {}
    for name in ("turns", "packed"):
        taken = until(results[name], target)
        if taken is None:
            taken = results[name]["seconds"][-1]
            print(f"  {name} has not reached {target:.4f}; its whole time counts")
        ratios[name] = whole / taken
    print(f"turns/plain={ratios['turns']:.2f} packed/plain={ratios['packed']:.2f}")


if __name__ == "__main__":
    main()
