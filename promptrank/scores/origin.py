"""Where scores come from: everything that can change one."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from promptrank.basics.json_files import checked
from promptrank.basics.seals import sealed

METADATA = "promptrank.origin"
"""Key of the origin in the metadata of a parquet file."""
AGAIN = "make the scores again with `promptrank rank`"


@dataclass(frozen=True, slots=True)
class Origin:
    """Who made scores, and from what; what is not known is None.

    Attributes:
        ranker: what readers call it: ``decoder``, ``student:NAME``, a baseline's name.
        task, task_digest: the task's name, and a digest of its whole configuration.
        method: how a request is asked about, such as ``pointwise``.
        prompt: fingerprint of all that turns a request into what is scored.
        engine: ``name``, ``model``, ``digest`` of its weights, ``dtype``, ``max_tokens``,
            ``notes``, ``device``.
        adapter, adapter_digest: folder of the adapter, and a digest of its files.
        fusion, fusion_digest: the fusion file, and its digest.
        policy: digest of the policy steps that ran; the task's configuration has them.
        requests: digest of the request file.
        obscured: fields whose texts were made up for the control of ``eval --obscure``.
        probe: what ``eval --probe`` changed, by name: ``history:shuffled``.
        versions: of the libraries that can change a score.
    """

    ranker: str
    task: str | None = None
    task_digest: str | None = None
    method: str | None = None
    prompt: str | None = None
    engine: Mapping[str, Any] | None = None
    adapter: str | None = None
    adapter_digest: str | None = None
    fusion: str | None = None
    fusion_digest: str | None = None
    policy: str | None = None
    requests: str | None = None
    obscured: tuple[str, ...] | None = None
    probe: str | None = None
    versions: Mapping[str, str] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """Plain values, without what is not known."""
        return {name: value for name, value in asdict(self).items() if value is not None}

    def to_json(self) -> str:
        """For a file's metadata, with a seal."""
        return json.dumps(sealed(self.as_dict()))


def origin_of(given: Mapping[str, Any], where: str) -> Origin:
    """The origin among facts that were read from a file; other facts do not count.

    Raises:
        DataError: no origin of this promptrank.
    """
    known = {f.name for f in fields(Origin)}
    facts = {name: value for name, value in given.items() if name in known}
    return checked(Origin, facts, where, what="a statement of who made these scores", then=AGAIN)
