"""Fusion files: one fitted fusion each, as JSON."""

import json
from dataclasses import asdict
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from promptrank.basics.files import write_text
from promptrank.errors import ModelError
from promptrank.fusion.layers import FittedFusion


def write_fusion(path: Path, fusion: FittedFusion) -> None:
    """Write a fusion file."""
    write_text(
        path, json.dumps(asdict(fusion), indent=1, ensure_ascii=False, allow_nan=False) + "\n"
    )


def read_fusion(path: Path) -> FittedFusion:
    """Read a fusion file.

    Raises:
        ModelError: it cannot be read; the message lists every problem.
    """
    try:
        return TypeAdapter(FittedFusion).validate_json(path.read_bytes(), strict=True)
    except OSError as error:
        raise ModelError(f"{path}: cannot be read ({error.strerror})") from None
    except ValidationError as error:
        problems = [
            f"{'.'.join(map(str, e['loc'])) or 'the file'}: {e['msg']}"
            for e in error.errors(include_url=False, include_context=False, include_input=False)
        ]
        raise ModelError(
            f"{path}: not a fusion file of this promptrank ({'; '.join(problems)}); "
            "fit it again with `promptrank fuse`"
        ) from None
