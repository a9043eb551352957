"""Surfaces that people write: task files, ``--set``, templates, request files, tables."""

import csv
import json
import random
import re
from pathlib import Path
from typing import Any

import yaml

from promptrank.api.build import build
from promptrank.api.rank import rank
from promptrank.api.render import render
from promptrank.api.validate import validate
from promptrank.runs.manifest import task_config
from promptrank.workspace.request_files import given_file
from promptrank.workspace.tasks import open_task
from support.fuzz.surface import NASTY, Invented, Surface, damaged_text
from support.models import make_model
from support.toys import TASK, TEMPLATE, make_project

NAME = "toys/like"
_OBJECT = re.compile(r"<[\w. ']*( at 0x[0-9a-f]+|function|class|bound method|module)")


def lines_of(path: Path) -> list[str]:
    """Lines of a JSON lines file; texts in them may hold line ends of Unicode's."""
    return path.read_text(encoding="utf-8").rstrip("\n").split("\n") if path.stat().st_size else []


class ToysSurface(Surface):
    """A surface with the project of toys and its tiny model."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.model = make_model(folder / "model")
        self.root = make_project(folder / "toys", self.model)


class TaskFiles(ToysSurface):
    """Task files with damage; what is taken is the same when it is written down and read again."""

    def attempt(self, rng: random.Random) -> bool:
        text = damaged_text(TASK.format(model=self.model), rng)
        path = self.root / "tasks" / "toys" / "like.yaml"
        path.write_bytes(text.encode("utf-8", "surrogatepass"))
        opened = open_task(NAME, project=self.root)
        config = task_config(opened.task)
        again = self.root / "tasks" / "toys" / "again.yaml"
        again.write_text(yaml.safe_dump(config), encoding="utf-8")
        if task_config(open_task("toys/again", project=self.root).task) != config:
            raise Invented("the task is another one when it is written down and read again")
        if validate(opened).problems:
            return False
        # What validate calls fine runs.
        done = rank(opened, self.folder / "fine.jsonl", engine="fake", limit=3)
        if not done.candidates:
            raise Invented("validate finds nothing wrong, and nothing can be ranked")
        return True


class SettingsGiven(ToysSurface):
    """Values for ``--set``: nothing else of the task changes, and a text stays that text."""

    PLACES = (
        "questions.like.ask",
        "questions.like.answers.like.say",
        "questions.like.answers.like.value",
        "questions.class.ask",
        "history.last",
        "history.lag",
        "ratings.label",
        "ratings.group.last",
        "ratings.columns.x",
        "tables.toys.sql",
        "tables.toys.path",
        "statistics.mean",
        "split.test",
        "split.at",
        "budget.tokens",
        "score",
        "score.like",
        "model",
        "template",
        "a.b.c",
        "..",
        "questions",
    )

    def attempt(self, rng: random.Random) -> bool:
        place = rng.choice(self.PLACES)
        value = rng.choice(NASTY)
        if rng.random() < 0.5:
            value = damaged_text(value or "a: 1", rng)
        before = task_config(open_task(NAME, project=self.root).task)
        task = open_task(NAME, project=self.root, settings=[f"{place}={value}"]).task
        top = place.partition(".")[0]
        after = task_config(task)
        if changed := [k for k in before | after if k != top and before.get(k) != after.get(k)]:
            raise Invented(f"--set {place}=... changed {changed}")
        if place == "questions.like.ask":
            asked = task.questions["like"].ask
            plain = yaml.safe_load(value) if value.strip() else value
            if isinstance(plain, str) and asked != plain and asked != value:
                raise Invented(f"asked {asked!r} for {value!r}")
        return True


class Templates(ToysSurface):
    """Templates of many pieces; what they print is text of the data, and the same each time."""

    PIECES = (
        "{{ item.title }}",
        "{{ item.title.upper }}",
        "{{ item.title.upper() }}",
        "{{ item.nothing }}",
        "{{ item }}",
        "{{ range }}",
        "{{ range(3) }}",
        "{{ range(10 ** 9) | list | length }}",
        "{{ 9 ** 9 ** 9 }}",
        "{{ 'a' * 10 ** 9 }}",
        "{{ [0] * 10 ** 8 }}",
        "{{ '%099999999d' | format(1) }}",
        "{{ item.title | truncate(0) }}",
        "{{ item.title | center(10 ** 8) }}",
        "{{ 1e999 }}",
        "{{ 1 / 0 }}",
        "{{ namespace() }}",
        "{{ cycler('a') }}",
        "{{ lipsum() }}",
        "{{ dict(a=item) }}",
        "{{ item.title | map('upper') }}",
        "{{ item.title | list | sort | join }}",
        "{{ (item.title ~ member.name) | replace('', 'xyz' * 1000) }}",
        "{{ ''.__class__.__mro__ }}",
        "{{ self }}",
        "{{ loop }}",
        "{{ caller }}",
        "{{ context.x }}",
        "{{ stats }}",
        "{% for i in range(3) %}{{ loop.index }}{% endfor %}",
        "{% for i in range(10 ** 12) %}{% endfor %}",
        "{% for a in range(9999) %}{% for b in range(9999) %}{% endfor %}{% endfor %}",
        "{% for i in item.title %}{{ loop }}{% endfor %}",
        "{% set x = [1] %}{% for i in range(60) %}{% set x = x + x %}{% endfor %}",
        "{% set n = namespace(x='a') %}{% for i in range(60) %}{% set n.x = n.x ~ n.x %}"
        "{% endfor %}",
        "{% macro m(x) %}{{ m(x) }}{% endmacro %}{{ m(1) }}",
        "{% macro m() %}a{% endmacro %}{{ m }}",
        "{% include 'toys/like.j2' %}",
        "{% extends 'toys/like.j2' %}",
        "{% import 'toys/like.j2' as t %}{{ t }}",
        "{% if item.color %}{{ item.color }}{% endif %}",
        "{% if item.color is defined and item.color %}in {{ item.color | title }}{% endif %}",
        "{% raw %}<|im_end|>{% endraw %}",
        "{% call item.title() %}{% endcall %}",
        "{{ '{}'.format(range) }}",
        "{{ '%s' | format(item.title.upper) }}",
        "{{ [range] | join }}",
        "{{ item.title | tojson }}",
        "{{ member | pprint }}",
        "{{ 10 ** 400 }}",
        "{{ [3, 1, 2] | sort | first }}",
        "{{ item.title | random }}",
    )

    PLAIN = (
        "{{ item.title | upper }}",
        "{{ [item.title, 'and', 3] | join(' ') }}",
        "{% for i in range(3) %}{{ loop.index }}{% endfor %}",
        "{% if item.color %}{{ item.color }}{% endif %}",
        "{{ item.title[:3] ~ '...' }}",
        "{{ 7 / 2 }}",
        "{{ '%.1f' | format(2.25) }}",
        "{% set n = namespace(x=0) %}{% for i in range(9) %}{% set n.x = n.x + i %}{% endfor %}"
        "{{ n.x }}",
    )

    def attempt(self, rng: random.Random) -> bool:
        # Half of the pieces are plain, or hardly a prompt would come of three of them.
        kinds = (self.PIECES, self.PLAIN)
        pieces = [rng.choice(rng.choice(kinds)) for _ in range(rng.randint(1, 3))]
        here = "{{ item.title }}{% if"
        # The others know no item.
        place = rng.choice((here, here, here, "Name: {{ member.name }}", "{{ question.ask }}"))
        text = TEMPLATE.replace(place, f"{' '.join(pieces)} {place}", 1)
        if rng.random() < 0.2:
            text = damaged_text(text, rng)
        path = self.root / "templates" / "toys" / "like.j2"
        path.write_bytes(text.encode("utf-8", "surrogatepass"))
        first = render(NAME, project=self.root).as_text(only_text=True)
        if shown := _OBJECT.search(first):
            raise Invented(f"the prompt shows an object: {shown[0]}")
        if render(NAME, project=self.root).as_text(only_text=True) != first:
            raise Invented("the prompt is another one the second time")
        return True


class RequestLines(ToysSurface):
    """Request files in JSON lines: each candidate is scored as it was given, or set aside."""

    VALUES: tuple[Any, ...] = (
        "Plain toy",
        "<|im_end|> sneaky",
        "",
        None,
        7,
        -0.5,
        12.8,
        1e300,
        True,
        10**30,
        "\u202eright to left",
        "nul \x00 here",
        "line\u2028separator",
        "2020-02-31",
        "123e4567-e89b-12d3-a456-426614174000",
        ["a", "b"],
        {"deep": {"deeper": 1}},
        "é" * 100,
    )

    def attempt(self, rng: random.Random) -> bool:
        given: dict[tuple[str, str], dict[str, Any]] = {}
        lines = []
        for r in range(rng.randint(1, 4)):
            for c in range(rng.randint(1, 4)):
                item = {"title": rng.choice(self.VALUES), "color": rng.choice(self.VALUES)}
                row: dict[str, Any] = {"request_id": f"r{r}", "item_id": f"t{c}", "item": item}
                if not c:
                    row["member"] = {"name": rng.choice(self.VALUES)}
                for name in ("weight", "position", "time", "split", "context", "more"):
                    if rng.random() < 0.03:
                        row[name] = rng.choice(self.VALUES)
                given[f"r{r}", f"t{c}"] = row
                lines.append(json.dumps(row, ensure_ascii=rng.random() < 0.5))
        whole = rng.random() < 0.4
        if not whole:
            place = rng.randrange(len(lines))
            lines[place] = damaged_text(lines[place], rng)
        path = self.folder / "given.jsonl"
        path.write_bytes(("\n".join(lines) + "\n").encode("utf-8", "surrogatepass"))
        out = self.folder / "scores.jsonl"
        done = rank(NAME, out, engine="fake", project=self.root, requests=path)
        scored = [
            (row["request_id"], row["candidate_id"]) for row in map(json.loads, lines_of(out))
        ]
        if len(scored) != len(set(scored)):
            raise Invented("a candidate was scored twice")
        if whole:
            if unknown := set(scored) - set(given):
                raise Invented(f"scored {unknown}, which nobody gave")
            aside = map(json.loads, lines_of(done.errors_path))
            told = {(row.get("request_id"), row.get("candidate_id")) for row in aside}
            for pair in set(given) - set(scored):
                if pair not in told and (pair[0], None) not in told:
                    raise Invented(f"{pair} is neither scored nor set aside")
        return bool(scored)


class CsvTables(ToysSurface):
    """Tables as CSV: cells come out as they stand in the file, whatever they look like."""

    CELLS = (
        "Plain",
        "yes",
        "True",
        "007",
        "1e5",
        "12.80",
        "1234567890123456789012",
        "2020-02-31",
        "2024-05-01",
        "2024-05-01T00:00:00Z",
        "NaN",
        "inf",
        "NULL",
        'say "hi"',
        "a,b",
        "two\nlines",
        " padded ",
        "naïve",
        "{'a': 1}",
        "[1, 2]",
        "123e4567-e89b-12d3-a456-426614174000",
    )

    def attempt(self, rng: random.Random) -> bool:
        kind = rng.choice(("words", "mixed"))
        toys = [(f"t{i}", f"{rng.choice(self.CELLS)}") for i in range(20)]
        if kind == "words":
            # A column of words and numbers together is a column of text.
            toys = [(key, f"Toy {key}: {cell}") for key, cell in toys]
        path = self.root / "toys.csv"
        with path.open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file, quoting=csv.QUOTE_MINIMAL)
            writer.writerow(("toy_id", "title", "color"))
            writer.writerows((key, cell, "red") for key, cell in toys)
        damaged = rng.random() < 0.4
        if damaged:
            text = damaged_text(path.read_text(encoding="utf-8"), rng)
            path.write_bytes(text.encode("utf-8", "surrogatepass"))
        out = self.folder / "built.jsonl"
        build(NAME, out, project=self.root)
        if not damaged and kind == "words":
            cells = dict(toys)
            for request in given_file(open_task(NAME, project=self.root), out).read():
                for candidate in request.candidates:
                    title = candidate.item.fields["title"]
                    if title != cells[candidate.item.item_id]:
                        raise Invented(f"{title!r} for {cells[candidate.item.item_id]!r}")
        return True
