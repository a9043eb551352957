"""What promptrank itself writes and reads back: adapters, students, the store, stopped runs.

Each makes one whole artefact, keeps what it gives, and then damages its files. What is read from
a damaged one is what it gave before, or it is refused.
"""

import json
import random
import shutil
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import load_file, save_file
from transformers import AutoModelForCausalLM

from promptrank.api.distill import distill
from promptrank.api.rank import rank
from promptrank.errors import InputError
from promptrank.runs import scored_file
from promptrank.workspace.rankers import open_ranker
from support.engines import adapter
from support.fuzz.surface import Invented, damaged_bytes
from support.fuzz.texts import NAME, ToysSurface, lines_of

Rows = dict[tuple[str, str], float]


class Stop(Exception):
    """Ends a run where a kill would."""


class Damaged(ToysSurface):
    """A folder that is put back before each input, with one of its files damaged."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.whole, self.place = folder / "whole", self.make()
        shutil.copytree(self.place, self.whole)
        self.expected = self.given()

    def make(self) -> Path:
        """Make the artefact, and say which folder it is."""
        raise NotImplementedError

    def given(self) -> Rows:
        """What is made of it: (request, candidate) -> score."""
        raise NotImplementedError

    def damage(self, rng: random.Random) -> bool:
        """Damage it, and say whether it still may give what it gave."""
        files = sorted(path for path in self.place.rglob("*") if path.is_file())
        path = rng.choice(files)
        if rng.random() < 0.1:
            path.unlink()
        else:
            path.write_bytes(damaged_bytes(path.read_bytes(), rng))
        return True

    def attempt(self, rng: random.Random) -> bool:
        shutil.rmtree(self.place, ignore_errors=True)
        shutil.copytree(self.whole, self.place)
        # Now and then nothing is damaged: what is refused then is refused for no reason.
        whole = rng.random() < 0.1
        may = whole or self.damage(rng)
        try:
            rows = self.given()
        except InputError as error:
            if whole:
                raise Invented(f"a fault in what is whole: {error}") from error
            raise
        if not may:
            raise Invented("it was damaged, and was used")
        if rows != self.expected:
            apart = [key for key in rows | self.expected if rows.get(key) != self.expected.get(key)]
            raise Invented(f"{len(apart)} rows are others than before, such as {apart[0]}")
        return True

    def ranked(self, **how: Any) -> Rows:
        """Scores by `rank`."""
        out = self.folder / "scores.jsonl"
        rank(NAME, out, project=self.root, **how)
        lines = map(json.loads, lines_of(out))
        return {(row["request_id"], row["candidate_id"]): row["score"] for row in lines}


class Adapters(Damaged):
    """Adapters from elsewhere, without a card: tensors that fit nothing, odd configs.

    Values of weights are the adapter's own affair; their names, shapes and number are not.
    """

    loose = False

    def make(self) -> Path:
        folder = self.folder / "adapter"
        adapter(AutoModelForCausalLM.from_pretrained(self.model), folder, seed=1)
        with open_ranker(NAME, project=self.root, threads=1) as ranker:
            self.base = ranker.rank(self.request()).scored[0].score
        return folder

    def request(self) -> dict[str, Any]:
        """The one request that is ranked."""
        item = {"title": "A toy", "color": "red"}
        return {"member": {"name": "Ann"}, "candidates": [{"item_id": "t", "item": item}]}

    def given(self) -> Rows:
        with open_ranker(NAME, project=self.root, threads=1) as ranker:
            request = self.request() | {"request_id": "with"}
            ranking = next(ranker.rank_many([request], adapter_of=lambda _: self.place))
            if ranking.errors:
                raise InputError(ranking.errors[0].message)
            after = ranker.rank(self.request()).scored[0].score
        if after != self.base:
            raise Invented(f"the base says {after} after the adapter, and said {self.base}")
        return {("with", s.candidate_id): s.score for s in ranking.scored}

    def damage(self, rng: random.Random) -> bool:
        weights, config = (
            self.place / "adapter_model.safetensors",
            self.place / "adapter_config.json",
        )
        tensors = load_file(weights)
        names = sorted(tensors)
        name = rng.choice(names)
        match rng.randrange(11):
            case 0:
                del tensors[name]
            case 1:
                tensors[name.replace("lora_A", "lora_C").replace("lora_B", "lora_D")] = tensors.pop(
                    name
                )
            case 2:
                tensors = {n.removeprefix("base_model.model."): t for n, t in tensors.items()}
            case 3:
                tensors = {n.replace(".weight", ".default.weight"): t for n, t in tensors.items()}
            case 4:
                tensors["base_model.model.lm_head.weight"] = np.zeros((8, 32), np.float32)
            case 5:
                tensors[name] = tensors[name][:, :-1].copy()
            case 6:
                tensors[name] = np.full_like(tensors[name], rng.choice((np.nan, np.inf)))
            case 7:
                tensors = {n: t for n, t in tensors.items() if "lora_A" in n}
            case 8:
                tensors = {"note": np.zeros(1, np.float32)}
            case 9:
                tensors[name] = tensors[name] * np.float32(0.5)
                self.loose = True
                save_file(tensors, weights)
                return True
            case _:
                path = rng.choice((weights, config))
                data = path.read_bytes()
                head = int.from_bytes(data[:8], "little") if path == weights else len(data)
                # Beyond the head of a weights file there are values, and any value is fine.
                part = damaged_bytes(data[: head + 8], rng)
                path.write_bytes(part + data[head + 8 :])
                self.loose = True
                return True
        self.loose = False
        save_file(tensors, weights)
        return False

    def attempt(self, rng: random.Random) -> bool:
        try:
            return super().attempt(rng)
        except Invented as fault:
            # A config that still reads may scale or target otherwise: that is what it says.
            if self.loose and "others than before" in str(fault):
                return True
            raise


class Students(Damaged):
    """A boosted student whose files were damaged."""

    def make(self) -> Path:
        distill(NAME, name="small", loss="labels", project=self.root, timed=2, threads=1)
        return self.root / "students" / "small"

    def given(self) -> Rows:
        return self.ranked(engine="student:small", threads=1)


class ScoreCaches(Damaged):
    """Answers that are kept, damaged on disk."""

    def make(self) -> Path:
        self.ranked(engine="fake", cache=True)
        return self.root / "cache"

    def given(self) -> Rows:
        return self.ranked(engine="fake", cache=True)


class StoppedRuns(Damaged):
    """A ranking that was stopped, with what it left damaged: the end is that of an unbroken one."""

    def make(self) -> Path:
        scored_file.FILE_SHARD = 2
        place = self.folder / "run"
        place.mkdir()
        self.out = place / "scores.jsonl"

        def stop(done: int, total: int | None) -> None:
            if done == 7:
                raise Stop

        with suppress(Stop):
            rank(NAME, self.out, engine="fake", project=self.root, progress=stop)
        return place

    def given(self) -> Rows:
        rank(NAME, self.out, engine="fake", project=self.root)
        rows = [json.loads(line) for line in lines_of(self.out)]
        keyed = {(row["request_id"], row["candidate_id"]): row["score"] for row in rows}
        if len(keyed) != len(rows):
            raise Invented("a candidate stands twice")
        return keyed
