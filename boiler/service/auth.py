"""API keys: ``Authorization: Bearer KEY`` or ``X-API-Key: KEY``, each with a scope.

Only hashes of the keys are kept in memory. A key is compared with every stored hash in constant time, so that response
times reveal neither which key matched nor how much of it was right.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterable

from boiler.service.problems import Problem
from boiler.service.settings import SCOPES, KeyScope


class ApiKeys:
    """The keys of a service. Falsy when there are none: then every request is allowed."""

    def __init__(self, scoped_keys: Iterable[str]) -> None:
        """
        Arguments:
            scoped_keys: each ``scope:key``, see `boiler.service.settings`
        """
        self._digests: list[tuple[bytes, int]] = []
        self._owners: list[str] = []
        for scoped_key in scoped_keys:
            scope, _, key = scoped_key.partition(":")
            self._digests.append((_digest(key.encode()), SCOPES.index(scope)))
            self._owners.append(hashlib.blake2b(key.encode(), digest_size=8, person=b"boiler-feedback").hexdigest())

    def __bool__(self) -> bool:
        return bool(self._digests)

    def require(self, scope: KeyScope, authorization: bytes | None, x_api_key: bytes | None) -> int:
        """Check the key of a request, given by its headers. A bearer token takes precedence over ``X-API-Key``.

        Returns: the position of the key in the settings, to tell clients apart

        Raises:
            Problem: 401 without a valid key, 403 when the key's scope is too narrow
        """
        key = x_api_key
        if authorization is not None:
            scheme, _, credentials = authorization.partition(b" ")
            if scheme.lower() == b"bearer":
                key = credentials.strip()
        if key is None:
            raise _unauthorised("an API key is required: send Authorization: Bearer KEY, or X-API-Key: KEY")
        digest, granted, position = _digest(key), -1, -1
        for at, (stored, stored_scope) in enumerate(self._digests):  # no early exit: constant time
            is_it = hmac.compare_digest(stored, digest)
            granted, position = max(granted, stored_scope if is_it else -1), max(position, at if is_it else -1)
        if granted < 0:
            raise _unauthorised("the API key is not valid")
        if granted < SCOPES.index(scope):
            raise Problem(403, "scope", f"the API key has the scope {SCOPES[granted]}; this request needs {scope}")
        return position

    def scope_of(self, position: int) -> KeyScope:
        """The scope of the key at this position of the settings."""
        return SCOPES[self._digests[position][1]]

    def owner(self, position: int) -> str:
        """A name for the holders of the key at this position, by which what they stored is theirs. It does not reveal
        the key, and stays the same whatever other keys there are."""
        return self._owners[position]


def _digest(key: bytes) -> bytes:
    return hashlib.sha256(key).digest()


def _unauthorised(detail: str) -> Problem:
    return Problem(401, "unauthorised", detail, headers={"WWW-Authenticate": 'Bearer realm="boiler"'})
