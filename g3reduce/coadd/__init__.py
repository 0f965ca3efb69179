"""Coadds: `MPIMapCoadder`, `coadd_files`, and what they share."""
