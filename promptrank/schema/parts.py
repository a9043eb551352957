"""Questions, history, statistics and budget of a task."""

from functools import cached_property
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from promptrank.schema.data_tables import Source
from promptrank.schema.strict import Duration, Ref, Sql, Strict


class Answer(Strict):
    """One possible answer: what the model says for it and what it is worth."""

    say: list[str] = Field(
        min_length=1,
        description="Wordings, written bare: the slot decides about a leading space. "
        "The first is the one that history turns and training use.",
    )
    value: float = Field(description="Worth of this answer in expected values, gains and metrics.")
    labels: list[str] = Field(
        default_factory=list,
        description="Labels in the data that count as this answer; its own name where left out.",
    )

    @field_validator("say", mode="before")
    @classmethod
    def _list(cls, value: Any) -> Any:
        # `say: 5` is a number to YAML and a word to a model.
        several = value if isinstance(value, list) else [value]
        return [str(v) if isinstance(v, int | float) else v for v in several]

    @field_validator("say")
    @classmethod
    def _words(cls, value: list[str]) -> list[str]:
        for word in value:
            if not word.strip():
                raise ValueError("an answer must say something; it is empty")
            if word != word.strip():
                raise ValueError(f"write {word!r} without outer spaces; the slot decides the space")
        if len(set(value)) != len(value):
            raise ValueError("the same wording stands twice")
        return value


ScoreKind = Literal["expected", "log_odds", "log_likelihood"]


class Question(Strict):
    """One thing asked of every candidate."""

    ask: str = Field("", description="The question in words; templates see it as question.ask.")
    answers: dict[str, Answer] = Field(min_length=2)
    score: ScoreKind = Field(
        "expected",
        description="expected: value x probability among the answers; log_odds: relevant against "
        "the other answers; log_likelihood: of the relevant answers in the whole vocabulary.",
    )
    relevant: float | None = Field(
        None,
        description="An answer whose value reaches this is relevant (metrics, log_odds); "
        "the largest value where left out.",
    )

    @model_validator(mode="after")
    def _answers(self) -> "Question":
        seen: dict[str, str] = {}
        for name, answer in self.answers.items():
            for word in answer.say:
                if word in seen:
                    raise ValueError(f"answers {seen[word]!r} and {name!r} both say {word!r}")
                seen[word] = name
        values = [a.value for a in self.answers.values()]
        if len(set(values)) == 1:
            raise ValueError("all answers have the same value; scores could not differ")
        if not any(v >= self.relevant_at for v in values):
            raise ValueError("no answer's value reaches `relevant`")
        if all(v >= self.relevant_at for v in values):
            raise ValueError("every answer's value reaches `relevant`")
        return self

    @cached_property
    def relevant_at(self) -> float:
        """The value from which an answer counts as relevant."""
        if self.relevant is not None:
            return self.relevant
        return max(a.value for a in self.answers.values())

    def answer_of(self, label: str | None) -> str | None:
        """The answer that a label in the data stands for, or None."""
        if label is None:
            return None
        for name, answer in self.answers.items():
            if label in (answer.labels or [name]):
                return name
        return None


class Wrapper(Strict):
    """A model's published prompt format around the template's text, control tokens included.

    Control tokens are read here and nowhere else: in templates and data they stay text.
    """

    head: str = Field("", description="What stands before the first block.")
    answer: str = Field(
        min_length=1,
        description="What stands between the block question and the answer, which follows it "
        "without a space.",
    )


class Events(Source):
    """A table of past events, where history does not come from the requests' own rows."""

    member: Ref
    item: Ref
    time: str
    action: Sql = Field(description="Expression whose value is the event's label.")
    context: list[str] = Field(default_factory=list)


