"""TOAST 3: the scans of a pipeline as a `toast.Data`, and as volumes of files.

TOAST itself is imported by `importing` alone, when a `TOASTFiller` is made: it takes seconds.
"""
