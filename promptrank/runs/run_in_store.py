"""Verbs that make runs, taught to make them in an object store."""

from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any, TypeVar, cast

from promptrank.basics.addresses import is_object
from promptrank.basics.telling import silent
from promptrank.places.local_copies import local_copy
from promptrank.places.object_store import checked
from promptrank.runs.by_address import EndsByAddress, by_address, say_by_address
from promptrank.runs.stored_runs import stored_run

Verb = TypeVar("Verb", bound=Callable[..., Any])


def run_in_store(verb: Verb) -> Verb:
    """Let a verb that makes runs (task, folder, ...) take addresses for its folders."""

    @wraps(verb)
    def wrapped(task: Any, folder: str | Path, **given: Any) -> Any:
        since = given.get("since")
        if since is not None and is_object(since):
            with local_copy(since) as earlier:
                say = say_by_address(given.get("say", silent), earlier, checked(since))
                return wrapped(task, folder, **(given | {"since": earlier, "say": say}))
        if not is_object(folder):
            return verb(task, folder, **given)
        say, stop = given.get("say", silent), given.get("stop", lambda: False)
        with stored_run(checked(folder), say) as stored:
            place = stored.folder, stored.address
            given["stop"] = lambda: not stored.takes_it() or stop()
            given["say"] = say_by_address(say, *place)
            if (ends := given.get("ends")) is not None:
                given["ends"] = EndsByAddress(ends, *place)
            done = verb(task, stored.folder, **given)
        say(f"{stored.address} has all of it; {stored.folder} is the working copy")
        if isinstance(done, dict):
            return {name: by_address(end, *place) for name, end in done.items()}
        return by_address(done, *place)

    return cast(Verb, wrapped)
