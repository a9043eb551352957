"""An OpenAI-compatible completions server: prompts as token ids, log-probs of ids that are named.

The API is that of vLLM's server (0.28 or later): ``POST /v1/completions`` with ``prompt`` as lists
of ids, ``logprob_token_ids``, and ``return_tokens_as_token_ids``. A server that returns the
likeliest tokens in place of those asked for is not one that answers can be scored with.
"""

import random
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import httpx

from promptrank.errors import ModelError

TRIES = 6
_FIRST_WAIT = 0.25
_LONGEST_WAIT = 30.0  # seconds before a further try, whatever a server asks for
_AGAIN = frozenset({408, 425, 429, 500, 502, 503, 504})
_FLOOR = -9999.0
"""What vLLM writes for a log-prob of minus infinity, for which JSON has no number: not a score."""


@dataclass(frozen=True, slots=True)
class Call:
    """Prompts of one call, which want the log-probs of the same ids."""

    model: str
    prompts: Sequence[Sequence[int]]
    wanted: Sequence[int]


@dataclass(frozen=True, slots=True)
class PromptAnswer:
    """The answer to one prompt.

    Attributes:
        logprobs: of the wanted ids, in their order.
        greedy: the likeliest id.
    """

    logprobs: list[float]
    greedy: int


class NotAnswered(Exception):
    """The server does not take these prompts, or fails at them each time; it is up."""


@dataclass(frozen=True, slots=True)
class ServedModel:
    """A model or an adapter that the server has.

    Attributes:
        root: the folder it was loaded from, where the server tells.
        parent: of an adapter: the model's name.
        max_tokens: the longest prompt with its answer, where the server tells.
    """

    name: str
    root: str | None
    parent: str | None
    max_tokens: int | None


class Completions:
    """The server at one address; any number of threads may ask."""

    def __init__(
        self, url: str, *, key: str | None = None, seconds: float = 120.0, at_once: int = 8
    ) -> None:
        """Take where it is.

        Args:
            url: with or without ``/v1`` at its end.
            key: for ``Authorization: Bearer``.
            seconds: for one answer.
            at_once: calls under way.

        Raises:
            ModelError: no server in the address, or a key, which would stand in what is written
                about scores.
        """
        self.url = url.rstrip("/").removesuffix("/v1")
        if "@" in self.url:
            raise ModelError(
                "a server's address holds no name and no key; give the key by the environment's "
                "PROMPTRANK_HTTP_KEY"
            )
        if not urlsplit(self.url).hostname:
            raise ModelError(f"{url}: names no server; write http://HOST:PORT")
        self._seconds = seconds
        self._closed = threading.Event()
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        limits = httpx.Limits(max_connections=at_once, max_keepalive_connections=at_once)
        # The environment's proxies are for the world outside; a server is named by its address.
        self._client = httpx.Client(
            base_url=self.url, headers=headers, timeout=seconds, limits=limits, trust_env=False
        )

    def models(self) -> list[ServedModel]:
        """What the server has, models and adapters.

        Raises:
            ModelError: no such server, or one of another kind.
        """
        try:
            rows = self._call("GET", "/v1/models")["data"]
            return [
                ServedModel(row["id"], row.get("root"), row.get("parent"), row.get("max_model_len"))
                for row in rows
            ]
        except NotAnswered as error:
            raise ModelError(f"{self.url}: lists no models ({error})") from None
        except (KeyError, TypeError, AttributeError):
            raise ModelError(f"{self.url}: its /v1/models is not a list of models") from None

    def ask(self, asked: Call, given_up: Callable[[], bool] = lambda: False) -> list[PromptAnswer]:
        """One answer a prompt, in their order.

        Args:
            given_up: whether nobody waits any more; looked at before each further try.

        Raises:
            NotAnswered: it takes none of them, or returns something else than was asked for.
            ModelError: the server is not there, however often it is tried.
        """
        body = {
            "model": asked.model,
            "prompt": [list(prompt) for prompt in asked.prompts],
            "max_tokens": 1,
            "temperature": 0.0,
            "logprobs": 1,
            "logprob_token_ids": list(asked.wanted),
            "return_tokens_as_token_ids": True,
            "add_special_tokens": False,
        }
        return _said(self._call("POST", "/v1/completions", body, given_up), asked)

    def close(self) -> None:
        """Close its connections; nothing is tried again."""
        self._closed.set()
        self._client.close()

    def _call(
        self,
        method: str,
        path: str,
        body: Mapping[str, Any] | None = None,
        given_up: Callable[[], bool] = lambda: False,
    ) -> Any:
        """The JSON of an answer; tried again, ever later, while the server is busy or away."""
        why, gone, wait = "", False, 0.0
        for attempt in range(TRIES):
            if self._closed.wait(wait) or given_up():
                raise NotAnswered("given up")
            headers: Mapping[str, str] = {}
            try:
                answer = self._client.request(method, path, json=body)
            except httpx.TimeoutException:
                why, gone = f"no answer within {self._seconds:g} s", False
            except httpx.HTTPError as error:
                why, gone = str(error) or type(error).__name__, True
            else:
                if answer.is_success:
                    try:
                        return answer.json()
                    except ValueError:
                        raise NotAnswered("its answer is no JSON") from None
                why, gone = f"{answer.status_code}: {_message(answer)}", False
                if answer.status_code not in _AGAIN:
                    raise NotAnswered(why)
                headers = answer.headers
            wait = _pause(attempt, headers)
        if gone:
            raise ModelError(f"{self.url}: cannot be reached ({why}); is the server running?")
        raise NotAnswered(f"tried {TRIES} times; {why}")


def _pause(attempt: int, headers: Mapping[str, str]) -> float:
    """Seconds before the next try: what the server asks for, else twice as long as before."""
    asked = headers.get("retry-after", "")
    if asked.isascii() and asked.isdigit():
        return min(float(asked), _LONGEST_WAIT)
    return float(min(_FIRST_WAIT * 2**attempt, _LONGEST_WAIT) * (0.5 + random.random()))


def _message(answer: httpx.Response) -> str:
    """What an error says, cut to a line."""
    try:
        said = answer.json()
        said = said.get("error", said)
        text = said.get("message") if isinstance(said, dict) else said
    except (ValueError, AttributeError):
        text = answer.text
    return " ".join(str(text or "").split())[:200]


def _said(answer: Any, asked: Call) -> list[PromptAnswer]:
    try:
        choices = sorted(answer["choices"], key=lambda choice: choice["index"])
        if [choice["index"] for choice in choices] != list(range(len(asked.prompts))):
            raise NotAnswered("returned another number of answers than was asked for")
        rows = [choice["logprobs"] for choice in choices]
        return [_one_said(row["tokens"][0], row["top_logprobs"][0], asked) for row in rows]
    except (KeyError, IndexError, TypeError, ValueError):
        raise NotAnswered("returned no log-probs") from None


def _one_said(token: str, logprobs: Mapping[str, float], asked: Call) -> PromptAnswer:
    by_id = {_id(name): float(value) for name, value in logprobs.items()}
    missing = [number for number in asked.wanted if number not in by_id]
    if missing:
        raise NotAnswered(
            f"returned no log-prob of token {missing[0]}, which was asked for by logprob_token_ids"
        )
    said = [by_id[number] for number in asked.wanted]
    return PromptAnswer([value if value > _FLOOR else float("nan") for value in said], _id(token))


def _id(name: str) -> int:
    """The number in ``token_id:17``."""
    head, _, number = name.partition(":")
    if head != "token_id":
        raise ValueError(name)
    return int(number)
