"""The task: everything one YAML file says, checked as a whole."""

import re
from typing import Annotated, Any

from pydantic import Field, field_validator, model_validator

from promptrank.schema.data_tables import Impressions, Judgements, Outcomes, Ratings, Table
from promptrank.schema.expression import names_in
from promptrank.schema.fusion_options import Fusion
from promptrank.schema.metric_names import check_metrics
from promptrank.schema.parts import Budget, History, Question, Statistic, Wrapper
from promptrank.schema.question_columns import shared_columns
from promptrank.schema.references import refs_of
from promptrank.schema.splitting import Split
from promptrank.schema.strict import Ref, Sql, Strict

FUSED = "fused"
_NAME = re.compile(r"[a-z][a-z0-9_]*")
Name = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$")]


class Task(Strict):
    """A ranking task; one of ``ratings``, ``judgements``, ``requests`` says what to rank."""

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
        description="CSV file (or several), relative to the project, whose answers override labels "
        "wherever labels are read; `promptrank eval --doubts` writes one to fill in.",
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

    @model_validator(mode="after")
    def _whole(self) -> "Task":
        problems = [*self._shape(), *self._references(), *self._scores(), *self._columns()]
        if problems:
            # `parse_task` splits the lines again: pydantic has one error per validator.
            raise ValueError("\n".join(problems))
        return self

    def _shape(self) -> list[str]:
        problems = []
        given = [n for n in ("ratings", "judgements", "requests") if getattr(self, n) is not None]
        if len(given) != 1:
            names = " and ".join(given) or "none"
            problems.append(f"give exactly one of ratings, judgements and requests (found {names})")
        if self.wrapper is not None and self.chat:
            problems.append("wrapper: chat: true is the model's own wrapper; give one of the two")
        if self.wrapper is not None and self.history is not None and self.history.as_ == "turns":
            problems.append("wrapper: says nothing of turns; set history.as: list")
        if self.outcomes is not None and self.requests is None:
            problems.append("outcomes: goes with requests only")
        if self.requests is not None and self.outcomes is not None:
            if self.requests.candidate.label is not None:
                problems.append("requests.candidate.label: outcomes already says what happened")
            if self.outcomes.within is not None and self.requests.time is None:
                problems.append("outcomes.within: needs requests.time")
            if self.outcomes.within is not None and self.outcomes.time is None:
                problems.append("outcomes.within: needs outcomes.time")
        if self.ordered_only:
            if self.split is not None and self.split.by == "time":
                problems.append(
                    "split.by: the data has an order and no clock; split by last or subject"
                )
            if self.ratings is not None and self.ratings.group.session is not None:
                problems.append(
                    "ratings.group.session: the data has an order and no clock; use last"
                )
            if self.history is not None and self.history.lag:
                problems.append("history.lag: the data has an order and no clock")
            problems += [
                f"statistics.{n}.within: the data has an order and no clock"
                for n, s in self.statistics.items()
                if s.within is not None
            ]
        if self.clock is None:
            if self.split is not None and self.split.by in ("time", "last"):
                problems.append(f"split.by: {self.split.by} needs a time; split by subject or file")
            problems += [
                f"statistics.{n}: needs a time" for n, s in self.statistics.items() if not s.bm25
            ]
        if len(given) == 1:
            problems += [*self._held_out_files(), *self._held_out_fields()]
        return problems

    def _held_out_fields(self) -> list[str]:
        """Fields of a split that rows cannot be told by."""
        split = self.split
        if split is None or split.field is None:
            return []
        root = split.field.partition(".")[0]
        if root == "context":
            return []
        refs = {
            key.rpartition(".")[2]: ref for key, ref in self.refs().items() if "events" not in key
        }
        ref = refs.get(root)
        if ref is None or ref.table is None:
            what = f"there is no {root}" if ref is None else f"{root} names no table"
            return [f"split.field: {split.field}: {what}"]
        own_events = self.history is not None and self.history.events is not None
        if own_events and root not in ("item", "member"):
            return [
                f"split.field: {split.field}: history.events says nothing of it; take item.NAME"
            ]
        return []

    def _held_out_files(self) -> list[str]:
        """Files that a split names and the source does not read."""
        split, path = self.split, self.source.path
        if split is None or split.by != "file" or split.column:
            return []
        paths = [path] if isinstance(path, str) else list(path or ())
        known = ", ".join(map(repr, paths)) or "none, it is a query; name a column"
        return [
            f"split.{name}: {named!r} is none of {self.form}.path: {known}"
            for name, named in (("test", split.test), ("valid", split.valid))
            if named is not None and named not in paths
        ]

    def _references(self) -> list[str]:
        problems = []
        for where, ref in self.refs().items():
            if ref.table is not None and ref.table not in self.tables:
                known = ", ".join(self.tables) or "none"
                problems.append(f"{where}: no table {ref.table!r}; tables: {known}")
        if self.item_table is None:
            problems.append(f"{self._item_key()}: must name a table of items")
        history = self.history
        if history is not None:
            if not self.has_member:
                problems.append("history: needs a member")
            if history.events is None and self.judgements is not None:
                problems.append("history.events: judgements hold no history; say where events are")
            if history.as_ == "turns" and history.build == "similar":
                problems.append("history.build: similar picks turns by what came later; use a list")
            if history.question is not None and history.question not in self.questions:
                problems.append(f"history.question: no question {history.question!r}")
        for name, stat in self.statistics.items():
            if stat.of == "member" and not self.has_member:
                problems.append(f"statistics.{name}.of: there is no member")
            if stat.bm25 is not None:
                problems += [f"statistics.{name}.bm25: {why}" for why in self._unmatchable()]
            if stat.above is not None:
                below = self.statistics.get(stat.above)
                if below is None or not below.plain:
                    problems.append(
                        f"statistics.{name}.above: {stat.above!r} is no statistic that has a mean "
                        "and none of above, by and percentile"
                    )
        label = self.label
        if isinstance(label, dict):
            for name in label:
                if name not in self.questions:
                    problems.append(f"{self.form}.label.{name}: no such question")
        return problems

    def _unmatchable(self) -> list[str]:
        """Why no words can be matched with an item's."""
        roles = {where.rpartition(".")[2] for where in self.refs()}
        if not roles & {"query", "source"}:
            return ["needs a query or a source, whose words it looks for"]
        items = self.tables.get(self.item_table or "")
        if items is not None and items.valid_from is not None:
            return [
                f"tables.{self.item_table} has valid_from, and words are counted over the whole "
                "table; leave one of the two out"
            ]
        return []

    def _uncalibratable(self) -> list[str]:
        """A calibration's log-odds must order candidates as the decoder's score does."""
        if self.fusion is None or self.fusion.by == "logistic":
            return []
        question = next(iter(self.questions.values()))
        two = len(self.questions) == 1 and len(question.answers) == 2
        if two and question.score != "log_likelihood":
            return []
        return [
            f"fusion.by: {self.fusion.by} needs one question of two answers, scored as expected or "
            "log_odds; use fields, which go with any"
        ]

    def _scores(self) -> list[str]:
        if self.fused and self.fusion is None:
            return ["score: fused needs fusion.fields, the numbers beside the decoder's"]
        problems = self._uncalibratable()
        for field in self.fusion.fields if self.fusion is not None else ():
            root, _, name = field.partition(".")
            if root == "stats" and name not in self.statistics:
                known = ", ".join(self.statistics) or "none"
                problems.append(f"fusion.fields: no statistic {name!r}; statistics: {known}")
        where, expression = "score", self.score
        if self.fusion is not None and self.fused:
            where, expression = "fusion.score", self.fusion.score
        if expression is None:
            if len(self.questions) > 1:
                problems.append(
                    f"{where}: say how the questions combine, such as 0.8*apply + 0.2*view"
                )
            return problems
        try:
            used = names_in(expression)
        except ValueError as error:
            return [*problems, f"{where}: {error}"]
        unknown = sorted(used - set(self.questions))
        problems += [f"{where}: no question {n!r}" for n in unknown]
        kinds = {self.questions[n].score for n in used - set(unknown)}
        if len(kinds) > 1:
            names = ", ".join(sorted(kinds))
            problems.append(f"{where}: questions of different kinds do not mix ({names})")
        return problems

    def _columns(self) -> list[str]:
        answers = {name: question.answers for name, question in self.questions.items()}
        problems = [f"questions.{name}: {why}" for name, why in shared_columns(answers)]
        if FUSED in self.questions:
            why = f"score: {FUSED} means something else; rename it"
            problems.append(f"questions.{FUSED}: {why}")
        return problems

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

    def _item_key(self) -> str:
        return next(
            (k for k in self.refs() if k.endswith("item") and not k.startswith("history")),
            "item",
        )

    @property
    def item_table(self) -> str | None:
        """Name of the table that candidates are rows of."""
        ref = self.refs().get(self._item_key())
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
    def unfused(self) -> "Task":
        """The same task with the decoder's own score."""
        return self.model_copy(update={"score": self.score_expression}) if self.fused else self
