"""What a shape is: one path of the API, the fields of its body, its answer and its errors."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from pydantic import BaseModel, ValidationError

from promptrank.ranking.ranking import Ranking
from promptrank.records import Request
from promptrank.requests.filled import LookedUp
from promptrank.serve.hosted import HostedTask
from promptrank.serve.refused import Refusal, refuse
from promptrank.serve.wrong_fields import worded_faults

B = TypeVar("B", bound=BaseModel)


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a body asks for.

    Attributes:
        task: by name; None for the first one that is served.
        requests: to be ranked together, in one call.
        whole: refused where the budget would cut anything.
        policy: whether policy steps run; pairs that are scored one by one are no list.
        given: requests as dicts, where they came so; `requests` is filled from them.
        worded: the place of a request that is wrong and why -> what its client is told.
        looked_up: one for each request, where the task's tables are read.
        shown: so many of the candidates, the best, are answered; None for all.
    """

    task: str | None
    requests: Sequence[Request]
    whole: bool = False
    policy: bool = True
    given: Sequence[Mapping[str, Any]] = ()
    worded: Callable[[int, str], str] = lambda place, why: why
    looked_up: Sequence[LookedUp] = ()
    shown: int | None = None


@dataclass(frozen=True, slots=True)
class Done:
    """What came of it.

    Attributes:
        request_id: of the call, as its header has it.
        served: the task.
        rankings: one for each request, in order.
        tokens: that were asked of the engine; 0 for students.
        looked_up: one for each request, where the task's tables are read.
    """

    request_id: str
    served: HostedTask
    rankings: Sequence[Ranking]
    tokens: int
    looked_up: Sequence[LookedUp] = ()


@dataclass(frozen=True, slots=True)
class HttpShape(Generic[B]):
    """One path; a file of `promptrank.serve.shapes` says what stands where.

    Attributes:
        name: of the API, such as ``cohere v2``.
        paths: where it is served; the first is the one to name.
        summary: one sentence.
        body: the fields of its body.
        answer_type: a TypedDict or a list of one, from which its schema is written.
        read: the body as a `Wanted`; whatever it says of requests that cannot be is a DataError.
        write: the answer.
        refuse: the body of an error.
        invalid: HTTP status of a body with wrong fields.
        error_type: a TypedDict of an error's body.
    """

    name: str
    paths: tuple[str, ...]
    summary: str
    body: type[B]
    answer_type: Any
    read: Callable[[B], Wanted]
    write: Callable[[B, Done], Any]
    refuse: Callable[[Refusal, str], Any]
    invalid: int = 422
    error_type: Any = None

    def parsed(self, data: dict[str, Any]) -> B:
        """A body's fields.

        Raises:
            Refused: fields that are wrong; all of them are named.
        """
        try:
            return self.body.model_validate(data)
        except ValidationError as error:
            why = worded_faults(error, self.body)
            raise refuse(self.invalid, "wrong_fields", why) from None
