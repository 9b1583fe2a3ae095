"""Who may ask: keys by ``Authorization: Bearer KEY`` or ``X-API-Key: KEY``.

Only hashes of the keys are kept in memory; a presented key is compared with every one of them in constant time, so
that neither which key nor how much of it was right can be measured.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterable

from boiler.service.problems import Problem
from boiler.service.routes import docs
from boiler.service.settings import SCOPES, Scope

# Probes and the description of the API need no key: they tell nothing of the collection's sounds.
OPEN_PATHS = docs.PATHS | {"/livez", "/readyz", "/health"}


class Keys:
    """The keys of a service; without any, all may ask."""

    def __init__(self, scoped: Iterable[str]) -> None:
        """`scoped`: each ``scope:key``."""
        self._held: list[tuple[bytes, int]] = []
        for one in scoped:
            scope, _, key = one.partition(":")
            self._held.append((_digest(key.encode()), SCOPES.index(scope)))

    def __bool__(self) -> bool:
        return bool(self._held)

    def check(self, needed: Scope, authorization: bytes | None, x_api_key: bytes | None) -> None:
        """Raises: Problem: 401 without a right key, 403 with one of too narrow a scope."""
        presented = x_api_key
        if authorization is not None:
            kind, _, rest = authorization.partition(b" ")
            if kind.lower() == b"bearer":
                presented = rest.strip()
        if presented is None:
            raise _unauthorised("a key is needed: send it as Authorization: Bearer KEY, or X-API-Key: KEY")
        digest, allowed = _digest(presented), -1
        for held, scope in self._held:  # all of them, always
            allowed = max(allowed, scope if hmac.compare_digest(held, digest) else -1)
        if allowed < 0:
            raise _unauthorised("this key is not one of the service's")
        if allowed < SCOPES.index(needed):
            raise Problem(403, "scope", f"this key may {SCOPES[allowed]}; this needs one that may {needed}")


def _digest(key: bytes) -> bytes:
    return hashlib.sha256(key).digest()


def _unauthorised(detail: str) -> Problem:
    return Problem(401, "unauthorised", detail, headers={"WWW-Authenticate": 'Bearer realm="boiler"'})
