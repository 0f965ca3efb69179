"""Restitching: observations whose scans are scattered over ranks become contiguous again.

From the top: `stitch` is what users call, and `files` what the command does. Frames are read by
`scans`, with `flags` and with the `places` of samples where some were lost; all ranks are told a
`header`. A `timeline` puts the scans of all ranks in order: `rates` finds those that lost samples,
`slots` are scans at the same time, and a `sequence` of slots has each of them `placed`. A `layout`
says who gets what of them, `restitch` brings it there, and `filling` flags what no scan has.
"""
