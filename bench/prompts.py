"""Requests to token ids on one core: cold, warm, and with a context field that always differs.

    python bench/prompts.py

MovieLens-100K with SmolLM2's tokenizer: 13 events of history and ten candidates a request, about
270 tokens of prefix and 26 a candidate with its question.

* cold: a new encoder, nothing remembered: all blocks rendered, every new text tokenized;
* warm: the same requests again with the same encoder;
* context: a candidate is a frame with a distance around the item's own fragment, and no two
  candidates have the same distance; a new encoder that has seen the items but no frame;
* also, for comparison: the same context without a frame of its own, so that item text is tokenized
  again with each distance; and no memory at all.
"""

import argparse
import gc
import os
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

os.environ["TOKENIZERS_PARALLELISM"] = "false"
os.environ["RAYON_NUM_THREADS"] = "1"

from _movielens import FOLDERS, encoder_of, requests_of

from promptrank.assets import resolve_dataset, resolve_model
from promptrank.prompt import Encoder
from promptrank.records import Request

FRAMED = """\
{% extends "list.j2" %}
{% from "_base.j2" import movie %}
{% block item %}{{ movie(item) }}{% endblock %}
{% block candidate %}
Movie, shown {{ context.km }} km away:
{{ self.item() }}
{% endblock %}
"""
UNFRAMED = """\
{% extends "list.j2" %}
{% from "_base.j2" import movie %}
{% block candidate %}
Movie, shown {{ context.km }} km away: {{ movie(item) }}
{% endblock %}
"""


def rate(encode: Callable[[], None], candidates: int) -> float:
    """Candidates a second of one call, in CPU time of this process."""
    start = time.process_time()
    encode()
    return candidates / (time.process_time() - start)


def main() -> None:
    """Measures and prints; the last line is for machines."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--requests", type=int, default=1000)
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    model = resolve_model("smollm2-135m-instruct")
    requests = requests_of(resolve_dataset("ml-100k"), options.requests)
    # The garbage collector would walk these in the middle of a measurement.
    gc.collect()
    gc.freeze()
    best: dict[str, float] = {}
    shape = ""
    with TemporaryDirectory() as folder:
        for name, text in (("framed.j2", FRAMED), ("unframed.j2", UNFRAMED)):
            (Path(folder) / name).write_text(text, encoding="utf-8")
        for _ in range(options.repeats):
            found, shape = measure(model, requests, [Path(folder), *FOLDERS])
            best = {name: max(value, best.get(name, 0.0)) for name, value in found.items()}
    out(shape)
    for name, value in best.items():
        out(f"{name:<40} {value:>10,.0f} candidates/s")
    out(f"cold={best['cold']:.0f} warm={best['warm']:.0f} context={best['context']:.0f}")


def measure(
    model: Path, requests: list[Request], templates: list[Path]
) -> tuple[dict[str, float], str]:
    """One round of all measurements, and a line on the shape of the prompts."""
    count = sum(len(r.candidates) for r in requests)

    def encoder(template: str, cache_tokens: int = 4_000_000) -> Encoder:
        return encoder_of(model, template, templates, cache_tokens)

    def run(made: Encoder, given: list[Request]) -> Callable[[], None]:
        def encode() -> None:
            for encoded in made.encode_many(given):
                if encoded.tree is None or encoded.errors:
                    raise SystemExit(f"bench: {encoded.errors}")

        return encode

    plain = encoder("list.j2")
    found = {"cold": rate(run(plain, requests), count)}
    found["warm"] = rate(run(plain, requests), count)
    trees = [e.tree for e in plain.encode_many(requests) if e.tree is not None]
    prefix = sum(len(t.prefix) for t in trees) / len(trees)
    own = sum(len(b.ids) + len(b.slots[0].ids) for t in trees for b in t.branches) / count
    shape = (
        f"{len(requests)} requests, {count} candidates; {prefix:.0f} prefix tokens, "
        f"{own:.1f} tokens a candidate with its question"
    )
    half = len(requests) // 2
    context = encoder("framed.j2")
    run(context, requests[:half])()
    found["context"] = rate(
        run(context, requests[half:]), count * (len(requests) - half) // len(requests)
    )
    found["context, all new"] = rate(run(encoder("framed.j2"), requests), count)
    found["context, item text not apart"] = rate(run(encoder("unframed.j2"), requests), count)
    found["no memory at all"] = rate(run(encoder("list.j2", 0), requests), count)
    return found, shape


def out(line: str) -> None:
    """One line on standard output."""
    os.write(1, f"{line}\n".encode())


if __name__ == "__main__":
    main()
