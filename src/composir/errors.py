"""The one exception family that users meet: every message names the value, what is allowed, and the remedy."""

from __future__ import annotations


class ComposirError(Exception):
    """A problem the user can mend; the command line prints its message without a traceback and exits with 1."""


class UnknownNameError(ComposirError):
    """A name that no part, option or key bears; the message lists the nearest known ones."""


class DataError(ComposirError):
    """A file or record that is missing, malformed or contradicts another."""


class AbsentError(DataError):
    """A picture for which there is no file; the message says where it belongs."""

    reason = "missing file"  # as of an ImageError


class ConditionError(ComposirError):
    """A filter over a gallery's columns that cannot be read."""


class GalleryError(ComposirError):
    """A gallery that is missing, was built by another method, or cannot serve the request."""
