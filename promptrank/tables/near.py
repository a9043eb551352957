"""How near in text past events are to a subject: TF-IDF weighted words, cosine."""

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

from promptrank.requests.items import ItemTable
from promptrank.tables.build_plan import Plan
from promptrank.tables.history import Nearness, Past
from promptrank.tables.walk import column

if TYPE_CHECKING:
    from promptrank.tables.choose import Chooser


def text_of_fields(fields: Mapping[str, Any] | None) -> str:
    """All text among the fields, in their order."""
    return "\n".join(v for v in (fields or {}).values() if isinstance(v, str))


def nearness_to(text: str, texts: Sequence[str], vectors: Any) -> list[float]:
    """Cosine of ``text`` with each of ``texts``; rare words weigh more.

    How rare a word is, is counted among ``texts`` alone, so nothing outside of them matters.
    """
    from scipy import sparse

    rows = sparse.vstack([vectors(t) for t in texts], format="csr")
    seen = np.bincount(rows.indices, minlength=rows.shape[1])
    weight = np.log((1 + len(texts)) / (1 + seen)) + 1
    subject = vectors(text).multiply(weight)
    rows = rows.multiply(weight).tocsr()
    lengths = np.sqrt(rows.multiply(rows).sum(axis=1)).A1 * np.sqrt(subject.multiply(subject).sum())
    products = np.asarray((rows @ subject.tocsr().T).todense()).ravel()
    cosines: list[float] = (
        np.divide(products, lengths, out=np.zeros(len(texts)), where=lengths > 0).round(12).tolist()
    )
    return cosines


def nearness_of(
    plan: Plan,
    subjects: Mapping[str, Sequence[Mapping[str, Any] | None]],
    items: ItemTable,
    chooser: "Chooser",
) -> list[Nearness] | None:
    """For each request its nearness; None unless the history is built by it.

    The subject's words are those of the query, else of the source item, else of the member.
    """
    if plan.task.history is None or plan.task.history.build != "similar":
        return None
    role = next((r for r in ("query", "source", "member") if r in subjects), None)
    if role is None:
        return None
    vectors = _vectorizer()

    def words(past: Past) -> str:
        row = column(chooser.table, "item_row")[past.at].as_py()
        return text_of_fields(items.row(row).fields)

    def made(fields: Mapping[str, Any] | None) -> Nearness:
        text = text_of_fields(fields)
        return lambda pasts: nearness_to(text, [words(p) for p in pasts], vectors)

    return [made(fields) for fields in subjects[role]]


def _vectorizer() -> Any:
    from sklearn.feature_extraction.text import HashingVectorizer

    hashing = HashingVectorizer(n_features=2**18, alternate_sign=False, norm=None)
    return lru_cache(maxsize=65536)(lambda text: hashing.transform([text]))
