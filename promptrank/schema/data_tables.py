"""Where rows come from: tables, and the three shapes of requests."""

from typing import Literal

from pydantic import Field, field_validator, model_validator

from promptrank.basics.addresses import secret_in
from promptrank.schema.strict import Duration, Ref, Sql, Strict


class Source(Strict):
    """Rows from files or from a query; exactly one of ``path`` and ``sql``.

    Paths are relative to the task's data folder; parquet, CSV, JSONL, a Delta table, ``s3://``,
    ``gs://``, ``hf://``, ``postgresql://host/db#schema.table``, ``sqlite:file.db#table`` and what
    else DuckDB reads. A query sees the task's tables by their names.
    """

    path: str | list[str] | None = Field(None, description="File, glob or URL; or several.")
    sql: Sql | None = Field(None, description="A DuckDB query over the task's tables.")
    columns: dict[str, Sql] = Field(
        default_factory=dict, description="Further columns: name -> DuckDB expression."
    )

    @field_validator("path")
    @classmethod
    def _no_secret(cls, value: str | list[str] | None) -> str | list[str] | None:
        # A task file is kept, shared and copied into manifests.
        for path in [value] if isinstance(value, str) else value or ():
            if wrong := secret_in(path):
                raise ValueError(wrong)
        return value

    @model_validator(mode="after")
    def _path_or_sql(self) -> "Source":
        if (self.path is None) == (self.sql is None):
            raise ValueError("give exactly one of path and sql")
        return self


class Table(Source):
    """A table of entities: members, items, queries."""

    key: str = Field(description="Column that identifies a row.")
    valid_from: str | None = Field(
        None,
        description="Column with the time from which a row holds; without it rows hold always.",
    )


class Negatives(Strict):
    """Items added to a request that nobody acted on, drawn as of the request's time."""

    count: int = Field(gt=0, description="How many per request.")
    sampler: Literal["uniform", "popular"] = Field(
        "uniform",
        description="uniform over known items, or in proportion to past events.",
    )
    label: str = Field(description="Answer label of an added item.")
    seed: int = 0


class Group(Strict):
    """How rows of one subject become requests; exactly one of ``last`` and ``session``."""

    last: int | None = Field(
        None,
        gt=0,
        description="Blocks of this many rows, counted back from the subject's last row.",
    )
    session: Duration | None = Field(
        None, description="Rows with no longer pause than this between neighbours."
    )
    at_least: int = Field(
        1,
        gt=0,
        description="Subjects with fewer rows make no requests; their rows still count as history.",
    )

    @model_validator(mode="after")
    def _last_or_session(self) -> "Group":
        if (self.last is None) == (self.session is None):
            raise ValueError("give exactly one of last and session")
        return self


class Ratings(Source):
    """Short form: one row is a member's reaction to an item; rows are grouped into requests."""

    member: Ref
    item: Ref
    time: str | None = Field(None, description="Time column: unix seconds, or a timestamp.")
    order: str | None = Field(
        None,
        description="Column that only orders a member's rows, where there is no clock.",
    )
    label: Sql | dict[str, Sql] = Field(
        description="Expression whose value is an answer label; or question -> expression."
    )
    group: Group = Field(default_factory=lambda: Group(last=10))
    context: list[str] = Field(default_factory=list, description="Columns for templates.")
    weight: str | None = Field(None, description="Column with the row's weight.")
    negatives: Negatives | None = None

    @model_validator(mode="after")
    def _clock(self) -> "Ratings":
        if (self.time is None) == (self.order is None):
            raise ValueError("give exactly one of time and order")
        return self


class Judgements(Source):
    """Short form: one row is a graded (query, item) or (source item, item) pair."""

    query: Ref | None = None
    source: Ref | None = None
    item: Ref
    label: Sql | dict[str, Sql]
    time: str | None = None
    context: list[str] = Field(default_factory=list)
    weight: str | None = None
    negatives: Negatives | None = None

    @model_validator(mode="after")
    def _query_or_source(self) -> "Judgements":
        if (self.query is None) == (self.source is None):
            raise ValueError("give exactly one of query and source")
        return self


class SubjectColumns(Strict):
    """Which columns of an impressions table say whom a request is for."""

    member: Ref | None = None
    query: Ref | None = None
    source: Ref | None = None

    @model_validator(mode="after")
    def _some(self) -> "SubjectColumns":
        if self.member is None and self.query is None and self.source is None:
            raise ValueError("give at least one of member, query and source")
        return self


class CandidateColumns(Strict):
    """Which columns of an impressions table describe a candidate."""

    item: Ref
    id: str | None = Field(
        None, description="Unique within a request; the item's id where left out."
    )
    position: str | None = None
    propensity: str | None = None
    weight: str | None = None
    logged_score: str | None = None
    context: list[str] = Field(default_factory=list)
    label: Sql | dict[str, Sql] | None = Field(
        None,
        description="Label from the impression row itself, where no outcomes table is given.",
    )


class Impressions(Source):
    """Full form: one row is one candidate of one logged request."""

    id: str = Field(description="Column with the request's id.")
    time: str | None = Field(None, description="Time column: unix seconds, or a timestamp.")
    subject: SubjectColumns
    candidate: CandidateColumns
    negatives: Negatives | None = None


class Outcomes(Source):
    """What happened to candidates, joined on request and candidate within a window."""

    key: list[str] = Field(
        min_length=1, max_length=2, description="Columns: request id and candidate id."
    )
    label: str = Field(description="Column with what happened.")
    time: str | None = Field(None, description="When it happened.")
    within: Duration | None = Field(
        None,
        description="Window after the request; a younger request is unlabelled, not negative.",
    )
    none: str | None = Field(None, description="Label where nothing happened within the window.")
