"""How tests on ranks go through what a reduction can be asked for."""

from g3reduce import strategies
from g3reduce.choices import Result, choices_of

RANKS = (1, 2, 3, 5)
SCHEDULES = ("dynamic", "static")
MEMORY = ("messages", "direct", "two per node")  # for the fixture `ways_of_memory`

# Each strategy, and the library's own choice, with each place for its result.
WAYS = tuple(
    (strategy, result)
    for result in choices_of(Result)
    for strategy in ("auto", *strategies.names(result))
)
