"""The TOAST filler: a module at the end of a pipeline that makes a `toast.Data`."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from functools import partial
from typing import Any

from spt3g import core

from ..choices import Gaps, Missing, Overlap, TOASTDistribution
from ..errors import UsageError, require_choice
from ..mpi import communicators, foreign
from ..mpi.agreement import agreed_arguments, collectively
from ..pipeline.accumulator import MPIAccumulator
from ..pipeline.endmodule import at_the_end
from ..pipeline.ledger import unit_of
from ..spt3gmarks import g3module
from ..spt3gtypes import Frame
from ..stitching.accumulated import read_accumulated
from ..stitching.rules import StitchRules
from ..stitching.scans import Scan, ScanExtractor
from ..stitching.timeline import Timeline
from .bolometers import Bolometers
from .calibrations import Calibrations
from .focalplane import make_telescope, units_of
from .groups import deal, toast_ranks
from .importing import load_toast
from .observation import EmptyObservation, bring_samples, check_names, require_samples


@g3module
class TOASTFiller:
    """Fill a `toast.Data` with the scans of all ranks; a G3 module at the end, for TOAST 3.

    Each rank keeps the scans of its pipeline. At the end of processing they are put together into
    observations and sent to the ranks where TOAST needs them: afterwards `result` is a
    `toast.Data` with one `toast.Observation` per observation of spt3g. It has ``telescope`` with
    the focal plane of the Calibration frame, ``shared["times"]``, ``["boresight_radec"]`` and
    ``["flags"]``, ``detdata["signal"]`` with its unit and ``["flags"]``, and the scans as
    ``intervals["scanning"]`` (or the names in TOAST's `default_values`). Frames stay as they are.

    Samples go from the scans into TOAST's memory as buffers, without pickling.

    Collective over `mpicomm`: the constructor, and the end of processing. The module cannot be
    the first of a pipeline, because spt3g does not call that one at the end. The constructor
    imports TOAST, which takes seconds.

    Parameters
    ----------
    mpicomm : mpi4py.MPI.Intracomm or None
        None: the world of `toastcomm`; without that the world if a launcher started several
        processes, else this process alone.
    boresight : str
        Key of Scan frames: the rotation to equatorial coordinates, a `G3VectorQuat` or
        `G3TimestreamQuat`.
    timestreams : str
        Key of Scan frames: a `G3TimestreamMap`.
    wiring : None
        Not used; it is an argument of the `TOASTFiller` for TOAST 2, which took the names of
        detectors from a wiring map. Anything but None is an error that says so.
    bolometer_properties : str
        Key of the frame, before the scans, that has the `BolometerPropertiesMap`.
    flags, detector_flags : str or None
        Keys of Scan frames: flags of samples, of all detectors or by detector; see `ScanKeys`. The
        bits stay as they are; of TOAST's masks, 1 is "invalid".
    nets : str or None
        Key of a `G3MapDouble`, in the same frame or another one before the scans, of each
        detector's noise-equivalent temperature in units of the timestreams times the square root
        of time. With it `toast.ops.DefaultNoiseModel` finds a noise model: white noise.
    distribution : {"detector", "time"}
        Whether the ranks of an observation divide its detectors or its samples.
    toastcomm : toast.Comm or None
        Groups of ranks, of which each gets some of the observations; of the same ranks as
        `mpicomm`. None: each observation is on all ranks.
    telescope : str
        Its name.
    site : toast.instrument.Site or None
        Where it is. None: a site without a place, which is enough for pointing in equatorial
        coordinates.
    observation_keys : str, sequence of str, or None
        Keys that name an observation; see `ScanExtractor`.
    times, valid : str or None
        Keys of Scan frames that say where samples were lost inside scans; see `ScanKeys`.
    gaps : {"fill", "keep", "refuse"}
        What to do about times without samples, between scans or inside them: fill them with flagged
        samples; leave them out; or raise an error. Unlike `stitch`, which leaves them out by
        default, this fills them, because many of TOAST's operators expect an even rate.
    missing : {"flag", "refuse"}
        What to do about detectors that are not in all scans of an observation.
    overlap : {"refuse", "drop"}
        What to do about a sample in two scans: an error, or leave it out of the later one.

    Raises
    ------
    UsageError
        If TOAST is not there or was imported too late, or if an argument cannot be used or differs
        between ranks.
    InputError
        If frames lack a key, scans overlap, detectors have no calibration, the pipeline was halted.
    MismatchError
        If the scans of an observation differ in units, rate or calibration.

    Examples
    --------
    >>> import toast  # before spt3g  # doctest: +SKIP
    >>> toastcomm = toast.Comm(world=comm, groupsize=16)  # doctest: +SKIP
    >>> filler = TOASTFiller(nets="NET", toastcomm=toastcomm)  # doctest: +SKIP
    >>> pipe = core.G3Pipeline()  # doctest: +SKIP
    >>> pipe.Add(MPIFileReader, mpicomm=comm, files=[sys.argv[1:]])  # doctest: +SKIP
    >>> pipe.Add(filler)  # doctest: +SKIP
    >>> pipe.Run()  # doctest: +SKIP
    >>> toast.ops.DefaultNoiseModel().apply(filler.result)  # doctest: +SKIP
    """

    def __init__(
        self,
        mpicomm: communicators.Comm | None = None,
        *,
        boresight: str = "OnlineRaDecRotation",
        timestreams: str = "CalTimestreams",
        wiring: Any = None,
        bolometer_properties: str = "BolometerProperties",
        flags: str | None = None,
        detector_flags: str | None = None,
        nets: str | None = None,
        distribution: TOASTDistribution = "detector",
        toastcomm: Any = None,
        telescope: str = "telescope",
        site: Any = None,
        observation_keys: str | Sequence[str] | None = None,
        times: str | None = None,
        valid: str | None = None,
        gaps: Gaps = "fill",
        missing: Missing = "flag",
        overlap: Overlap = "refuse",
    ):
        with foreign.garbage_collected_together():
            world, self._toastcomm = toast_ranks(mpicomm, toastcomm)
            self._comm = communicators.private(world)
        self._distribution = distribution
        self._rules = StitchRules(gaps, missing, overlap)
        self._telescope, self._site = telescope, site
        keys = {"boresight": boresight, "bolometer_properties": bolometer_properties}

        def check() -> tuple[ScanExtractor, dict[str, object]]:
            self._check_arguments(keys, nets, wiring)
            scans = ScanExtractor(
                timestreams,
                boresight=boresight,
                flags=flags,
                detector_flags=detector_flags,
                times=times,
                valid=valid,
                observation_keys=observation_keys,
            )
            return scans, {
                **vars(scans.keys),
                **self._rules._asdict(),
                "bolometer_properties": bolometer_properties,
                "nets": nets,
                "distribution": distribution,
                "groups": self._toastcomm.ngroups,
                "telescope": telescope,
                "site": site and (type(site).__name__, site.name, site.uid),
                "observation_keys": observation_keys,
            }

        self._scans = agreed_arguments(self._comm, "The arguments of TOASTFiller", check)
        self._calibrations = Calibrations(self._comm, bolometer_properties, nets)
        # Not a method of this object: it would be in a cycle, and keep TOAST's memory for longer.
        extract = partial(_extract, self._scans, self._calibrations)
        self._accumulator = MPIAccumulator(world, extract)
        self._result: Any = None
        self._timelines: dict[Hashable, Timeline] = {}

    @property
    def result(self) -> Any:
        """The `toast.Data`, after the end of processing, on all ranks.

        It lists the observations of this rank's group.

        Raises
        ------
        UsageError
            Before the end of processing.
        """
        return at_the_end(self._result is not None, self._result, "result")

    @property
    def timelines(self) -> dict[Hashable, Timeline]:
        """The timelines of all observations, by their names, after the end of processing.

        Raises
        ------
        UsageError
            Before the end of processing.
        """
        return at_the_end(self._result is not None, self._timelines, "timelines")

    @property
    def toastobses(self) -> Any:
        """The observations of the `TOASTFiller` for TOAST 2; here they are in `result`.

        Raises
        ------
        UsageError
            Always.
        """
        raise UsageError(
            "toastobses is for TOAST 2. For TOAST 3 use result, a toast.Data: its observations are "
            "result.obs."
        )

    def __call__(self, frame: Frame) -> None:
        """Take the next frame of the pipeline (spt3g calls this)."""
        self._accumulator(frame)
        if frame.type == core.G3FrameType.EndProcessing:
            self._fill()

    def finish(self) -> Any:
        """Make the `toast.Data`, as at the end of processing. Collective.

        Returns
        -------
        toast.Data
            The `result`.
        """
        self._accumulator.finish()
        self._fill()
        return self._result

    def add(self, frame: Frame) -> bool:
        """Keep the scan or the calibration of a frame.

        Returns
        -------
        bool
            Whether it was a scan.
        """
        return self._accumulator.add(frame)

    def discard(self) -> None:
        """Free all that was kept, after an error on all ranks."""
        self._accumulator.discard()
        self._calibrations.clear()

    @foreign.garbage_collected_together()
    def _fill(self) -> None:
        """Make all observations. Collective."""
        comm = self._comm
        scans, timelines = read_accumulated(self._accumulator, self._scans.keys, self._rules)
        collectively(comm, lambda: self._prepare(timelines))
        sizes = [each.n_samples * len(each.detectors) for each in timelines.values()]
        groups = deal(sizes, self._toastcomm.ngroups)
        data = load_toast().Data(self._toastcomm)
        for (name, timeline), group in zip(timelines.items(), groups, strict=True):
            bolometers = self._calibrations.bolometers_of(timeline)
            observation = self._observation(
                timeline, bolometers, scans.pop(name, {}), here=group == self._toastcomm.group
            )
            if observation is not None:
                data.obs.append(observation)
            self._accumulator.drop(name)
        self._calibrations.clear()
        self._result, self._timelines = data, timelines

    def _prepare(self, timelines: dict[Hashable, Timeline]) -> None:
        """Check all that can be checked before anything is sent."""
        check_names(timelines, quiet=self._comm.rank > 0)
        for group, timeline in timelines.items():
            units_of(timeline.units)
            if self._distribution == "time":
                require_samples(timeline, self._toastcomm.group_size)
            items = self._accumulator.result[group]
            digests = [str(items[scan.number][0]) for scan in timeline.scans]
            self._calibrations.assign(timeline, digests)

    def _observation(
        self, timeline: Timeline, bolometers: Bolometers, scans: dict[int, Scan], *, here: bool
    ) -> Any:
        """Make one observation; None if it is not `here`. Collective over all ranks."""

        def make() -> tuple[Any, dict[str, int]]:
            quiet = self._toastcomm.group_rank > 0
            return make_telescope(self._telescope, self._site, bolometers, timeline, quiet=quiet)

        telescope, unusable = collectively(self._comm, lambda: make() if here else (None, {}))
        by_detector = self._distribution == "detector"
        observation = foreign.together(
            self._comm,
            f"the making of TOAST's observation {timeline.group!r}",
            lambda: (
                EmptyObservation(self._toastcomm, telescope, timeline, by_detector=by_detector)
                if here
                else None
            ),
        )
        return bring_samples(self._comm, timeline, scans, observation, unusable)

    def _check_arguments(self, keys: dict[str, Any], nets: Any, wiring: Any) -> None:
        from toast.instrument import Site

        if wiring is not None:
            raise UsageError(
                f"wiring is {wiring!r}, an argument of the TOASTFiller that comes with spt3g, for "
                "TOAST 2. For TOAST 3 leave it out: detectors are those of the timestreams, and "
                "their properties those of the Calibration frame (bolometer_properties=). The "
                "result is .result, a toast.Data, in place of .toastobses."
            )
        for name, key in (keys if nets is None else keys | {"nets": nets}).items():
            if not isinstance(key, str):
                raise UsageError(f"{name} is {key!r}; expected the name of a key of frames.")
        require_choice("distribution", self._distribution, TOASTDistribution)
        self._rules.check()
        if not isinstance(self._telescope, str):
            raise UsageError(f"telescope is {self._telescope!r}; expected its name.")
        if self._site is not None and not isinstance(self._site, Site):
            raise UsageError(f"site is {self._site!r}; expected a toast.instrument.Site, or None.")


def _extract(
    scans: ScanExtractor, calibrations: Calibrations, frame: Frame
) -> tuple[Hashable, str, Any] | None:
    """The group of a scan, the digest of the calibration that it came with, and the scan."""
    calibrations.look_at(frame)
    extracted = scans(frame)
    if extracted is None:
        return None
    group, _, scan = extracted
    return group, calibrations.digest_of(scan.header.where, unit_of(frame)), scan
