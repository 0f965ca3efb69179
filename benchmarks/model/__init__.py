"""What joining takes on ranks that are not there: a discrete simulation of the strategies.

`ranks` lets simulated ranks run in turn, each with a clock; `wires` says when a message between two
of them ends, `traffic` is the communicator that strategies get, and `miniature` the blocks that
stand for large ones. `joining` runs the strategies' own code on them. `reading` simulates ranks
that take files from a file system. `scale` makes the page about scale from all of it.
"""
