"""Fits in files, without pickle: a file holds data and no code, and is read by any later version.

A file is an ordinary zip archive:

``hierbayes.json``
    What was fitted and how, in words and numbers: formula, family, priors, arguments, the REML or ML estimate,
    versions, a fingerprint of the data, and the SHA-256 of every other member.
``data.parquet``
    The columns and rows used.
everything else
    The posterior with all its groups, as a zarr hierarchy (format 2), so that ArviZ opens the same file:
    ``arviz.from_zarr(zarr.storage.ZipStore(path))``.

One file rather than a folder, because replacing a file is one step of the file system: whoever reads, while it is
being written or after the power went off, finds the old one or the new one. Parquet and zarr rather than a format of
our own, because others read them, and neither needs a package that sampling does not need anyway.
"""
