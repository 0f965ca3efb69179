"""Map frames that are summed and compared."""

from __future__ import annotations

from skies import (
    add_maps,
    map_frame,
    read_frame,
)
from spt3g import maps

from g3reduce.maps import mapframe
from g3reduce.maps.mapsum import MapSum

IAU, COSMO, NONE = (maps.MapPolConv.names[name] for name in ("IAU", "COSMO", "none"))
WHERE = "obs.g3, frame 3"


def summed(*frames, **options):
    """The sum of frames, as a frame."""
    total = None
    for number, frame in enumerate(frames):
        read = read_frame(frame, f"obs.g3, frame {number}", **options)
        total = total or MapSum.of(read)
        add_maps(total, read)
    return mapframe.to_frame(frames[0]["Id"], total.to_maps())


def changed(frame, key, change):
    """The frame, after a change to one of its maps (or to all components of its weights)."""
    value = frame.pop(key)
    components = [value[name] for name in value.keys()] if key.startswith("W") else [value]  # noqa: SIM118
    for skymap in components:
        change(skymap)
    frame[key] = value
    return frame


def setting(**attributes):
    def change(skymap):
        for name, value in attributes.items():
            setattr(skymap, name, value)

    return change


def polarized(kind="flat sparse", seed=0):
    return map_frame(kind, "polarized", seed)
