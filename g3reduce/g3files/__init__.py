"""The .g3 format as bytes: files, frames, archives, maps and timestreams.

In reading order: `names`, the input files and a first look at them; `source` and `readonce`, where
bytes come from; `compressed`, the content of compressed files; `frames` and `checksum`, frames
walked by their headers, checked and written; `pieces`, large files cut into pieces; `lines`, `runs`
and `runcopier`, the runs of pixels of sparse maps; `archive`, the archives of spt3g's objects;
`maps` and `outlines`, maps in them; `values`, strings and what is not to be decoded; `fileframe`
and `decoding`, frames decoded by spt3g; `dropped` and `timestreams`, maps of timestreams;
`outputfile`, files and folders that are complete or not there.

Imports only `g3reduce.errors`, `g3reduce.buffers`, `g3reduce.limits`, `g3reduce.temporary`, numpy
and spt3g.
"""
