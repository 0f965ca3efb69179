"""The text of rules, read: ``id=150GHz* & (elevation>=median | ~source=moon)``."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable
from typing import Any

from ..errors import UsageError
from .conditions import ORDERS, Compares, ComparesWithMedian, Matches, Parity, When
from .instants import DAY, LATEST, instant_of, is_day
from .rules import DEEPEST, AllOf, AnyOf, Every, Not, Rule
from .words import FIELDS, MEDIAN, number_in, unquoted

_WORDS = re.compile(
    r"""\s*(?: (?P<quoted>"(?:[^"\\]|\\.)*") | (?P<sign><=|>=|!=|==|[=<>&|~()])
        | (?P<plain>[^\s&|~()"<>=!]+) )""",
    re.VERBOSE | re.DOTALL,
)
_EXPECTED = (
    "expected FIELD OP VALUE, or several joined by &, | and ~, such as id=150GHz*, "
    "date<2019-05-01, parity=odd, pwv<0.8 or elevation>=median"
)
_SHOWN = 200  # characters of a rule, in messages


def parse_rule(text: str) -> Rule:
    """The rule that a text says.

    ``all`` holds for every map. Else it is ``FIELD OP VALUE``, or several of them, joined by ``&``
    (and), ``|`` (or), ``~`` (not) and brackets. In this order they bind: ``~``, ``&``, ``|``.

    ========================  ====================================================================
    ``id=150GHz*``            Ids that match a pattern; so do source, observation and file
    ``date<2019-05-01``       observations that began before; also <=, >, >=; in UTC
    ``date=A..B``             from A on, and before B (either may lack); ``date=A``: on that day
    ``parity=odd``            every other observation in the order of time; ``even``: the others
    ``pwv<0.8``               by any column of the table of observations; also =, !=, <=, >, >=
    ``wafer=w2*``             … in which a text is a pattern
    ``elevation>=median``     … by its median over all observations; also <, <=, >
    ========================  ====================================================================

    What contains spaces or signs is put in quotation marks: ``"mean pwv"<0.8``. So is a column that
    has the name of a field, ``"date"=x``, and a text that looks like a number, ``wafer="25"``.

    Parameters
    ----------
    text : str

    Returns
    -------
    Rule
        Of which ``str()`` gives a text that means the same.

    Raises
    ------
    UsageError

    Examples
    --------
    >>> str(parse_rule("date=2019-03-01..2019-06-01&id=150GHz*"))
    'date>=2019-03-01 & date<2019-06-01 & id=150GHz*'
    """
    if not isinstance(text, str):
        raise UsageError(f"a rule is {text!r}; expected a text.")
    reader = _Reader(text)
    rule = reader.either()
    if reader.word:
        raise reader.error(f"{reader.word!r} is one too many")
    return rule


class _Reader:
    """Reads the words of a rule one after the other.

    Attributes
    ----------
    word : str
        The next one; empty at the end.
    """

    def __init__(self, text: str):
        self._text = text
        self._at = 0
        self._n_open = 0
        self.word = ""
        self._is_quoted = False
        self._next()

    def error(self, problem: str) -> UsageError:
        """The error for what stands here."""
        text = self._text if len(self._text) <= _SHOWN else f"{self._text[:_SHOWN]} ..."
        return UsageError(f"the rule {text!r} cannot be read: {problem}; {_EXPECTED}.")

    def either(self) -> Rule:
        """One or more rules of which any has to hold."""
        rules = [self._both()]
        while self._take("|"):
            rules.append(self._both())
        return self._made(AnyOf.of, rules)

    def _both(self) -> Rule:
        rules = [self._not()]
        while self._take("&"):
            rules.append(self._not())
        return self._made(AllOf.of, rules)

    def _not(self) -> Rule:
        is_not = False
        while self._take("~"):
            is_not = not is_not
        rule = self._in_brackets() if self._take("(") else self._condition()
        return self._made(operator.invert, rule) if is_not else rule

    def _in_brackets(self) -> Rule:
        self._n_open += 1
        if self._n_open > DEEPEST:
            raise self.error(f"more than {DEEPEST} brackets are open")
        rule = self.either()
        if not self._take(")"):
            raise self.error("a bracket is not closed")
        self._n_open -= 1
        return rule

    def _made(self, make: Callable[..., Rule], *parts: Any) -> Rule:
        try:
            return make(*parts)
        except UsageError as error:
            raise self.error(str(error).rstrip(".")) from None

    def _condition(self) -> Rule:
        field, is_column = self._value("a field")
        is_column = is_column or field not in FIELDS
        if field == "all" and not is_column:
            return Every()
        order = self.word
        if self._is_quoted or order not in (*ORDERS, "=", "==", "!="):
            raise self.error(f"{order!r} after {field!r} is no comparison")
        self._next()
        value, is_text = self._value(f"a value after {field}{order}")
        if is_column:
            return self._made(_of_column, field, order, value, is_text)
        return self._made(_OF_FIELD[field], field, order, value)

    def _value(self, what: str) -> tuple[str, bool]:
        """The next word, and whether it stands in quotation marks."""
        word, is_quoted = self.word, self._is_quoted
        if not word or (not is_quoted and word[0] in "=<>&|~()!"):
            raise self.error(f"{what} is missing")
        self._next()
        return (unquoted(word) if is_quoted else word), is_quoted

    def _take(self, sign: str) -> bool:
        if self.word != sign or self._is_quoted:
            return False
        self._next()
        return True

    def _next(self) -> None:
        found = _WORDS.match(self._text, self._at)
        if found is None:
            if rest := self._text[self._at :].strip():
                raise self.error(f"{rest[:_SHOWN]!r} is no word")
            self.word, self._is_quoted = "", False
            return
        self._at = found.end()
        self._is_quoted = found["quoted"] is not None
        self.word = found["quoted"] or found["sign"] or found["plain"]


def _of_column(column: str, order: str, value: str, is_text: bool) -> Rule:
    number = None if is_text else number_in(value)
    if order in ("=", "==", "!="):
        if value == MEDIAN and not is_text:
            raise UsageError(f"compare with the median by >= or <, not by {order}")
        found = Compares(column, "=", value if number is None else number)
        return Not(found) if order == "!=" else found
    if value == MEDIAN and not is_text:
        return ComparesWithMedian(column, order)
    return Compares(column, order, value if number is None else number)


def _matches(field: str, order: str, value: str) -> Rule:
    if order not in ("=", "==", "!="):
        raise UsageError(f"{field} is compared by = or !=, not by {order}")
    found = Matches(field, value)
    return Not(found) if order == "!=" else found


def _date(field: str, order: str, value: str) -> Rule:
    if order in ORDERS:
        return When(order, instant_of(value))
    if order == "!=":
        raise UsageError("date is compared by =, <, <=, > or >=, not by !=")
    start, dots, stop = value.partition("..")
    if not dots and not is_day(value):
        raise UsageError(f"date={value} is no range; say date=START..STOP")
    if dots and not (start and stop):  # open to one side
        return When(">=", instant_of(start)) if start else When("<", instant_of(stop))
    first = instant_of(start)
    last = instant_of(stop) if dots else first + DAY
    if last > LATEST:
        raise UsageError(f"no day comes after {value}: say date>={value}")
    if last <= first:
        raise UsageError(f"the range {value} is empty")
    return AllOf((When(">=", first), When("<", last)))


def _parity(field: str, order: str, value: str) -> Rule:
    if order not in ("=", "==") or value not in ("odd", "even"):
        raise UsageError(f"parity{order}{value} is neither parity=odd nor parity=even")
    return Parity(value == "odd")


_OF_FIELD: dict[str, Callable[[str, str, str], Rule]] = {
    **dict.fromkeys(("id", "source", "observation", "file"), _matches),
    "date": _date,
    "parity": _parity,
}
