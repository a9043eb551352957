"""In the place of vLLM's process: answers by sums of ids, and dies as it is told.

PROMPTRANK_STUB in the environment is a folder, in which ``log`` gets a line for its start, each
adapter and each prompt; a file ``slow`` makes each message wait until that is gone; ``broken`` ends
a start; with ``deadly`` any adapter kills it. Any prompt that holds POISON kills it, and so does
loading an adapter in a folder called so; at one that holds HANGS it waits for ever; with a file
``unarmed`` these ids mean nothing. A file ``once`` has it do either at the next prompt, by its text
(``die``, ``hang``), and is gone then.
"""

import json
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

POISON = 66
HANGS = 64  # neither stands in the texts of toys, byte by byte


def logprobs(ids: list[int], wanted: list[int], adapter: int | None) -> list[float]:
    """What it answers: numbers in (-3, 0)."""
    return [-0.1 - (sum(ids) * 7 + token * 3 + (adapter or 0)) % 29 / 10 for token in wanted]


def main() -> None:
    folder = Path(os.environ["PROMPTRANK_STUB"])
    source, out = os.fdopen(int(sys.argv[1])), os.fdopen(int(sys.argv[2]), "w")

    def log(what: Any) -> None:
        with (folder / "log").open("a") as lines:
            lines.write(f"{what}\n")

    def tell(**message: Any) -> None:
        out.write(json.dumps(message) + "\n")
        out.flush()

    def die() -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    for line in source:
        message = json.loads(line)
        while (folder / "slow").exists():
            time.sleep(0.005)
        if "open" in message:
            log("start")
            if (folder / "broken").exists():
                tell(error="RuntimeError: broken")
                return
            tell(up=True, device="cuda")
        elif "adapter" in message:
            number, _, path = message["adapter"]
            log(f"adapter {Path(path).name}")
            if Path(path).name == "poison" or (folder / "deadly").exists():
                die()
            tell(adapter=[number, None])
        elif "score" in message:
            if (folder / "once").exists():
                what = (folder / "once").read_text()
                (folder / "once").unlink()
                die() if what == "die" else time.sleep(600)
            for number, ids, wanted, adapter in message["score"]:
                log(f"prompt {ids[0]}")
                armed = not (folder / "unarmed").exists()
                if POISON in ids and armed:
                    die()
                while HANGS in ids and armed:
                    time.sleep(1)
                done = [number, logprobs(ids, wanted, adapter), wanted[0]]
                tell(done=[done], tokens=[len(ids), 1])


if __name__ == "__main__":
    main()
