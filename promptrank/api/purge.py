"""``purge``: a person leaves what was written, and every file is looked at afterwards."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from promptrank.basics.addresses import is_object
from promptrank.basics.paths import expanded
from promptrank.basics.seals import read_sealed
from promptrank.caching.score_cache import FILE
from promptrank.errors import DataError
from promptrank.places.object_store import checked
from promptrank.places.open_tables import table_address
from promptrank.project import open_project
from promptrank.purging.proof import Occurrence, files_below, occurrences
from promptrank.purging.purge_caches import cache_file, cache_occurrences, purge_cache
from promptrank.purging.purge_desk import (
    database_of,
    label_files,
    purge_labels,
    purge_workbench,
    workbench_occurrences,
)
from promptrank.purging.purge_published import (
    purge_table,
    table_beyond,
    table_occurrences,
)
from promptrank.purging.purge_runs import purge_run, runs_in
from promptrank.purging.purge_stored import (
    purge_stored,
    stored_beyond,
    stored_occurrences,
    stored_runs_in,
)
from promptrank.purging.purge_tables import (
    identity_of,
    purge_log,
    purge_requests,
    purge_scores,
    requests_in,
)
from promptrank.purging.purged_subject import PurgedSubject
from promptrank.purging.removed import Removed
from promptrank.requests.format import errors_path_of, items_path_of
from promptrank.runs.run_identity import RUN
from promptrank.runs.scored_file import partial_of
from promptrank.runs.several_runs import names_of_runs
from promptrank.runs.working_copies import working_copy
from promptrank.scores.read import config_of
from promptrank.workspace.kept_scores import CACHE, TEACHER

BEYOND = (
    "your own tables, copies and backups: remove the person there first, or the next build has "
    "them again",
    "adapters, students, fusions and baselines that learned from the person: weights cannot be "
    "searched; train them again where that matters",
    "reports, prompts and exports that you wrote elsewhere, and folders that were not named",
)
"""What a purge cannot know."""
STORE = "teacher/ of an earlier version: its entries do not say whose they are; remove the folder"


@dataclass(frozen=True, slots=True)
class Purged:
    """What a purge did, and what it saw afterwards.

    Attributes:
        removed: by place.
        looked: how many files and objects were looked at.
        tables: how many tables of databases were.
        left: places where the person still stands.
        as_items: places where the id stands as an item's, which count as left where nobody has
            said that items are something else.
        beyond: what could not be looked into, in words.
    """

    removed: tuple[Removed, ...]
    looked: int
    tables: int
    left: tuple[Occurrence, ...]
    as_items: tuple[Occurrence, ...]
    beyond: tuple[str, ...]


def purge(
    subject: str,
    *,
    project: str | Path | None = None,
    runs: Sequence[str | Path] = (),
    logs: Sequence[str | Path] = (),
    caches: Sequence[str | Path] = (),
    requests: Sequence[str | Path] = (),
    tables: Sequence[str | Path] = (),
    items: bool | None = None,
    dry: bool = False,
) -> Purged:
    """Remove a person from what promptrank has written, and look for the id afterwards.

    The project's workbench, its labels and its score cache are always among the places. Killed at
    any moment, the same call goes on.

    Args:
        subject: id of the person, as requests have it.
        runs: folders of runs or of many such folders, local or in an object store, and local
            scores files.
        logs: folders of ``serve --log``.
        caches: folders of score caches.
        requests: request files. They go last: runs over them are known by their digest.
        tables: that scores were published to: ``postgresql://user@host/db#schema.table`` or
            ``sqlite:file.db#table``.
        items: whether items of that id are the same person, whom others are shown: then they go
            as candidates too. None: nobody knows, and such places count as left.
        dry: count and look, and write nothing.

    Raises:
        InputError: a place that is being written, or that is none of these.
    """
    whom = PurgedSubject(subject, items)
    root = open_project(project).root
    scored, logged, asked = (_paths(given) for given in (_local(runs), logs, requests))
    published = [table_address(table) for table in dict.fromkeys(tables)]
    for path in (*scored, *logged, *asked):
        if not path.exists():
            raise DataError(f"{path}: there is no such file or folder; look at the path")
    addresses = {checked(each): None for each in runs if is_object(each)}
    stored = list(dict.fromkeys(each for a in addresses for each in stored_runs_in(a)))
    known = {identity_of(path): requests_in(path, whom) for path in asked}
    every = set[str]().union(*known.values())
    removed = [
        purge_run(path, whom, _known(path, known), dry=dry)
        if path.is_dir()
        else purge_scores(path, whom, every, dry=dry)
        for path in dict.fromkeys(each for path in scored for each in runs_in(path))
    ]
    for name in stored:
        removed += purge_stored(name, whom, lambda folder: _known(folder, known), dry=dry)
    removed += [purge_table(name, Path.cwd(), whom, every, dry=dry) for name in published]
    removed += [purge_log(path, whom, dry=dry) for path in logged]
    kept = _caches(caches, root)
    removed += [purge_cache(path, whom, dry=dry) for path in kept]
    database = database_of(root)
    if database.is_file():
        removed.append(purge_workbench(database, whom, dry=dry))
    removed += [purge_labels(path, whom, dry=dry) for path in label_files(root)]
    removed += [purge_requests(path, whom, dry=dry) for path in asked]
    copies = [copy for copy in map(working_copy, stored) if copy.is_dir()]
    files = [*_files([*scored, *copies], logged, asked, root), *kept]
    left = [each for path in files for each in occurrences(path, whom)]
    objects: list[str] = []
    left += [each for name in stored for each in stored_occurrences(name, whom, objects)]
    left += [each for name in published for each in table_occurrences(name, Path.cwd(), whom)]
    left += [each for path in kept for each in cache_occurrences(path, whom)]
    if database.is_file():
        left += workbench_occurrences(database, whom)
    counted = [each for each in left if not each.item or items is not False]
    beyond = [*BEYOND, *([STORE] if (root / TEACHER).is_dir() else []), *stored_beyond(stored)]
    beyond += [words for name in published if (words := table_beyond(name, Path.cwd()))]
    return Purged(
        tuple(removed),
        len(files) + len(objects),
        len(published),
        tuple(counted),
        tuple(each for each in left if each.item),
        tuple(beyond),
    )


def _local(given: Sequence[str | Path]) -> list[str | Path]:
    return [each for each in given if not is_object(each)]


def _paths(given: Sequence[str | Path]) -> list[Path]:
    return list(dict.fromkeys(expanded(path) for path in given))


def _caches(given: Sequence[str | Path], root: Path) -> list[Path]:
    """The files of the caches that were named, and of the project's own where it has one."""
    own = root / CACHE / FILE
    files = [cache_file(path) for path in _paths(given)] + ([own] if own.is_file() else [])
    return list({path.resolve(): path for path in files}.values())


