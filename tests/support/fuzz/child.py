"""One process that takes the inputs of one surface: ``python -m support.fuzz.child SURFACE ...``.

Says ``begin N`` and ``end N OUTCOME`` on stdout, so that whoever reads along knows which input
killed it or keeps it.
"""

import os
import random
import sys
import traceback
from pathlib import Path

from promptrank.errors import InputError
from support.fuzz.surface import Invented
from support.fuzz.surfaces import SURFACES


def attempt(surface: str, folder: Path, seed: int, numbers: range) -> None:
    """Try inputs by number; an input depends on its surface, seed and number alone."""
    told = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what anything else prints
    made = SURFACES[surface](folder)
    for number in numbers:
        told.write(f"begin {number}\n")
        told.flush()
        try:
            taken = made.attempt(random.Random(f"{surface}/{seed}/{number}"))
            outcome = "taken" if taken else "refused"
        except InputError as error:
            # One sentence, or one for each problem: not a page.
            outcome = "refused" if len(str(error)) < 20_000 else "invented a page of text"
        except Invented as fault:
            outcome = f"invented {fault}"
        except BaseException as error:
            traceback.print_exc()
            outcome = f"traceback {type(error).__name__}: {error}"
        told.write(f"end {number} {' '.join(outcome.split())[:300]}\n")
        told.flush()


if __name__ == "__main__":
    name, place, first, start, stop = sys.argv[1:]
    attempt(name, Path(place), int(first), range(int(start), int(stop)))
