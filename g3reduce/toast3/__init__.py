"""TOAST 3: scans as a `toast.Data` in memory, and as folders of HDF5 files.

In reading order: `filler` is the module for pipelines, `volume` goes from files to files. For both,
`bolometers` and `calibrations` read detectors, `focalplane` converts them and other things to
TOAST's conventions, `groups` divides ranks and observations, and `observation` is filled with
samples. `importing` is where TOAST is first imported, which takes seconds, so only when a filler is
made; `signals` replaces its signal handlers.

Imports from `stitching` and `pipeline`, and from what is below them.
"""
