"""Files of maps whose pages are tested, and what stands in a page."""

import base64
import json
import re
import zlib

import numpy as np
from spt3g import core, maps

from g3reduce.pipeline.entries import Entry, LeftOut
from g3reduce.pipeline.ledger import Ledger, Unit
from g3reduce.pipeline.ledgerframe import put_ledger

HOSTILE = "</script><script>document.title='broken'</script>"
SOURCE = (31, 12)  # x, y of a bright pixel
SHAPE = (40, 60)


def skymap(values, name="T", weighted=False):
    sky = maps.FlatSkyMap(
        *(SHAPE[1], SHAPE[0], 2 * core.G3Units.arcmin),
        proj=maps.MapProjection.ProjZEA,
        alpha_center=0.3,
        delta_center=-0.9,
        units=core.G3TimestreamUnits.Tcmb,
        weighted=weighted,
    )
    if name in ("T", "Q", "U"):
        sky.pol_type = getattr(maps.MapPolType, name)
        sky.pol_conv = maps.MapPolConv.IAU
    np.asarray(sky)[:] = values
    return sky


def map_frame(n_entries=3, left_out=(), outlier=None, map_id="150GHz"):
    """A frame with a bright pixel at `SOURCE`, and a ledger."""
    rng = np.random.default_rng(1)
    frame = core.G3Frame(core.G3FrameType.Map)
    frame["Id"] = map_id
    values = rng.normal(0, 10, SHAPE) * core.G3Units.uK
    values[SOURCE[1], SOURCE[0]] = 5000 * core.G3Units.uK
    frame["T"] = skymap(values)
    frame["H"] = skymap(rng.poisson(50, SHAPE) + 1, "H")
    entries = []
    for i in range(n_entries):
        unit = Unit(f"/data/obs_{i:05d}.g3", i % 2)
        weight = 1e9 * rng.normal(1, 0.03) * (0.3 if i == outlier else 1)
        entries.append(
            Entry(
                *(unit, (map_id,)),
                names_files=True,
                map_id=map_id,
                observation=f"field/{i}",
                pixels=2400,
                weight=weight,
            )
        )
    put_ledger(frame, Ledger(entries, list(left_out)))
    return frame


def write_maps(file, *frames):
    writer = core.G3Writer(str(file))
    for frame in frames or (map_frame(left_out=[LeftOut(HOSTILE, -1, "<b>cut off</b>")]),):
        writer(frame)
    writer(core.G3Frame(core.G3FrameType.EndProcessing))
    del writer
    return file


def content_of(page):
    """What the script of a page takes."""
    text = re.search(r'<script type="application/json" id="content">(.*?)</script>', page, re.S)
    content = json.loads(text[1])
    for table in (content["ledger"], content["leftOut"]):
        columns = json.loads(zlib.decompress(base64.b64decode(table["data"])))
        table["rows"] = [list(row) for row in zip(*columns, strict=True)]
    return content


def values_of(pictures, plane):
    """The values of a plane, as the page holds them: a second way to read it."""
    raw = np.frombuffer(zlib.decompress(base64.b64decode(plane["data"])), np.uint8)
    low, high = raw.reshape(2, -1)
    numbers = (low.astype(np.uint16) | (high.astype(np.uint16) << 8)).view(np.int16)
    steps = numbers.astype(float)
    if plane["far"]:
        beyond = np.abs(steps) > 16000
        away = 16000 * np.exp(plane["far"] * (np.abs(steps[beyond]) - 16000))
        steps[beyond] = np.sign(steps[beyond]) * away
    values = plane["offset"] + plane["step"] * steps
    values[numbers == -32768] = np.nan
    return values.reshape(pictures["height"], pictures["width"])
