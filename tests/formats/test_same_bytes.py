"""The same coadd is the same file, byte for byte, at whatever time it is written."""

import time

import skies

import g3reduce
from g3reduce.formats import WriteOptions, write_maps

WAYS = {
    "map.g3": None,
    "map.g3.gz": None,
    "map.h5": None,
    "spt3g.fits": WriteOptions(style="spt3g"),
    "enmap.fits": WriteOptions(style="enmap"),
    "packed.fits.gz": None,
}


def test_the_time_is_in_no_file(tmp_path):
    frames = {}
    for kind in ("flat sparse", "healpix ring"):
        folder = tmp_path / kind
        folder.mkdir()
        files = skies.write_files(folder, 2, kind, "polarized")
        # With a ledger and lists of inputs, which are tables in a file of FITS.
        frames[kind] = g3reduce.coadd_files(files, map_ids="90GHz").frame
    now = contents(tmp_path, frames)
    time.sleep(1.1)  # formats that know the time count in seconds
    later = contents(tmp_path, frames)
    assert [key for key in now if now[key] != later[key]] == []


def contents(folder, frames):
    found = {}
    for kind, frame in frames.items():
        for name, options in WAYS.items():
            write_maps(folder / name, frame, options)
            found[kind, name] = (folder / name).read_bytes()
    return found
