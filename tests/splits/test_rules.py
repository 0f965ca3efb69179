"""Rules: which maps they hold for, and their texts."""

from __future__ import annotations

import functools
import operator
import re

import pytest
from choices import ALL
from hypothesis import given, settings
from hypothesis import strategies as st

from g3reduce import InputError, UsageError
from g3reduce.splits import MapFacts, above_median, column, date, parity, parse_rule, source
from g3reduce.splits import conditions as made_of
from g3reduce.splits.instants import LATEST, date_of, instant_of
from g3reduce.splits.overview import Overview
from g3reduce.splits.rules import DEEPEST, Every

# Texts

NAMES = st.text(min_size=1, max_size=6)
ORDERS = st.sampled_from(sorted(made_of.ORDERS))
NUMBERS = st.floats(allow_nan=False, allow_infinity=False)
INSTANTS = st.one_of(
    st.integers(-(10**15), 4 * 10**15).map(lambda microseconds: microseconds / 1e6),
    st.floats(instant_of("0001-01-01"), LATEST),
)
CONDITIONS = st.one_of(
    st.just(Every()),
    st.builds(made_of.Matches, st.sampled_from(["id", "source", "observation", "file"]), st.text()),
    st.builds(made_of.When, ORDERS, INSTANTS.map(lambda instant: instant_of(date_of(instant)))),
    st.builds(made_of.Parity, st.booleans()),
    st.builds(made_of.Compares, NAMES, ORDERS | st.just("="), NUMBERS | st.text()),
    st.builds(made_of.ComparesWithMedian, NAMES, ORDERS),
)
RULES = st.recursive(
    CONDITIONS,
    lambda rules: st.one_of(
        st.builds(operator.and_, rules, rules),
        st.builds(operator.or_, rules, rules),
        st.builds(operator.invert, rules),
    ),
    max_leaves=6,
)


@settings(max_examples=200 if ALL else 15)
@given(RULES)
def test_the_text_of_a_rule_is_read_as_the_same_rule(rule):
    assert parse_rule(str(rule)) == rule


@settings(max_examples=200 if ALL else 15)
@given(INSTANTS)
def test_the_text_of_an_instant_is_read_as_the_same_instant(instant):
    assert instant_of(date_of(instant)) == pytest.approx(instant, abs=1e-6)
    assert date_of(instant_of(date_of(instant))) == date_of(instant)


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ("all", "all"),
        (" id = 150GHz* ", "id=150GHz*"),
        ("id=90*|id=150* & ~source=moon", "id=90* | id=150* & ~source=moon"),
        ("(id=90*|id=150*) & source!=moon", "(id=90* | id=150*) & ~source=moon"),
        ("date=2019-03-01..2019-06-01T12:30", "date>=2019-03-01 & date<2019-06-01T12:30:00"),
        ("date=2019-03-01..", "date>=2019-03-01"),
        ("date=..2019-03-01", "date<2019-03-01"),
        ("date=2019-03-01", "date>=2019-03-01 & date<2019-03-02"),
        ("date<2019-05-01T02:00:00+02:00", "date<2019-05-01"),
        ("date>=2019-05-01T00:00:00.123456789", "date>=2019-05-01T00:00:00.123456"),
        ("date>=2019-05-01T00:00:00.25Z", "date>=2019-05-01T00:00:00.250000"),
        ("pwv < .8", "pwv<0.8"),
        ("wafer==w25", "wafer=w25"),
        ('wafer="25" & n=25.0', 'wafer="25" & n=25'),
        ('"mean pwv">1e3', '"mean pwv">1000'),
        ('"date"=x', '"date"=x'),
        ("elevation>=median", "elevation>=median"),
        ('name="median"', 'name="median"'),
        ("parity=odd", "parity=odd"),
        ("~~id=90GHz", "id=90GHz"),
        ("~ ~ ~(id=90GHz)", "~id=90GHz"),
        ("id=a & (id=b & id=c) | (id=d | id=e)", "id=a & id=b & id=c | id=d | id=e"),
        ("date>=0001-01-01", "date>=0001-01-01"),
        ("date<9999-12-31T23:59:59", "date<9999-12-31T23:59:59"),
        ("date=9999-12-30", "date>=9999-12-30 & date<9999-12-31"),
    ],
)
def test_texts_that_users_write(text, canonical):
    assert str(parse_rule(text)) == canonical


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "a field is missing"),
        ("id", "'' after 'id' is no comparison"),
        ("id=", "a value after id= is missing"),
        ("id<150GHz", "id is compared by = or !=, not by <"),
        ("id=90GHz id=150GHz", "'id' is one too many"),
        ("(id=90GHz", "a bracket is not closed"),
        ("id=90GHz)", "')' is one too many"),
        ("id=90GHz &", "a field is missing"),
        ("date=2019-13-01..2020-01-01", "'2019-13-01' is no date"),
        ("date<20190501", "'20190501' is no date"),
        ("date=2019-05-01T12:00", "is no range"),
        ("date=2019-06-01..2019-05-01", "is empty"),
        ("date=..", "'' is no date"),
        ("date!=2019-06-01", "not by !="),
        ("date=9999-12-31", "no day comes after 9999-12-31: say date>=9999-12-31"),
        ("date<0001-01-01T00:00+01:00", "is out of the range of dates"),
        ("date<9999-12-31T23:30-01:00", "is out of the range of dates"),
        ("parity=1", "neither parity=odd nor parity=even"),
        ("pwv=median", "compare with the median by >= or <"),
        ('"pwv<0.8', "'\"pwv<0.8' is no word"),
        (7, "expected a text"),
    ],
)
def test_what_is_no_rule_says_why(text, problem):
    with pytest.raises(UsageError, match=re.escape(problem)):
        parse_rule(text)


