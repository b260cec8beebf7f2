"""Links from a report to the page that searches: nothing is asked for until somebody follows one."""

from __future__ import annotations

from urllib.parse import quote, urlencode, urlsplit

from composir.errors import ComposirError


def page_link(base: str, reference_path: str, text: str) -> str:
    """The address under which the search page shows a composed query.

    Args:
        base: Of the page, e.g. "http://127.0.0.1:8000".
        reference_path: Of the reference, relative to the indexed folder.
        text: What is to be changed.
    """
    asked = urlencode({"reference_path": reference_path, "text": text}, quote_via=quote, errors="replace")
    return f"{base.rstrip('/')}/?{asked}"


def require_page(base: str) -> None:
    """Refuse what is no address of a page.

    Raises:
        ComposirError: It is not http or https, names no host, or has a query or fragment already.
    """
    try:
        parts = urlsplit(base)
        good = parts.scheme in ("http", "https") and bool(parts.hostname) and not parts.query and not parts.fragment
    except ValueError:
        good = False
    if not good:
        raise ComposirError(f"{base!r} is no address of a search page; write it like http://127.0.0.1:8000")
