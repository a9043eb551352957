"""Give every surface damaged and odd inputs, and count what should never happen.

    python bench/fuzz.py --inputs 1000              # of each surface
    python bench/fuzz.py --only adapter --seed 3 --start 17 --inputs 1 --show

A surface is a way in: task files, ``--set``, templates, request files, tables, adapters, students,
teacher stores, stopped runs. An input depends on its surface, seed and number alone, so that a
fault is found again by the words it is printed with.
"""

import argparse
import sys
import time
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))

from support.fuzz.surfaces import SURFACES
from support.fuzz.watch import outcomes


def main() -> int:
    """Print a line per surface, every fault, and the sum."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", action="append", choices=list(SURFACES))
    parser.add_argument("--inputs", type=int, default=1000, help="of each surface")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--start", type=int, default=0, help="number of the first input")
    parser.add_argument("--show", action="store_true", help="print every outcome")
    given = parser.parse_args()
    total: Counter[str] = Counter()
    for surface in given.only or SURFACES:
        began, counts = time.monotonic(), Counter[str]()
        for outcome in outcomes(
            surface, given.seed, range(given.start, given.start + given.inputs)
        ):
            counts[outcome.kind] += 1
            if outcome.fault or given.show:
                print(outcome, flush=True)
        took = time.monotonic() - began
        said = ", ".join(f"{count} {kind}" for kind, count in sorted(counts.items()))
        print(f"{surface}: {said} in {took:.0f} s", flush=True)
        total += counts
    faults = {"tracebacks": "traceback", "hangs": "hang", "invented": "invented"}
    said = " ".join(f"{name}={total[kind]}" for name, kind in faults.items())
    print(f"inputs={total.total()} {said}")
    return int(any(total[kind] for kind in faults.values()))


if __name__ == "__main__":
    sys.exit(main())
