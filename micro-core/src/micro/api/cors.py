"""Who may read answers in a browser: everybody without credentials; named origins with them."""

from __future__ import annotations

from collections.abc import Iterable

_FIXED = {
    "Access-Control-Allow-Methods": "POST, PATCH, GET, OPTIONS, PUT, DELETE",
    "Access-Control-Allow-Headers": "Accept, Content-Type, Content-Length, Accept-Encoding, X-CSRF-Token, "
    "Authorization, Micro-Namespace",
}
_ANYBODY = {"Access-Control-Allow-Origin": "*", **_FIXED}


class Cors:
    """The CORS headers of answers, and whether a request's cookies count.

    A browser shows answers to pages of any origin, but only those in `origins` (`https://shop.example`) may have it
    send credentials: a page elsewhere must not act as whoever is logged in here.
    """

    def __init__(self, origins: Iterable[str] = ()) -> None:
        self._allowed = {
            origin: {
                "Access-Control-Allow-Origin": origin,
                "Access-Control-Allow-Credentials": "true",
                "Vary": "Origin",
                **_FIXED,
            }
            for origin in (each.rstrip("/") for each in origins)
        }
        self._others = {**_ANYBODY, "Vary": "Origin"} if self._allowed else _ANYBODY

    def headers(self, origin: str | None) -> dict[str, str]:
        """Give the headers of an answer; not to be changed."""
        if not self._allowed or origin is None:
            return self._others
        return self._allowed.get(origin, self._others)

    def cookies_count(self, origin: str | None, host: str, site: str | None) -> bool:
        """Tell whether a cookie is its owner's will: the page's origin is this host, or named, or it is no browser.

        `site` is `Sec-Fetch-Site`, which browsers send also where they send no `Origin`.
        """
        if origin is not None:
            return origin in self._allowed or (bool(host) and origin.partition("://")[2] == host)
        return site in {None, "same-origin", "none"}
