"""JSON objects of model and adapter folders, read so that every fault is one sentence.

The engine stands by itself, so it has a reader of its own; a test holds it together with
`promptrank.basics.json_files`. Folders come from elsewhere: what their values mean is for those who
use them.
"""

import json
from pathlib import Path
from typing import Any

from promptrank.errors import ModelError

_LARGE = 256 << 20


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object from a file; a byte-order mark is passed over.

    Raises:
        ModelError: not there, too large, not JSON in UTF-8, nested too deep, a key that comes
            twice, or not an object.
    """
    try:
        if (size := path.stat().st_size) > _LARGE:
            raise ModelError(f"{path}: has {size:,} bytes, more than a JSON file may have")
        data = json.loads(path.read_text(encoding="utf-8-sig"), object_pairs_hook=_once)
    except OSError as error:
        raise ModelError(f"{path}: cannot be read as JSON ({error.strerror or error})") from None
    except RecursionError:
        raise ModelError(f"{path}: is nested too deep") from None
    except UnicodeDecodeError as error:
        raise ModelError(f"{path}: is not UTF-8 (at byte {error.start})") from None
    except ValueError as error:
        raise ModelError(f"{path}: cannot be read as JSON ({error})") from None
    if not isinstance(data, dict):
        raise ModelError(f"{path}: expected an object, got {type(data).__name__}")
    return data


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) < len(pairs):
        raise ValueError("a key comes twice in one object")
    return made
