"""What can be wrong with an index on disk, each an error of its own."""


class IndexFormatError(ValueError):
    """The folder holds no index, or one that this version cannot read."""


class IndexDamagedError(IndexFormatError):
    """A file of the index is missing, truncated or altered."""


class IndexMismatchError(ValueError):
    """The index was made by other weights, other features or other options."""


class IndexLockedError(RuntimeError):
    """Another process is writing to the index."""


class IndexStorageError(OSError):
    """A file of the index could not be written; the last good index is as it was."""