@pytest.mark.parametrize("sign", ["&", "|"])
def test_any_number_of_rules_stand_side_by_side(sign):
    text = f" {sign} ".join(f"id={number}" for number in range(3000))
    rule = parse_rule(text)
    assert str(rule) == text
    assert rule.holds(facts(map_id="2999")) == (sign == "|")
    join = {"&": operator.and_, "|": operator.or_}[sign]
    assert functools.reduce(join, map(parse_rule, text.split(f" {sign} "))) == rule
    assert parse_rule(f"{'~' * 3001}({text})") == ~rule


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("(" * 10**5 + "id=a" + ")" * 10**5, f"more than {DEEPEST} brackets are open"),
        ("(" * 10**5, f"more than {DEEPEST} brackets are open"),
        ("~(id=a & " * 80 + "id=b" + ")" * 80, f"rules are nested more than {DEEPEST} deep"),
    ],
)
def test_rules_that_are_nested_too_deep_are_refused(text, problem):
    with pytest.raises(UsageError, match=problem) as error:
        parse_rule(text)
    assert len(str(error.value)) < 600


def test_rules_as_deep_as_may_be_are_read_again():
    rule = parse_rule("id=a")
    for number in range(DEEPEST):
        rule = rule | parse_rule("id=b") if number % 2 else rule & parse_rule("id=c")
    assert parse_rule(str(rule)) == rule
    assert rule.holds(facts(map_id="b"))
    with pytest.raises(UsageError, match="write them side by side"):
        rule & parse_rule("id=a")


# What they hold for


def facts(number=0, **known):
    known = {"map_id": "150GHz", "source": "field", "observation": f"field/{number}", **known}
    return MapFacts(f"obs/obs_{number}.g3", 1, **known)


ONE = facts(7, time=instant_of("2019-05-01T12:00"), columns={"pwv": 0.7, "wafer": "w25", "n": 25})


