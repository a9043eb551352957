"""Versions: every run is kept with its texts, what was ranked, and what came of it."""

import json
import secrets
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from promptrank.basics.digests import json_digest
from promptrank.basics.json_files import checked, json_object
from promptrank.errors import DataError, InputError
from promptrank.evaluation.report import Report
from promptrank.workbench.database import Database
from promptrank.workspace.drafts import TaskTexts

KEPT = 100
"""So many unnamed runs of a task stay; older ones are removed. Named ones stay until deleted."""
LONGEST_NAME, LONGEST_NOTE = 80, 2000  # characters
RUNNING, DONE, STOPPED, FAILED, KEPT_ONLY = "running", "done", "stopped", "failed", "kept"
_THEN = "move the file away to start anew"
_COLUMNS = (
    "run_id, made, task, name, note, state, template_file, "
    "(SELECT text FROM texts WHERE digest = template), "
    "(SELECT text FROM texts WHERE digest = config), "
    "(SELECT text FROM texts WHERE digest = saved_template), "
    "(SELECT text FROM texts WHERE digest = saved_config), "
    "edit_key, saved_key, part, request_ids, facts"
)


@dataclass(frozen=True, slots=True)
class KeptRun:
    """An edit, what it was held against, and the requests that both ranked.

    Attributes:
        made: unix seconds.
        name, note: a person's words; empty for most.
        state: `RUNNING` (also where its server was killed), `DONE`, `STOPPED` by a person,
            `FAILED`, or `KEPT_ONLY`: texts that were kept without ranking anything.
        edit, saved: the texts that were tried, and those of the files when the run began.
        edit_key, saved_key: of `promptrank.workbench.kept_rankings`; empty without rankings.
        part: of the split; None where there is none, or for all.
        request_ids: of the sample, in the order in which they are ranked.
        facts: model, adapter, prompt fingerprints and digests, as plain values.
    """

    task: str
    edit: TaskTexts
    saved: TaskTexts
    run_id: str = field(default_factory=lambda: secrets.token_hex(6))
    made: float = field(default_factory=time.time)
    name: str = ""
    note: str = ""
    state: str = RUNNING
    edit_key: str = ""
    saved_key: str = ""
    part: str | None = None
    request_ids: tuple[str, ...] = ()
    facts: Mapping[str, Any] = field(default_factory=dict)

    @property
    def title(self) -> str:
        """Its name, or for an unnamed one when it was made."""
        what = "Edit" if self.state == KEPT_ONLY else "Run"
        return self.name or f"{what} of {self.when}"

    @property
    def when(self) -> str:
        """The day and second, on the server's clock."""
        return time.strftime("%d %b %Y, %H:%M:%S", time.localtime(self.made))


