"""Starting: ``init`` writes a project that works at once, ``task_schema`` helps to edit it."""

import json
import shutil
from pathlib import Path
from typing import Any

from promptrank.basics.files import beside, write_text
from promptrank.basics.owner import owned
from promptrank.basics.paths import expanded
from promptrank.errors import InputError
from promptrank.schema.editor import json_schema

STARTER = Path(__file__).parent / "starter"
SCHEMA = "task.schema.json"


def init(folder: str | Path) -> list[Path]:
    """Write a project with one task, its template and sample data; the files, sorted.

    Raises:
        InputError: the folder holds something already, or cannot be written.
    """
    path = expanded(folder).resolve()
    if path.exists() and (not path.is_dir() or any(path.iterdir())):
        raise InputError(f"{path}: exists and is not empty; name a new folder")
    try:
        with owned(path, "init"), beside(path) as part:
            shutil.copytree(STARTER, part)
            (part / "adapters").mkdir()
            write_text(part / SCHEMA, schema_text())
    except OSError as error:
        raise InputError(f"{path}: cannot be written ({error.strerror or error})") from None
    return sorted(file for file in path.rglob("*") if file.is_file())


def task_schema() -> dict[str, Any]:
    """The JSON Schema of task files, for editors."""
    return json_schema()


def schema_text() -> str:
    """The same as the text of a file."""
    return json.dumps(json_schema(), indent=1, ensure_ascii=False) + "\n"
