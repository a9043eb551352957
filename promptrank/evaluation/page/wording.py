"""Numbers and texts as a page writes them."""

import json
import re
from typing import Any

from markupsafe import Markup

from promptrank.evaluation.report_numbers import number

MINUS = "\N{MINUS SIGN}"


def signed(value: float) -> str:
    """``+.041``, and ``-.007`` with a real minus sign."""
    text = number(value, "+")
    return "0" if not text.strip("+-.0") else text.replace("-", MINUS)


def minus(text: str) -> str:
    """A sentence whose negative numbers have a real minus sign."""
    return re.sub(r"(?<![\w.-])-(?=\.?\d)", MINUS, text)


def brief(value: float, form: str = ".3g") -> str:
    """A number of any size in a few digits: ``.636``, ``12.4``."""
    text = f"{value:{form}}".replace("-", MINUS)
    return text.replace("0.", ".", 1) if abs(value) < 1 else text


def tick(value: float) -> str:
    """A round number, without the zeros that a value has: ``+.1``."""
    return brief(value, "+.4g") if value else "0"


def size(count: float) -> str:
    """Bytes: ``1.21 MB``."""
    for unit in ("bytes", "kB", "MB"):
        if count < 1000:
            return f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:.3g} GB"


def plain(value: Any) -> Any:
    """Text without control characters, of which HTML knows none; white space stays."""
    if isinstance(value, Markup) or not isinstance(value, str):
        return value
    return "".join("\ufffd" if _controls(letter) else letter for letter in value)


def _controls(letter: str) -> bool:
    return ord(letter) < 160 and not letter.isprintable() and letter not in "\n\t"


def breakable(name: str) -> Markup:
    """A name on its own, whatever direction its letters run in; a line may end after a ``_``."""
    return Markup("<bdi>{}</bdi>").format(Markup("_<wbr>").join(plain(name).split("_")))


def plain_json(value: Any) -> str:
    """Whatever a report holds, as JSON that people read."""
    return json.dumps(value, indent=2, ensure_ascii=False, default=str)