class History(Strict):
    """Which past events of the member a prompt shows, and how."""

    events: Events | None = Field(
        None,
        description="Where events come from; the requests' own rows where left out.",
    )
    last: int = Field(20, ge=0, description="At most this many events, the latest ones.")
    as_: Literal["list", "turns"] = Field(
        "list",
        alias="as",
        description="A list of events, or turns of question and answer.",
    )
    question: str | None = Field(
        None, description="The question of the turns; the first where left out."
    )
    lag: Duration = Field(0.0, description="Only what was known this long before the request.")
    build: Literal["chronological", "round_robin", "similar"] = Field(
        "chronological",
        description="chronological: the latest; round_robin: in turn by action, for balance; "
        "similar: nearest in text to the query, the source or the member's fields. "
        "Shown oldest first, except similar: nearest last.",
    )
    at_most: dict[str, Annotated[int, Field(ge=0)]] = Field(
        default_factory=dict,
        description="Action -> at most this many, to thin out dominant labels.",
    )
    actions: list[str] = Field(default_factory=list, description="Only these actions, if given.")
    deduplicate: list[str] = Field(
        default_factory=list,
        description="Actions by priority: of several events with one item the first listed stays.",
    )
    pool: int = Field(200, gt=0, description="How many latest events a builder chooses from.")


class Statistic(Strict):
    """A number about an item or a member, or about both, always as of the moment it is used for."""

    of: Literal["item", "member"] = "item"
    mean: Sql | None = Field(None, description="Mean of this expression over past rows.")
    count: bool | Sql = Field(
        False, description="Number of past rows; or of those where this holds."
    )
    by: Sql | None = Field(
        None,
        description="With `of: member`: only the member's rows about items that share a value of "
        "this expression over the item table's columns; of a list, each value counts by its share. "
        "The number belongs to the candidate then: `stats.NAME`.",
    )
    above: str | None = Field(
        None,
        description="Name of another statistic. A row counts as what its `mean` had above that "
        "number at its time: how a member departs from what others say of the same items.",
    )
    bm25: list[str] | None = Field(
        None,
        min_length=1,
        description="Fields of the item table. No number from the log: BM25 of the query's text "
        "(or the source item's) against the candidate's, its words counted over that table.",
    )
    within: Duration | None = Field(None, description="Only rows of this last stretch of time.")
    prior: float = Field(
        0.0,
        ge=0,
        description="Pseudo-rows at the overall mean so far (with `by`: at the member's own mean), "
        "which steady small counts.",
    )
    percentile: bool = Field(
        False,
        description="Give the percentile (0-100) among all items or members so far instead.",
    )

    @model_validator(mode="after")
    def _one(self) -> "Statistic":
        if self.bm25 is not None:
            others = sorted(self.model_fields_set - {"bm25"})
            if others:
                raise ValueError(f"bm25 stands alone; leave out {', '.join(others)}")
            return self
        if (self.mean is None) == (self.count is False):
            raise ValueError("give exactly one of mean, count and bm25")
        if self.prior and self.mean is None:
            raise ValueError("prior goes with mean")
        if self.above is not None and self.mean is None:
            raise ValueError("above goes with mean")
        if self.by is not None:
            if self.of != "member" or self.mean is None:
                raise ValueError("by goes with of: member and mean")
            if self.percentile:
                raise ValueError("by and percentile exclude each other")
        return self

    @property
    def plain(self) -> bool:
        """Whether it is a mean of rows as they are, which another statistic may be above."""
        return self.mean is not None and not (self.above or self.by or self.percentile)

    @property
    def about(self) -> Literal["item", "member"]:
        """Whose number it is in a prompt: the candidate's (``stats``) or the member's."""
        return "item" if self.by is not None else self.of


class Budget(Strict):
    """How a prompt is kept within the model's context."""

    tokens: int | None = Field(
        None,
        gt=16,
        description="Longest prompt with its answer; the model's limit where left out.",
    )
    candidate: int = Field(
        256,
        gt=8,
        description="Reserve for one candidate with question and answer; fixed, so that no "
        "candidate changes what the others see.",
    )
    event: int | None = Field(
        None, gt=4, description="Longest event or turn; fields are shortened to it."
    )
    shorten: list[str] = Field(
        default_factory=list,
        description="Fields that may be shortened, first one first: item.description, member.bio.",
    )

    @field_validator("shorten")
    @classmethod
    def _paths(cls, value: list[str]) -> list[str]:
        for name in value:
            root, _, field = name.partition(".")
            if (
                root not in ("item", "member", "query", "source", "context")
                or not field
                or "." in field
            ):
                raise ValueError(
                    f"{name!r}: write item.X, member.X, query.X, source.X or context.X"
                )
        return value
