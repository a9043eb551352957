"""Cells of CSV files that people open in a spreadsheet, and give back.

A text that begins like a formula would be run there (CSV injection), so it gets an apostrophe in
front, as OWASP advises; reading takes it off again. Source:
https://owasp.org/www-community/attacks/CSV_Injection
"""

import csv
import math
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from promptrank.basics.files import beside
from promptrank.errors import DataError

_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20")
_QUOTE = "'"
_DELIMITERS = ",;\t"
_LONGEST = 2**31 - 1  # characters of a cell; Python's own 131,072 is less than some texts have


def guarded(text: str) -> str:
    """A text that no spreadsheet takes for a formula; `unguarded` gives it back."""
    return _QUOTE + text if text.startswith((*_FORMULA, _QUOTE)) else text


def unguarded(cell: str) -> str:
    """The text that `guarded` was given; a cell that it would not have made stays as it is."""
    rest = cell[1:]
    return rest if cell.startswith(_QUOTE) and rest.startswith((*_FORMULA, _QUOTE)) else cell


def read_cells(path: Path, needs: tuple[str, ...]) -> Iterator[tuple[int, dict[str, str]]]:
    """The rows of a CSV file as a spreadsheet saves it, each with the number of its last line.

    Commas, semicolons or tabs divide cells, whichever the first line uses; a byte-order mark may
    stand before it. Cells are without outer blanks, and a row without any is passed over.

    Args:
        needs: columns that must be there.

    Raises:
        DataError: no such file, none in UTF-8, a column is missing or comes twice, or a row has
            more cells than the first line.
    """
    if not path.is_file():
        raise DataError(f"{path}: {'is no plain file' if path.exists() else 'no such file'}")
    # The limit is the whole process's, so that it is raised and never set back.
    csv.field_size_limit(max(csv.field_size_limit(), _LONGEST))
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            first = file.readline()
            file.seek(0)
            delimiter = max(_DELIMITERS, key=first.count)
            reader = csv.reader(file, delimiter=delimiter, strict=True)
            names = [name.strip() for name in next(reader, [])]
            _check_columns(path, names, needs)
            for row in reader:
                cells = [cell.strip(" ") for cell in row]
                if len(cells) > len(names) and any(cells[len(names) :]):
                    raise DataError(
                        f"{path}:{reader.line_num}: {len(cells)} cells under {len(names)} columns; "
                        "put cells that hold a divider in quotes"
                    )
                if any(cells):
                    padded = [*cells, *[""] * (len(names) - len(cells))]
                    yield reader.line_num, dict(zip(names, padded, strict=False))
    except UnicodeDecodeError:
        raise DataError(f"{path}: is not UTF-8; save it as CSV UTF-8") from None
    except csv.Error as error:
        raise DataError(f"{path}: is no CSV file ({error})") from None


def _check_columns(path: Path, names: list[str], needs: tuple[str, ...]) -> None:
    missing = [name for name in needs if name not in names]
    if missing:
        raise DataError(
            f"{path}: no column {', '.join(missing)} in its first line, which has "
            f"{', '.join(filter(None, names)) or 'nothing'}"
        )
    if twice := sorted({name for name in names if name and names.count(name) > 1}):
        raise DataError(f"{path}: column {twice[0]} stands twice; keep one")


def write_cells(path: Path, names: Sequence[str], rows: Iterable[Sequence[str | float]]) -> None:
    """Write a CSV file whose texts no spreadsheet runs; it appears whole or not at all.

    In UTF-8 with a byte-order mark, without which spreadsheets guess. Numbers that are not finite
    become empty cells.
    """
    with beside(path) as part, part.open("w", encoding="utf-8-sig", newline="") as file:
        writer = csv.writer(file)
        writer.writerow([guarded(name) for name in names])
        writer.writerows([_cell(value) for value in row] for row in rows)


def _cell(value: str | float) -> str:
    if isinstance(value, str):
        text = value.encode("utf-8", "backslashreplace").decode()
        return guarded(text)
    return f"{value:.15g}" if math.isfinite(value) else ""
