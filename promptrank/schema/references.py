"""Where a task refers to rows of its tables."""

from collections.abc import Mapping

from promptrank.schema.data_tables import Impressions, Judgements, Ratings, Table
from promptrank.schema.parts import History
from promptrank.schema.strict import Ref


def refs_of(
    source: Ratings | Judgements | Impressions | None,
    history: History | None,
    tables: Mapping[str, Table],
) -> dict[str, Ref]:
    """Every reference to rows, by its place in the file, tables resolved."""
    refs: dict[str, Ref | None] = {}
    if isinstance(source, Ratings):
        refs = {
            "ratings.member": source.member,
            "ratings.item": source.item,
        }
    elif isinstance(source, Judgements):
        refs = {
            "judgements.query": source.query,
            "judgements.source": source.source,
            "judgements.item": source.item,
        }
    elif source is not None:
        s = source.subject
        refs = {
            "requests.subject.member": s.member,
            "requests.subject.query": s.query,
            "requests.subject.source": s.source,
            "requests.candidate.item": source.candidate.item,
        }
    if history is not None and history.events is not None:
        refs["history.events.member"] = history.events.member
        refs["history.events.item"] = history.events.item
    return {where: _resolve(ref, tables) for where, ref in refs.items() if ref is not None}


def _resolve(ref: Ref, tables: Mapping[str, Table]) -> Ref:
    if ref.table is None and ref.column is not None and ref.column in tables:
        return Ref(table=ref.column, column=tables[ref.column].key)
    if ref.table is not None and ref.column is None and ref.table in tables:
        return Ref(table=ref.table, column=tables[ref.table].key)
    return ref
