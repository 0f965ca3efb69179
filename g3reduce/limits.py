"""Sizes from which on work is cut into parts, or done in another way, and seconds of waiting.

They are in one object and looked up when they are needed, so that a test that sets a small one
reaches every place that it counts in. Nothing else changes them.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class Limits:
    """Sizes, in bytes unless something else is said. Names that end in ``_s`` are seconds.

    Attributes
    ----------
    step : int
        What is read and added in one go: it should fit in the cache beside its place in the sum.
        A multiple of 16, the number of a pixel and its value.
    small_frame : int
        Files of frames up to this size are read ahead.
    small_sum : int
        A sum of maps up to this size is written by spt3g, from its maps.
    kept_read : int
        What is read of a large frame in one go up to this size is kept: all of it but pixels and
        the like.
    kept_text : int
        Texts and lists of numbers of a large frame are read before its pixels up to this size.
    near_header : int
        How far the header of the next run may be, and still be read with this one's.
    compressed_read, compressed_made : int
        How much is read from a compressed file, and how much content is made of it, in one go.
    smallest_piece : int
        Files are not cut into smaller pieces: these are not worth the walk to them.
    message_piece : int
        Arrays are sent in pieces up to this size: far below 2 GiB, far above what a message costs
        by itself.
    swap_piece : int
        Ranks swap arrays in pieces up to this size, unless one element is larger: enough to hide
        what a message costs, few enough to stay in the cache.
    swap_incoming, swap_outgoing : int
        How many pieces are under way in a swap: one is unpacked while the next comes.
    scratch_part : int
        What the strategies ``owner`` and ``reduce_scatter`` put into one buffer in a round. With
        its other buffers a strategy uses up to four times as much beside the planes. Fresh memory
        is slow, so that more does not pay.
    node_piece : int
        A piece of a sum that stays in the cache while those of all ranks of the node are added.
    smallest_direct : int
        Smaller sums are joined by messages, which need fewer preparations.
    smallest_alone : int
        Groups of a reducer are joined one by one from this size on, smaller ones together.
    exact_floats : int
        How many floats of states are summed exactly at once: of small arrays many, because each
        takes several calls of numpy; of large ones a part that stays in the cache.
    worth_compiling : int
        With so many bytes to add, compiled loops save the time that numba takes to load. Small
        coadds end sooner without it, and many ranks need not look for its files at once.
    claim_wait_s : float
        So long, in all, a process waits for others that compile the same loops. To compile all of
        them takes some ten seconds.
    pieces_per_rank : int
        With so many files for each rank, these are enough to keep all ranks busy to the end; and
        into so many pieces for each rank a file is cut.
    first_meeting_message_s : float
        A rank that has waited so long for the first meeting of all says so.
    meeting_end_s : float
        How long a rank that has left a meeting waits at its end for the others to come to theirs.
    foreign_failed_s : float
        How long a rank that failed in collective work of another package waits for the others to
        come out of it.
    folder_lock_s : float
        How long a job waits for another one to leave its folder of checkpoints, or its log: one
        that was killed may take some time to end on all hosts.
    script_reacts_s, guards_react_s : float
        How long a script, or its guards, may take to end after a signal, before the job is ended.
    """

    step: int = 2**19
    small_frame: int = 2**17
    small_sum: int = 2**20
    kept_read: int = 2**20
    kept_text: int = 2**26
    near_header: int = 4096
    compressed_read: int = 2**18
    compressed_made: int = 2**20
    smallest_piece: int = 2**20
    message_piece: int = 16 * 2**20
    swap_piece: int = 4 * 2**20
    swap_incoming: int = 2
    swap_outgoing: int = 4
    scratch_part: int = 16 * 2**20
    node_piece: int = 2**20
    smallest_direct: int = 4 * 2**20
    smallest_alone: int = 2**20
    exact_floats: int = 2**15
    worth_compiling: int = 400_000_000
    claim_wait_s: float = 30.0
    pieces_per_rank: int = 8
    first_meeting_message_s: float = 30.0
    meeting_end_s: float = 5.0
    foreign_failed_s: float = 5.0
    folder_lock_s: float = 5.0
    script_reacts_s: float = 2.0
    guards_react_s: float = 5.0


LIMITS = Limits()
