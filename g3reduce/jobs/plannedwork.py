"""What is to be done, for a model of a coadd, as a sample of its files says it."""

from __future__ import annotations

from typing import Any, NamedTuple

from ..arrays import memory
from ..maps.flips import n_staged
from ..model import Sums, Work
from .sampledsplits import More, SampledSplits, Share
from .sampling import Grown, Sample


class PlannedCoadds(NamedTuple):
    """Coadds that are alike, as far as a plan knows them.

    Attributes
    ----------
    name : str
        Their name; of several, a pattern.
    number : int
        How many there are.
    maps : float
        How many maps each of them is of.
    flips : int
        How many sign-flip realisations each of them has.
    """

    name: str
    number: int
    maps: float
    flips: int


class Planned:
    """Coadds of many files, of which a sample was added to their splits.

    Parameters
    ----------
    sample : Sample
    splits : SampledSplits or None
        If `assign` is a splitting.
    n_files : int
        How many files the coadds are of.
    limbs : int
        How many numbers a sum has for each pixel.
    at_once : bool
        Whether realisations have sums of T, Q and U only, and share the rest.
    """

    def __init__(
        self,
        sample: Sample,
        splits: SampledSplits | None,
        *,
        n_files: int,
        limbs: int,
        at_once: bool,
    ):
        self._sample = sample
        self._times = n_files / len(sample.names)
        self._n_files, self._limbs, self._at_once = n_files, limbs, at_once
        self._asked = splits.asked(limbs=limbs, at_once=at_once) if splits else 0.0
        self._shares = {
            name: splits.shares_of(name) if splits else [Share(name)] for name in sample.coadds
        }

    def coadds(self) -> list[PlannedCoadds]:
        """What is made."""
        coadds = self._sample.coadds
        return [
            PlannedCoadds(
                *(one.name, one.number, one.maps * coadds[name].n_maps * self._times, one.flips)
            )
            for name, shares in self._shares.items()
            for one in shares
        ]

    def more(self) -> More:
        """To how many more sums than those of its splits a map is added, in the mean."""
        went = [name for names in self._sample.went for name in names]
        shares = [one for name in went for one in self._shares[name]]
        sums = sum(self._number(one) * one.files for one in shares)
        flips = sum(one.number * one.files * one.flips for one in shares)
        return More(sums / len(went) - 1, flips / len(went) if self._at_once else 0.0)

    def work(self, **figures: Any) -> Work:
        """The work, with these other figures of it."""
        sums, output, staged = [], 0.0, 0.0
        for name, shares in self._shares.items():
            grown = self._sample.coadds[name]
            for one in shares:
                files = len(grown.sums) * self._times * one.files
                number, plain = self._number(one), grown.union(files)
                held = self._taken(grown, one, grown.held)
                sums.append(Sums(number, files, held, self._taken(grown, one, plain)))
                output += one.number * (1 + one.flips) * plain / self._limbs
                if self._at_once and one.flips:
                    staged += number * plain * grown.stokes * n_staged(one.flips)
        union = sum(one.number * one.union for one in sums)
        held = max(sum(map(self._of_a_file, names)) for names in self._sample.went)
        return Work(
            files=self._n_files,
            held=min(held, union),
            union=union,
            output_bytes=output,
            sums=sums,
            beside=staged / union if union else 0.0,
            asked=self._asked,
            **figures,
        )

    def _number(self, share: Share) -> int:
        """How many sums with weights and hits of their own some coadds have."""
        return share.number * (1 if self._at_once else 1 + share.flips)

    def _taken(self, grown: Grown, share: Share, n_bytes: float) -> float:
        """Bytes of memory that each of these takes, if a coadd alone has so many bytes."""
        whole = grown.n_planes * memory.taken(n_bytes / grown.n_planes)
        return whole + self._at_once * share.flips * grown.stokes * n_bytes

    def _of_a_file(self, split: str) -> float:
        """Bytes of the sums of one file, in all coadds of a split."""
        grown = self._sample.coadds[split]
        return sum(
            self._number(one) * one.files * self._taken(grown, one, grown.held)
            for one in self._shares[split]
        )
