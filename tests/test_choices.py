"""One list of choices for types, checks and the command line."""

import argparse
import inspect
import typing

import pytest

import g3reduce
from g3reduce import choices, strategies
from g3reduce.choices import choices_of
from g3reduce.cli import coadd, stitch
from g3reduce.mpi import OneProcess

# The arguments that offer choices, and which.
KINDS = {
    "strategy": choices.ReadyStrategy,
    "result": choices.Result,
    "on_duplicate": choices.OnDuplicate,
    "same_observation": choices.SameObservation,
    "nonfinite": choices.Nonfinite,
    "schedule": choices.Schedule,
    "gaps": choices.Gaps,
    "missing": choices.Missing,
    "overlap": choices.Overlap,
    "distribution": choices.Distribution,
}
CALLS = {
    "MPIMapCoadder": lambda **options: g3reduce.MPIMapCoadder(OneProcess(), **options),
    "MPIReducer": lambda **options: g3reduce.MPIReducer(
        g3reduce.reductions.count("T"), OneProcess(), **options
    ),
    "MPIAccumulator": lambda **options: g3reduce.MPIAccumulator(OneProcess(), **options),
    "MPIFileReader": lambda **options: g3reduce.MPIFileReader(OneProcess(), [], **options),
    "stitch": lambda **options: g3reduce.stitch(ended(), **options),
}
OFFERED = [
    (name, argument)
    for name in CALLS
    for argument in inspect.signature(getattr(g3reduce, name)).parameters
    if argument in KINDS
]


def ended():
    accumulator = g3reduce.MPIAccumulator(OneProcess())
    accumulator.finish()
    return accumulator


@pytest.mark.parametrize(("name", "argument"), OFFERED)
def test_all_choices_of_a_type_are_taken_and_others_refused_with_their_list(name, argument):
    for choice in choices_of(KINDS[argument]):
        CALLS[name](**{argument: choice})
    listed = ", ".join(choices_of(KINDS[argument]))
    for other in ("other", None, ["auto"], 1):
        with pytest.raises(g3reduce.UsageError, match=f"{argument} is .* expected one of {listed}"):
            CALLS[name](**{argument: other})


@pytest.mark.parametrize(("name", "argument"), OFFERED)
def test_signatures_and_docstrings_offer_the_same(name, argument):
    thing = getattr(g3reduce, name)
    function = thing.__init__ if isinstance(thing, type) else thing
    annotation = function.__annotations__[argument]
    names = [kind for kind in vars(choices) if getattr(choices, kind) is KINDS[argument]]
    assert annotation.split(" | ")[0] in names
    text = inspect.getdoc(thing).split(f"\n{argument} : {{")[1].split("}")[0]
    assert tuple(word.strip(' "\n') for word in text.split(",")) == choices_of(KINDS[argument])


@pytest.mark.parametrize("command", [coadd, stitch], ids=["coadd", "stitch"])
def test_the_command_line_offers_the_same(command):
    parser = argparse.ArgumentParser()
    command.add_parser(parser.add_subparsers())
    (subparsers,) = (a for a in parser._actions if isinstance(a, argparse._SubParsersAction))
    (subparser,) = subparsers.choices.values()
    kinds = KINDS | {
        "pol_conv": choices.PolConv,
        "on_duplicate": choices.OnDuplicateFile,
    }
    kinds |= {"input_pol_conv": choices.PolConv, "input_coord": choices.InputCoord}
    kinds |= {"bundle_by": choices.BundleBy}
    kinds |= {"fits_units": choices.FitsUnits, "fits_style": choices.FitsStyle}
    if command is coadd:  # it sees all files before any is added, and its result is a file
        kinds |= {"on_duplicate": choices.OnDuplicateFile, "result": choices.WrittenResult}
    found = {action.dest: action.choices for action in subparser._actions if action.choices}
    assert found
    for name, offered in found.items():
        assert tuple(offered) == choices_of(kinds[name])


def test_the_strategies_of_the_library_have_a_type():
    named = {name for result in choices_of(choices.Result) for name in strategies.names(result)}
    assert {"auto", *named} - {"chain"} >= set(choices_of(choices.ReadyStrategy))
    assert typing.get_origin(choices.ReadyStrategy) is typing.Literal
