"""What a surface is, and the two ways in which an input is damaged."""

import random
from collections.abc import Callable
from pathlib import Path

NASTY = (
    "",
    " ",
    "null",
    "~",
    "yes",
    "NaN",
    "-inf",
    "1e999",
    "-1",
    "0",
    "010",
    "0x10",
    "9" * 400,
    "1" * 5000,
    "2020-02-31",
    "9999-12-31",
    "10000-01-01",
    "infinity",
    "[" * 300,
    "{a: " * 60,
    "!!python/object/apply:os.system ['true']",
    "!!set {a}",
    "&a [*a]",
    "<<: 3",
    "'",
    '"',
    "\\u0000",
    "\x00",
    "\x1b[31m",
    "\ud800",
    "<|im_end|>",
    "é" * 300,
    "../../etc/passwd",
    "~nobody/x",
    "a" * 300,
    "{{ 7 * 7 }}",
    "{% raw %}",
    "; SELECT 1",
    "x); COPY (SELECT 1) TO 'made.csv' --",
    "read_text('/etc/passwd')",
    "class",
    "__class__",
    "min(like)",
    "like > like > like",
    "(" * 300,
    "999999999999999999999999",
    "0.1s",
    "3 fortnights",
)
"""Texts that once broke something, here or elsewhere."""


class Invented(Exception):
    """Something was taken that nobody gave, or came out otherwise than it went in."""


class Surface:
    """One way in. Made once per process, then asked for input after input.

    Attributes:
        folder: its own, for whatever it writes.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)

    def attempt(self, rng: random.Random) -> bool:
        """Make one input, give it to promptrank, and look at what comes out.

        Returns:
            whether it was taken; an `InputError` says that it was refused.

        Raises:
            Invented: it was taken for what it is not.
        """
        raise NotImplementedError


Surfaces = dict[str, Callable[[Path], Surface]]


def damaged_text(text: str, rng: random.Random) -> str:
    """A text with one to three places cut out, doubled, moved or replaced by something nasty."""
    for _ in range(rng.randint(1, 3)):
        start = rng.randrange(len(text) + 1)
        stop = min(len(text), start + rng.choice((0, 1, 1, 2, 5, 20, 80)))
        piece = text[start:stop]
        lines = text.splitlines(keepends=True)
        match rng.randrange(6):
            case 0:
                text = text[:start] + text[stop:]
            case 1:
                text = text[:stop] + piece * rng.randint(1, 4) + text[stop:]
            case 2 | 3:
                text = text[:start] + rng.choice(NASTY) + text[stop:]
            case 4 if lines:
                moved = lines.pop(rng.randrange(len(lines)))
                lines.insert(rng.randrange(len(lines) + 1), moved)
                text = "".join(lines)
            case _ if ":" in text:
                # A value, where YAML and JSON have one.
                colons = [i for i, c in enumerate(text) if c == ":"]
                at = rng.choice(colons) + 1
                end = min((i for i in (text.find(c, at) for c in ",}\n") if i >= 0), default=at)
                text = f"{text[:at]} {rng.choice(NASTY)}{text[end:]}"
    return text


def damaged_bytes(data: bytes, rng: random.Random) -> bytes:
    """Bytes cut short, with some flipped, taken out, doubled, or of another file altogether."""
    if not data:
        return b"\x00"
    start = rng.randrange(len(data))
    stop = min(len(data), start + rng.choice((1, 1, 4, 64, 1000)))
    match rng.randrange(7):
        case 0:
            return data[:start]
        case 1:
            return data[:start] + data[stop:]
        case 2:
            return data[:stop] + data[start:stop] + data[stop:]
        case 3:
            return data[:start] + rng.randbytes(stop - start) + data[stop:]
        case 4:
            return rng.choice((b"", b"\x00", b"{}", b"[]", b"null", b"\xff\xfe", b"[" * 5000))
        case 5:
            return data + rng.randbytes(rng.choice((1, 100)))
        case _:
            bit = 1 << rng.randrange(8)
            return data[:start] + bytes([data[start] ^ bit]) + data[start + 1 :]