@pytest.mark.parametrize(
    ("text", "holds"),
    [
        ("all", True),
        ("id=150*", True),
        ("id=150ghz", False),
        ("id=150", False),
        ("source=f*d", True),
        ("observation=7", True),
        ("observation=field/7", True),
        ("observation=field", False),
        ("file=obs_?.g3", True),
        ("file=obs/*", True),
        ("file=*.fits", False),
        ("date=2019-05-01", True),
        ("date<2019-05-01T12:00", False),
        ("date<=2019-05-01T12:00", True),
        ("date>2019-05-01T12:00", False),
        ("date=2019-05-01T12:00..2019-05-02", True),
        ("date=2019-04-01..2019-05-01T12:00", False),
        ("pwv<0.8", True),
        ("pwv>=0.7", True),
        ("pwv>0.7", False),
        ("n=25", True),
        ("n!=25", False),
        ("wafer=w2*", True),
        ("wafer!=w25", False),
        ("wafer>w24", True),
        ("~(wafer=w25 & pwv<0.5) & (id=90GHz | all)", True),
        ("id=90GHz & nothing=1", False),  # the column is not asked for
    ],
)
def test_rules_hold(text, holds):
    assert parse_rule(text).holds(ONE) is holds


@pytest.mark.parametrize(
    ("rule", "one", "problem"),
    [
        (date(stop="2019-05-01"), facts(), "it is not known when it was observed"),
        (source("x"), facts(observation="", source=""), "its observation is not known"),
        (column("pwv", "<", 1), facts(), "there is no table of observations"),
        (column("pwv", "<", 1), facts(columns={"pwv": None}), "no value of 'pwv'"),
        (column("pwv", "<", 1), facts(columns={"pwv": float("nan")}), "no value of 'pwv'"),
        (column("pwv", "<", 1), facts(columns={"pwv": "low"}), "one is a number, the other a text"),
        (column("wafer", "=", "25"), facts(columns={"wafer": 25}), "in quotation marks"),
        (column("pwv", "<", 1), facts(columns={"pwv": [1]}), "is a list"),
    ],
)
def test_what_is_not_known_is_an_error_that_names_the_map(rule, one, problem):
    with pytest.raises(InputError, match=problem) as raised:
        rule.holds(one)
    assert "obs/obs_0.g3, frame 1 (Id '150GHz')" in str(raised.value)


def holding(rule, inputs):
    overview = Overview(inputs)
    return [number for number, one in enumerate(inputs) if rule.holds(one, overview)]


def test_parity_is_of_the_place_in_time():
    inputs = [facts(number, time=-float(number)) for number in (3, 1, 2, 10)]
    assert holding(parity("even"), inputs) == [2, 3]  # 10, 3, 2, 1
    assert Overview(inputs).in_order_of == "time"


def test_parity_without_times_is_of_names_whose_numbers_count():
    inputs = [facts(number) for number in (3, 1, 2, 10) for _ in range(2)]
    assert holding(parity("even"), inputs) == [0, 1, 2, 3]  # of 3 and 1, two maps each
    assert Overview(inputs).in_order_of == "name"


def test_parity_of_times_of_which_some_are_not_known_is_an_error():
    with pytest.raises(InputError, match=r"obs_1.g3.* not known when it was observed"):
        holding(parity("odd"), [facts(0, time=1.0), facts(1)])


def test_the_median_is_over_observations_not_over_maps():
    values = {0: 50.0, 1: 60.0, 2: 70.0, 3: 80.0}
    inputs = [facts(number, columns={"el": value}) for number, value in values.items()]
    inputs += [inputs[0]] * 5
    assert holding(above_median("el"), inputs) == [2, 3]
    assert holding(~above_median("el"), inputs) == [0, 1, 4, 5, 6, 7, 8]
    inputs.append(facts(4, columns={"el": 70.0}))  # now the median itself is there
    assert holding(above_median("el"), inputs) == [2, 3, 9]


def test_a_rule_that_needs_all_maps_says_so():
    with pytest.raises(UsageError, match="only once all maps are known"):
        parity("odd").holds(ONE)


@pytest.mark.parametrize(
    ("text", "about"),
    [
        ("id=150* & date<2019-05-01", "date<2019-05-01"),
        ("id=150* & file=x", "all"),
        ("id=150* | date<2019-05-01", "all"),
        ("~(id=150* & date<2019-05-01)", "all"),
        ("parity=odd & id=90* & ~source=moon", "parity=odd & ~source=moon"),
    ],
)
def test_the_part_of_a_rule_that_is_about_observations(text, about):
    assert str(parse_rule(text).about_observations()) == about
