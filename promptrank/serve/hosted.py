"""The tasks that a server has: being loaded, ready, or draining."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from promptrank.adapters.alias import is_alias
from promptrank.basics.hints import near
from promptrank.engine.vllm_engine.restarts import Restarts
from promptrank.ranking.ranker import Ranker
from promptrank.serve.refused import refuse

if TYPE_CHECKING:
    from promptrank.tables.look_up import LookUp

State = Literal["loading", "ready", "draining"]


@dataclass(frozen=True, slots=True)
class HostedTask:
    """One task and what ranks it.

    Attributes:
        name: the task's.
        ranker: opened; several tasks may share its model.
        adapter: as it was named; None for the base model.
        description: the task's own, for people.
        tables: what ids are looked up in; None where they are not.
    """

    name: str
    ranker: Ranker
    adapter: str | None = None
    description: str | None = None
    tables: "LookUp | None" = None

    @property
    def adapter_name(self) -> str | None:
        """The name of the adapter itself, whatever alias it was asked for by."""
        folder = self.ranker.origin.adapter
        return Path(folder).name if folder is not None else self.adapter

    @property
    def alias(self) -> str | None:
        """The alias that the adapter was asked for by, if it was."""
        name = self.adapter
        return name if name is not None and is_alias(name) and name != self.adapter_name else None


class Hosted:
    """Tasks by name, the first of them where a request names none.

    Attributes:
        names: of the tasks, known before they are loaded.
        state: what the server is at.
        restarts: of the engines' processes, where there may be any.
        notes: task -> what is to be known of it, such as an adapter that does not load.
    """

    def __init__(self, names: Sequence[str], restarts: Restarts | None = None) -> None:
        self.names, self.restarts = tuple(names), restarts
        self.state: State = "loading"
        self.notes: dict[str, str] = {}
        self._served: dict[str, HostedTask] = {}

    def put(self, served: Sequence[HostedTask]) -> None:
        """The tasks are loaded, and requests may come."""
        self._served = {each.name: each for each in served}
        if self.state == "loading":
            self.state = "ready"

    def swap(self, served: HostedTask) -> None:
        """Requests from now on are ranked by this; those under way end as they began."""
        self._served[served.name] = served

    def loaded(self, name: str) -> HostedTask:
        """A task that is loaded, whatever the server is at."""
        return self._served[name]

    def drain(self) -> None:
        """No more requests; those under way are answered."""
        self.state = "draining"

    @property
    def health(self) -> Literal["loading", "ready", "restarting", "draining"]:
        """What others are told: its state, and whether an engine is being started anew."""
        if self.state == "ready" and self.restarts is not None and self.restarts.down:
            return "restarting"
        return self.state

    def every(self) -> list[HostedTask]:
        """What is loaded, in the order of the command line."""
        return list(self._served.values())

    def task(self, name: str | None) -> HostedTask:
        """The task of that name; the first one for None.

        Raises:
            Refused: no such task here, or not yet.
        """
        if name is not None and name not in self.names:
            raise refuse(404, "no_such_task", f"no task {name!r} here; {near(name, self.names)}")
        if self.state == "draining":
            raise refuse(
                503, "draining", "the server is ending; ask another one", {"Retry-After": "1"}
            )
        served = self._served.get(name if name is not None else self.names[0])
        if served is None:
            raise refuse(
                503, "loading", "the model is being loaded; GET /ready tells", {"Retry-After": "2"}
            )
        return served
