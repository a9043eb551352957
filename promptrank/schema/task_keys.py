"""The keys of a task file, and what follows from them."""

from typing import Annotated, Any, Self

from pydantic import Field, field_validator

from promptrank.schema.data_tables import Impressions, Judgements, Outcomes, Ratings, Table
from promptrank.schema.fusion_options import Fusion
from promptrank.schema.metric_names import check_metrics
from promptrank.schema.parts import Budget, History, Question, Statistic, Wrapper
from promptrank.schema.policy_steps import PolicyStep
from promptrank.schema.references import refs_of
from promptrank.schema.splitting import Split
from promptrank.schema.strict import Ref, Sql, Strict

FUSED = "fused"
Name = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$")]


class TaskKeys(Strict):
    """The keys, each checked by itself."""

    domain: Name = Field(description="Tasks of a domain share an adapter by default.")
    description: str = ""
    template: str = Field(
        description="Template, looked up in templates/ of the project, then built in."
    )
    model: str = Field("smollm2-135m-instruct", description="Name or path of the decoder.")
    chat: bool = Field(False, description="Wrap prompts in the model's own chat template.")
    wrapper: Wrapper | None = Field(
        None, description="The same written out, for models with a prompt format of their own."
    )
    data: str = Field(".", description="Folder of the tables: a path, or the name of a data set.")
    vars: dict[str, Any] = Field(
        default_factory=dict, description="Constants for templates: vars.X."
    )

    tables: dict[Name, Table] = Field(default_factory=dict)
    ratings: Ratings | None = None
    judgements: Judgements | None = None
    requests: Impressions | None = None
    outcomes: Outcomes | None = None
    corrections: str | list[str] | None = Field(
        None,
        description="File (or several), relative to the project, whose answers override labels "
        "wherever labels are read: a CSV file, such as `promptrank eval --doubts` writes to fill "
        "in, or the workbench's judgements (`.jsonl`).",
    )

    history: History | None = None
    statistics: dict[Name, Statistic] = Field(default_factory=dict)
    questions: dict[Name, Question] = Field(min_length=1)
    score: str | None = Field(
        None,
        description="How questions combine: 0.8*apply + 0.2*view; the only question by itself; or "
        "`fused`, which needs `fusion`.",
    )
    fusion: Fusion | None = None
    steps: list[PolicyStep] | None = Field(
        None,
        max_length=50,
        description="Policy steps, which change the ranking one after another; see "
        "docs/reference/policy.md.",
    )
    budget: Budget = Field(default_factory=Budget)
    split: Split | None = None
    metrics: list[str] = Field(
        default_factory=lambda: ["auc", "gauc", "ndcg@10", "mrr", "log_loss", "ece"]
    )

    @field_validator("metrics")
    @classmethod
    def _metrics(cls, value: list[str]) -> list[str]:
        check_metrics(value)
        return value

    @property
    def form(self) -> str:
        """Which of the three shapes this task has: ``ratings``, ``judgements`` or ``requests``."""
        return next(
            n for n in ("ratings", "judgements", "requests") if getattr(self, n) is not None
        )

    @property
    def source(self) -> Ratings | Judgements | Impressions:
        """The part of the file that says what to rank."""
        source = self.ratings or self.judgements or self.requests
        assert source is not None, "checked on construction"
        return source

    @property
    def label(self) -> Sql | dict[str, Sql] | None:
        """The label expression, or one per question."""
        source = self.source
        return source.candidate.label if isinstance(source, Impressions) else source.label

    @property
    def clock(self) -> str | None:
        """The column that orders requests in time, or None."""
        if self.ratings is not None:
            return self.ratings.time or self.ratings.order
        if self.judgements is not None:
            return self.judgements.time
        return self.requests.time if self.requests is not None else None

    @property
    def ordered_only(self) -> bool:
        """True where the only clock is an order: ages and gaps mean nothing then."""
        return self.ratings is not None and self.ratings.order is not None

    @property
    def has_member(self) -> bool:
        """True where requests have a member."""
        return "member" in {
            k.rpartition(".")[2] for k in self.refs() if not k.startswith("history")
        }

    def refs(self) -> dict[str, Ref]:
        """Every reference to rows, by its place in the file, tables resolved."""
        source = self.ratings or self.judgements or self.requests
        return refs_of(source, self.history, self.tables)

    @property
    def item_key(self) -> str:
        """Where the file says which rows candidates are."""
        return next(
            (k for k in self.refs() if k.endswith("item") and not k.startswith("history")),
            "item",
        )

    @property
    def item_table(self) -> str | None:
        """Name of the table that candidates are rows of."""
        ref = self.refs().get(self.item_key)
        return ref.table if ref is not None else None

    @property
    def score_expression(self) -> str:
        """How the questions' scores combine into one, before anything is fused."""
        own = self.fusion.score if self.fused and self.fusion is not None else self.score
        return own if own is not None else next(iter(self.questions))

    @property
    def fused(self) -> bool:
        """True where a fitted layer over the decoder's log-odds and numbers makes the score."""
        return self.score == FUSED

    @property
    def without_steps(self) -> Self:
        """The same task without policy steps; its digest is that of a task that never had some."""
        return self.model_copy(update={"steps": None}) if self.steps is not None else self

    @property
    def unfused(self) -> Self:
        """The same task with the decoder's own score."""
        return self.model_copy(update={"score": self.score_expression}) if self.fused else self