class Versions:
    """The runs of a database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def keep(self, run: KeptRun) -> int:
        """Keep a run, or what has become of it.

        Returns:
            How many unnamed runs of the task were removed, as there were more than `KEPT`.
        """
        texts = {json_digest(text): text for side in (run.edit, run.saved) for text in _both(side)}
        with self._database.writing() as connection:
            connection.executemany("INSERT OR IGNORE INTO texts VALUES (?, ?)", texts.items())
            connection.execute(
                "INSERT INTO runs (run_id, made, task, name, note, state, template_file, template, "
                "config, saved_template, saved_config, edit_key, saved_key, part, request_ids, "
                "facts) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) "
                # A name may have been given since the run began.
                "ON CONFLICT (run_id) DO UPDATE SET state = excluded.state, facts = excluded.facts",
                (
                    run.run_id,
                    run.made,
                    run.task,
                    run.name,
                    run.note,
                    run.state,
                    run.edit.template_name,
                    *map(json_digest, (*_both(run.edit), *_both(run.saved))),
                    run.edit_key,
                    run.saved_key,
                    run.part,
                    json.dumps(run.request_ids),
                    json.dumps(run.facts),
                ),
            )
        return self._prune(run.task)

    def ended(self, run_id: str, state: str, report: Report | None) -> None:
        """How a run ended, and what was measured."""
        text = report.to_json() if report is not None else None
        with self._database.writing() as connection:
            connection.execute(
                "UPDATE runs SET state = ?, report = ? WHERE run_id = ?", (state, text, run_id)
            )

    def every(self, task: str) -> list[KeptRun]:
        """The runs of a task, the latest first."""
        query = f"SELECT {_COLUMNS} FROM runs WHERE task = ? ORDER BY made DESC, run_id"
        with self._database.reading() as connection:
            return [self._run(row) for row in connection.execute(query, (task,)).fetchall()]

    def run(self, run_id: str) -> KeptRun:
        """One run.

        Raises:
            DataError: there is none; or the file is damaged.
        """
        query = f"SELECT {_COLUMNS} FROM runs WHERE run_id = ?"
        with self._database.reading() as connection:
            row = connection.execute(query, (run_id,)).fetchone()
        if row is None:
            raise DataError(f"no run {run_id[:40]!r} is kept here; it may have been removed")
        return self._run(row)

    def report(self, run_id: str) -> Report | None:
        """What was measured when the run ended, if anything was."""
        with self._database.reading() as connection:
            row = connection.execute(
                "SELECT report FROM runs WHERE run_id = ?", (run_id,)
            ).fetchone()
        if row is None or row[0] is None:
            return None
        where = f"{self._database.path}: report of {run_id}"
        given = json_object(row[0], where, then=_THEN)
        return checked(Report, given, where, what="a report", then=_THEN)

    def rename(self, run_id: str, name: str, note: str) -> None:
        """Give a run a name and a note; one with a name stays.

        Raises:
            InputError: too long.
            DataError: no such run.
        """
        name, note = " ".join(name.split()), note.strip()
        for what, text, most in (("name", name, LONGEST_NAME), ("note", note, LONGEST_NOTE)):
            if len(text) > most:
                raise InputError(f"the {what} has {len(text):,} characters; {most:,} at most")
        with self._database.writing() as connection:
            changed = connection.execute(
                "UPDATE runs SET name = ?, note = ? WHERE run_id = ?", (name, note, run_id)
            ).rowcount
        if not changed:
            raise DataError(f"no run {run_id[:40]!r} is kept here; it may have been removed")

    def delete(self, run_id: str) -> None:
        """Remove a run, with rankings and texts that no other has."""
        with self._database.writing() as connection:
            connection.execute("DELETE FROM runs WHERE run_id = ?", (run_id,))
        self._sweep()

    def _prune(self, task: str) -> int:
        with self._database.writing() as connection:
            removed = connection.execute(
                "DELETE FROM runs WHERE run_id IN (SELECT run_id FROM runs WHERE task = ? "
                "AND name = '' ORDER BY made DESC LIMIT -1 OFFSET ?)",
                (task, KEPT),
            ).rowcount
        if removed:
            self._sweep()
        return removed

    def _sweep(self) -> None:
        """Remove what no run refers to; a run is kept before anything is ranked for it."""
        keys = "SELECT edit_key FROM runs UNION SELECT saved_key FROM runs"
        texts = " UNION ".join(
            f"SELECT {name} FROM runs"
            for name in ("template", "config", "saved_template", "saved_config")
        )
        with self._database.writing() as connection:
            connection.execute(f"DELETE FROM rankings WHERE key NOT IN ({keys})")
            connection.execute(f"DELETE FROM origins WHERE key NOT IN ({keys})")
            connection.execute(f"DELETE FROM texts WHERE digest NOT IN ({texts})")

    def _run(self, row: Sequence[Any]) -> KeptRun:
        (run_id, made, task, name, note, state, file, *texts, edit, saved, part, ids, facts) = row
        where = f"{self._database.path}: run {run_id}"
        told = json_object(f'{{"ids": {ids}, "facts": {facts}}}', where, then=_THEN)
        given = {
            "run_id": run_id,
            "made": made,
            "task": task,
            "name": name,
            "note": note,
            "state": state,
            "edit": {"template_name": file, "template": texts[0], "task": texts[1]},
            "saved": {"template_name": file, "template": texts[2], "task": texts[3]},
            "edit_key": edit,
            "saved_key": saved,
            "part": part,
            "request_ids": told["ids"],
            "facts": told["facts"],
        }
        return checked(KeptRun, given, where, what="a run", then=_THEN)


def _both(texts: TaskTexts) -> Iterator[str]:
    yield texts.template
    yield texts.task
