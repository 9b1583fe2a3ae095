"""What a route requires of a request: an API key's scope, and whether it takes uploads or is a probe.

It is declared at the route and found by the matching of the router, so that the checks always apply to the route that
answers, even with a root path, the prefix of a proxy or an encoded path::

    @router.post("/feedback")
    @requires(scope="feedback")
    async def add_feedback(request: Request) -> Response: ...
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, TypeVar

from starlette.routing import BaseRoute, Match
from starlette.types import Scope

from boiler.service.settings import KeyScope

Endpoint = TypeVar("Endpoint", bound=Callable[..., object])

_MAX_CACHED = 4_096
_MAX_CACHED_PATH = 200  # characters: the cache must not hold what clients make up


class Policy(NamedTuple):
    """Arguments:
    scope: the scope that an API key needs; None: no key is needed
    is_upload: the body is a sound, which may be larger than a JSON body
    may_have_sounds: the body is JSON, or a form with sounds
    is_probe: answered under any load: an orchestrator restarts a service whose probes wait
    """

    scope: KeyScope | None = "read"
    is_upload: bool = False
    is_probe: bool = False
    may_have_sounds: bool = False


DEFAULT_POLICY = Policy()


def requires(
    scope: KeyScope | None = "read",
    *,
    is_upload: bool = False,
    is_probe: bool = False,
    may_have_sounds: bool = False,
) -> Callable[[Endpoint], Endpoint]:
    """Decorate the endpoint of a route with its `Policy`."""

    def decorate(endpoint: Endpoint) -> Endpoint:
        endpoint.policy = Policy(scope, is_upload, is_probe, may_have_sounds)  # type: ignore[attr-defined]
        return endpoint

    return decorate


def policy_of(route: BaseRoute | None) -> Policy:
    """The policy of a route; the default for one without, and for None."""
    policy: Policy = getattr(getattr(route, "endpoint", None), "policy", DEFAULT_POLICY)
    return policy


class RouteTable:
    """Finds the route that will answer a request. Results are cached: matching costs more than the checks."""

    def __init__(self, routes: Sequence[BaseRoute]) -> None:
        self._routes = routes
        self._cache: dict[tuple[str, str, str], BaseRoute | None] = {}

    def find(self, scope: Scope) -> BaseRoute | None:
        """The route as the router finds it: the first that matches, else the first of another method, else None."""
        key: tuple[Any, ...] = scope["method"], scope["path"], scope.get("root_path", "")
        try:
            return self._cache[key]
        except KeyError:
            pass
        route = self._match(scope)
        if len(key[1]) <= _MAX_CACHED_PATH:
            if len(self._cache) >= _MAX_CACHED:
                self._cache.clear()
            self._cache[key] = route
        return route

    def _match(self, scope: Scope) -> BaseRoute | None:
        partial = None
        for route in self._routes:
            match, _ = route.matches(scope)
            if match is Match.FULL:
                return route
            if match is Match.PARTIAL and partial is None:
                partial = route
        return partial
