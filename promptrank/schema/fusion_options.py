"""The fusion of a task: a layer over the decoder's log-odds and numbers, or a calibration."""

from typing import Literal

from pydantic import Field, field_validator, model_validator

from promptrank.schema.strict import Strict

Calibration = Literal["temperature", "platt", "isotonic"]
FusionKind = Literal["logistic", "temperature", "platt", "isotonic"]


class Fusion(Strict):
    """What `score: fused` is: the decoder's log-odds with declared numbers, or calibrated."""

    fields: list[str] = Field(
        default_factory=list,
        description="Numbers beside the decoder's: stats.X, context.X, item.X, member.X, query.X, "
        "source.X. True and false are 1 and 0; a missing one is the mean and an indicator.",
    )
    by: FusionKind = Field(
        "logistic",
        description="logistic: a layer over the decoder's log-odds and the fields; the others take "
        "no fields and calibrate: temperature and platt keep every rank, isotonic can make ties.",
    )
    score: str | None = Field(
        None,
        description="How questions combine where nothing is fused (gains, the decoder by itself); "
        "needed with several questions.",
    )
    file: str | None = Field(
        None,
        description="What `promptrank fuse` wrote; looked up by task and adapter where left out.",
    )

    @model_validator(mode="after")
    def _fields_or_calibration(self) -> "Fusion":
        if self.by == "logistic" and not self.fields:
            raise ValueError(
                "name numbers under fusion.fields; to calibrate the decoder alone, say by: "
                "temperature, platt or isotonic"
            )
        if self.by != "logistic" and self.fields:
            raise ValueError(f"by: {self.by} calibrates the decoder alone; leave fields out")
        return self

    @field_validator("fields")
    @classmethod
    def _paths(cls, value: list[str]) -> list[str]:
        roots = ("stats", "context", "item", "member", "query", "source")
        for name in value:
            root, _, field = name.partition(".")
            if root not in roots or not field or "." in field:
                raise ValueError(f"{name!r}: write {', '.join(f'{r}.X' for r in roots)}")
        if len(set(value)) != len(value):
            raise ValueError("the same field stands twice")
        return value
