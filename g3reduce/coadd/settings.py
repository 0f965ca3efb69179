"""The arguments of a coadder, checked, and the same on all ranks."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from ..arrays.exactness import Exactness
from ..choices import Result, SameObservation
from ..errors import UsageError, require_choice
from ..g3files.maps import MAP_KEYS
from ..maps import mapframe
from ..maps.assumed import Assumed
from ..maps.finite import check_nonfinite
from ..mpi import communicators
from ..mpi.agreement import agreed_arguments, rank_of
from ..pipeline.arguments import check_flags
from ..pipeline.ledger import check_on_duplicate
from ..spt3gtypes import Frame
from ..strategies.nodes import check_environment
from ..strategies.registry import check_strategy
from .membership import Assign, Membership, as_list_of_ids


class Settings(NamedTuple):
    """The settings of a coadder: which frames it sums, how, and where the result goes.

    Attributes
    ----------
    members : Membership
        Which coadds a frame belongs to.
    weighted, ignore_missing_weights, record_obs_id, metadata_lasts, strategy, result, root, \
nonfinite
        As in `MPIMapCoadder`.
    once : bool
        Whether a frame that comes a second time is refused.
    same_observation : str
        As in `MPIMapCoadder`.
    pol_conv : spt3g.maps.MapPolConv or None
    exactness : Exactness or None
        Of sums that do not depend on the order; None for plain sums.
    keep_exact : bool
        Whether the coadds are to have their exact sums beside the maps.
    assumed : Assumed
        What holds of input whose headers are silent.
    """

    members: Membership
    weighted: bool
    ignore_missing_weights: bool
    record_obs_id: bool
    metadata_lasts: bool
    strategy: str
    result: Result
    root: int
    nonfinite: str
    once: bool
    same_observation: str
    pol_conv: Any
    exactness: Exactness | None
    keep_exact: bool
    assumed: Assumed = Assumed()

    def of_sums(self) -> dict[str, Any]:
        """The settings that change what is in a sum, as JSON can hold them.

        Functions stand here by their names only.
        """
        members = self.members
        options = self._asdict()
        options |= {one.name: getattr(members, one.name) for one in dataclasses.fields(members)}
        options["assign"] = members.text or members.assign
        options["reproducible"] = self.exactness is not None
        options["absmax"] = self.exactness and self.exactness.bounds
        options["on_duplicate"] = "error" if self.once else "sum"
        said = self.assumed[:3]
        options["assumed"] = list(said) if any(said) else None
        kept = {name: value for name, value in options.items() if name not in _NOT_OF_SUMS}
        return {name: _plain(value) for name, value in kept.items()}


# How sums are joined, and where; what was met; and what is said in the words of arguments.
_NOT_OF_SUMS = {
    *("strategy", "result", "root", "mixed", "members", "once", "same_observation", "exactness"),
    *("plan", "text", "flips_at_once", "records"),
}


def _plain(value: Any) -> Any:
    if callable(value) and hasattr(value, "__qualname__"):
        return f"{value.__module__}.{value.__qualname__}"
    return json.loads(json.dumps(value, default=str))


class Terms(NamedTuple):
    """The arguments of a coadd that decide which frames are added, and whether they can be.

    Attributes
    ----------
    members : Membership
        Which coadds a frame belongs to.
    get_map_id : callable
        Returns the Id under which a frame counts.
    weighted, pol_conv, nonfinite, ignore_missing_weights
        As in `MPIMapCoadder`.
    assumed : Assumed
        What holds of input whose headers are silent.
    """

    members: Membership
    get_map_id: Callable[[Frame], Any]
    weighted: bool
    pol_conv: Any
    nonfinite: str
    ignore_missing_weights: bool
    assumed: Assumed = Assumed()


def agreed_settings(
    comm: communicators.Comm,
    check: Callable[[], None],
    *,
    map_ids: str | Sequence[str] | None,
    output_map_id: str,
    collate: bool,
    assign: Assign | None,
    strategy: str,
    result: Result,
    root: int,
    on_duplicate: str,
    same_observation: str,
    pol_conv: Any,
    absmax: float | Mapping[str, float] | None,
    nonfinite: str,
    **flags: bool,
) -> Settings:
    """Check the arguments of `MPIMapCoadder`, and that they are the same on all ranks.

    Collective over `comm`.

    Parameters
    ----------
    comm : communicator
    check : callable
        Raises what there is against other arguments on this rank.
    map_ids, output_map_id, collate, assign, strategy, result, root, on_duplicate, \
same_observation, pol_conv, absmax, nonfinite, flags
        As in `MPIMapCoadder`.

    Raises
    ------
    UsageError
        On all ranks (on some of them `RemoteError`), if an argument cannot be used or differs.
    """
    flags = {"collate": collate, **flags}

    def checked() -> tuple[Settings, dict[str, object]]:
        check_flags(**flags)
        check()
        members = Membership(as_list_of_ids(map_ids), output_map_id, collate, assign)
        members.check()
        check_on_duplicate(on_duplicate)
        require_choice("same_observation", same_observation, SameObservation)
        check_nonfinite(nonfinite)
        check_strategy(strategy, result)
        check_environment()
        exactness = Exactness.of(flags["reproducible"], absmax, MAP_KEYS)
        if flags["keep_exact"]:
            _check_keep_exact(exactness, result)
        settings = Settings(
            members,
            weighted=flags["weighted"],
            ignore_missing_weights=flags["ignore_missing_weights"],
            record_obs_id=flags["record_obs_id"],
            metadata_lasts=flags["metadata_lasts"],
            strategy=strategy,
            result=result,
            root=rank_of(root, comm),
            nonfinite=nonfinite,
            once=on_duplicate == "error",
            same_observation=same_observation,
            pol_conv=mapframe.as_pol_conv(pol_conv),
            exactness=exactness,
            keep_exact=flags["keep_exact"],
        )
        return settings, {
            "map_ids": members.map_ids,
            "output_map_id": output_map_id,
            **{name: bool(value) for name, value in flags.items()},
            "assign": "given" if assign else None,
            "strategy": strategy,
            "result": result,
            "root": settings.root,
            "on_duplicate": on_duplicate,
            "same_observation": same_observation,
            "pol_conv": str(pol_conv),
            "absmax": exactness and sorted(exactness.bounds.items()),
            "nonfinite": nonfinite,
        }

    return agreed_arguments(comm, "The arguments of MPIMapCoadder", checked)


def _check_keep_exact(exactness: Exactness | None, result: Result) -> None:
    """Refuse to keep what there is not.

    Raises
    ------
    UsageError
    """
    if exactness is None:
        raise UsageError(
            "keep_exact=True is of use with reproducible=True only: say that, too, or leave it out."
        )
    if result == "sharded":
        raise UsageError(
            'keep_exact=True writes exact sums into coadd frames, and with result="sharded" there '
            'are none: choose another result ("root", "all"), or leave it out.'
        )
