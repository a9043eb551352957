"""The Jinja environment of prompts: strict, without reach, and bounded in work and size.

Differences from a plain sandbox, each because of a failure seen:

* ``item.title`` looks up fields and nothing else, so fields named ``items`` or ``get`` work, and no
  method of a mapping can be reached;
* texts, finite numbers, truth values and times are printed; null, NaN, lists, methods and all else
  are refused, however they get there (`promptrank.prompt.printing`);
* all work and memory is paid for (`promptrank.prompt.metered`): an endless template ends;
* ``{{ self.item() }}`` becomes a slot, where the item's own fragment is spliced in as ids.
"""

from collections.abc import Iterable, Mapping
from datetime import date, time, timedelta
from itertools import islice
from typing import Any

from jinja2 import StrictUndefined
from jinja2.exceptions import SecurityError, TemplateRuntimeError
from jinja2.runtime import BlockReference, LoopContext, Macro
from jinja2.utils import Namespace

from promptrank.prompt.filters import all_filters
from promptrank.prompt.metered import MeteredEnvironment
from promptrank.prompt.metered_nodes import Unfolded
from promptrank.prompt.printing import MAX_TEXT, NotText, TooLong, text_of
from promptrank.prompt.short_code import ShortCode

_OF_TEXTS = (
    "upper lower title capitalize strip lstrip rstrip split startswith endswith removeprefix "
    "removesuffix isdigit isupper islower count find"
)
_OF_DATES = (
    "year month day hour minute second weekday isoweekday isoformat date days seconds total_seconds"
)
_STR_METHODS = frozenset(_OF_TEXTS.split())
_DATE_NAMES = frozenset(_OF_DATES.split())
_SHORT = 10**18  # whole numbers of no more digits are written without a further look
_RUNTIME = (LoopContext, Macro, BlockReference, Namespace)


class Absent(StrictUndefined):
    """What the request does not have: false in a condition, an error in any other use."""

    __slots__ = ()

    def __bool__(self) -> bool:  # type: ignore[override]
        return False


class Undefined(StrictUndefined):
    """An undefined name whose message says what there is instead."""

    __slots__ = ()

    @property
    def _undefined_message(self) -> str:
        obj = self._undefined_obj
        if not self._undefined_hint and isinstance(obj, Mapping):
            given = ", ".join(map(str, islice(obj, 20))) or "none"
            return f"no field {self._undefined_name!r}; fields: {given}"
        return super()._undefined_message


class PromptEnvironment(MeteredEnvironment):
    """See the module's docstring. Not for use by several threads at once: it counts."""

    code_generator_class: type[Unfolded] = ShortCode

    def __init__(self, **options: Any) -> None:
        super().__init__(all_filters(), undefined=Undefined, **options)
        self.globals = {k: self.globals[k] for k in ("range", "dict", "namespace")}
        self.tests["sameas"] = _same

    def printed(self, value: Any, name: str) -> str:
        """The value's text; `NotText` names the expression."""
        if type(value) is str:
            return value
        if type(value) is int and -_SHORT < value < _SHORT:
            return str(value)
        try:
            return text_of(value)
        except NotText as error:
            error.name = error.name or name
            raise

    def put_together(self, values: Iterable[Any], names: Iterable[str] = ()) -> str:
        """The texts of values one behind the other, paid for before they are joined."""
        texts = [self.printed(v, name) for v, name in zip(values, names, strict=True)]
        length = sum(map(len, texts))
        if length > MAX_TEXT:
            raise TooLong(f"a text of {length:,} characters; the limit is {MAX_TEXT:,}")
        self.pay(length)
        return "".join(texts)

    def getattr(self, obj: Any, attribute: str) -> Any:
        """Fields of a mapping; a few methods of texts and dates; what Jinja's own objects offer."""
        kind = type(obj)
        if kind is dict or isinstance(obj, Mapping):
            try:
                return obj[attribute]
            except KeyError:
                return self.undefined(obj=obj, name=attribute)
        if isinstance(obj, StrictUndefined):
            return obj._fail_with_undefined_error()
        if kind is str and attribute in _STR_METHODS:
            return getattr(obj, attribute)
        if isinstance(obj, date | time | timedelta) and attribute in _DATE_NAMES:
            return getattr(obj, attribute)
        if isinstance(obj, _RUNTIME) or kind.__name__ == "TemplateModule":
            return super().getattr(obj, attribute)
        return self.undefined(
            f"{attribute!r} of a {kind.__name__} cannot be used in a template",
            obj=obj,
            name=attribute,
            exc=SecurityError,
        )

    def getitem(self, obj: Any, argument: Any) -> Any:
        """An element, never an attribute."""
        if isinstance(obj, StrictUndefined):
            return obj._fail_with_undefined_error()
        if isinstance(obj, Mapping | list | tuple | str | range):
            if type(argument) is tuple:
                self.pay(self.weight(argument))  # its hash looks at all of it
            try:
                return obj[argument]
            except (TypeError, LookupError):
                pass
        return self.undefined(obj=obj, name=argument)


def _same(left: Any, right: Any) -> bool:
    """``is sameas``; equal texts and numbers are one object in some runs and two in others."""
    if not isinstance(right, bool) and right is not None:
        raise TemplateRuntimeError("is sameas: takes true, false and none; compare others with ==")
    return left is right
