"""The .g3 format as bytes: names, frames, archives, maps, timestreams, whole output."""
