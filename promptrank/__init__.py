"""promptrank: one decoder ranks everything.

import promptrank

with promptrank.open_ranker("movies/like") as ranker:
    ranking = ranker.rank({"history": [...], "candidates": [...]})
"""

import os
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

# After each matrix product, and there are hundreds in a forward, the threads of torch's OpenMP wait
# for each other by spinning: up to 300,000 turns, some milliseconds. Where another job has a core,
# they so spin away their share of it before the one that they wait for gets its turn: many times
# slower. No spinning at all costs 40% on a quiet machine; 10,000 turns cost less than 2%, and take
# away most of the harm. libgomp reads this once, when torch or LightGBM loads it; whoever has set
# either has chosen.
if "OMP_WAIT_POLICY" not in os.environ:
    os.environ.setdefault("GOMP_SPINCOUNT", "10000")

# Name -> module. Loaded on first use, so that `import promptrank` and short commands stay fast.
_EXPORTS = {
    "Candidate": "promptrank.records",
    "Event": "promptrank.records",
    "InputError": "promptrank.errors",
    "Item": "promptrank.records",
    "PromptrankError": "promptrank.errors",
    "Ranker": "promptrank.ranking.ranker",
    "Ranking": "promptrank.ranking.ranking",
    "Report": "promptrank.evaluation.report",
    "Request": "promptrank.records",
    "Runtime": "promptrank.runtime.runtime",
    "Scores": "promptrank.scores.scores",
    "Subject": "promptrank.records",
    "Switches": "promptrank.simulation.switches",
    "Task": "promptrank.schema.task",
    "build": "promptrank.api.build",
    "compare_students": "promptrank.api.compare_students",
    "diff": "promptrank.api.diff",
    "distill": "promptrank.api.distill",
    "evaluate": "promptrank.api.evaluate",
    "export": "promptrank.api.export",
    "fuse": "promptrank.api.fuse",
    "init": "promptrank.api.start",
    "join": "promptrank.api.join",
    "ls": "promptrank.api.tasks",
    "open_look_up": "promptrank.workspace.look_ups",
    "open_ranker": "promptrank.workspace.rankers",
    "parity": "promptrank.api.parity",
    "plan": "promptrank.api.plan",
    "precompute": "promptrank.api.precompute",
    "pull": "promptrank.api.tasks",
    "purge": "promptrank.api.purge",
    "rank": "promptrank.api.rank",
    "replay": "promptrank.api.replay",
    "report": "promptrank.api.report",
    "train": "promptrank.api.train",
    "simulate_jobs": "promptrank.api.simulate",
    "task_schema": "promptrank.api.start",
    "validate": "promptrank.api.validate",
}
__all__ = sorted(_EXPORTS)

if TYPE_CHECKING:
    from promptrank.api.build import build as build
    from promptrank.api.compare_students import compare_students as compare_students
    from promptrank.api.diff import diff as diff
    from promptrank.api.distill import distill as distill
    from promptrank.api.evaluate import evaluate as evaluate
    from promptrank.api.export import export as export
    from promptrank.api.fuse import fuse as fuse
    from promptrank.api.join import join as join
    from promptrank.api.parity import parity as parity
    from promptrank.api.plan import plan as plan
    from promptrank.api.precompute import precompute as precompute
    from promptrank.api.purge import purge as purge
    from promptrank.api.rank import rank as rank
    from promptrank.api.replay import replay as replay
    from promptrank.api.report import report as report
    from promptrank.api.simulate import simulate_jobs as simulate_jobs
    from promptrank.api.start import init as init
    from promptrank.api.start import task_schema as task_schema
    from promptrank.api.tasks import ls as ls
    from promptrank.api.tasks import pull as pull
    from promptrank.api.train import train as train
    from promptrank.api.validate import validate as validate
    from promptrank.errors import InputError as InputError
    from promptrank.errors import PromptrankError as PromptrankError
    from promptrank.evaluation.report import Report as Report
    from promptrank.ranking.ranker import Ranker as Ranker
    from promptrank.ranking.ranking import Ranking as Ranking
    from promptrank.records import Candidate as Candidate
    from promptrank.records import Event as Event
    from promptrank.records import Item as Item
    from promptrank.records import Request as Request
    from promptrank.records import Subject as Subject
    from promptrank.runtime.runtime import Runtime as Runtime
    from promptrank.schema.task import Task as Task
    from promptrank.scores.scores import Scores as Scores
    from promptrank.simulation.switches import Switches as Switches
    from promptrank.workspace.look_ups import open_look_up as open_look_up
    from promptrank.workspace.rankers import open_ranker as open_ranker


def __getattr__(name: str) -> Any:
    if name not in _EXPORTS:
        raise AttributeError(f"module 'promptrank' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_EXPORTS[name]), name)