def _known(folder: Path, known: dict[str, set[str]]) -> set[str]:
    """Ids of their requests in the request file that a run is over, where it was named."""
    theirs: set[str] = set()
    for place in [folder, *(folder / name for name in names_of_runs(folder))]:
        if (place / RUN).is_file():
            digest = read_sealed(place / RUN, then="name the folder of a run").get("requests")
            theirs |= known.get(str(digest), set())
    return theirs


def _files(
    runs: Sequence[Path], logs: Sequence[Path], requests: Sequence[Path], root: Path
) -> "dict[Path, None]":
    """Every file that the proof looks at."""
    files: dict[Path, None] = {}
    for path in (*runs, *logs):
        for each in files_below(path) if path.is_dir() else _beside(path):
            files[each] = None
    for path in requests:
        files |= dict.fromkeys(_beside(path))
    database = database_of(root)
    files |= dict.fromkeys([database] if database.is_file() else [])
    return files | dict.fromkeys(label_files(root))


def _beside(path: Path) -> list[Path]:
    """A table and what belongs to it, half-written files and rankings that were stopped too."""
    names = [path, errors_path_of(path), items_path_of(path), config_of(path)]
    names += files_below(partial_of(path)) if partial_of(path).is_dir() else []
    names += sorted(path.parent.glob(f".{path.stem}*.part"))
    return [each for each in names if each.is_file()]
