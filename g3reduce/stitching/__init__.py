"""Restitching: observations whose scans are scattered over ranks become contiguous again.

From the top: `stitch` is what users call, and `files` what the command does. A `timeline` puts the
scans of all ranks in order, a `layout` says who gets what of them, and `restitch` brings it there.
"""
