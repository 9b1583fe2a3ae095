"""Old public names that still work for one version, with a DeprecationWarning that names the new one.

>>> import warnings
>>> class Circle:
...     def __init__(self, radius: float) -> None:
...         self.radius = radius
...     size = RenamedAttribute("radius")
>>> with warnings.catch_warnings(record=True, action="always") as caught:
...     Circle(2.0).size, str(caught[0].message)
(2.0, 'Circle.size is deprecated: use Circle.radius')
"""

from __future__ import annotations

import functools
import sys
import warnings
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

Decorated = TypeVar("Decorated", bound=Callable[..., Any])


class RenamedAttribute:
    """A class attribute that reads `new_name`, an attribute or a method of the same object."""

    def __init__(self, new_name: str) -> None:
        self._new_name = new_name

    def __set_name__(self, owner: type, name: str) -> None:
        self._old = f"{owner.__name__}.{name}"
        self._new = f"{owner.__name__}.{self._new_name}"

    def __get__(self, instance: object | None, owner: type) -> Any:
        _warn(self._old, self._new)
        return getattr(owner if instance is None else instance, self._new_name)


def renamed_arguments(**new_name_of: str) -> Callable[[Decorated], Decorated]:
    """Decorator of a function or a class: keyword arguments by their old names too, as `old="new"`.

    Raises, when called: TypeError: an argument is given by both names.

    >>> @renamed_arguments(count="n")
    ... def double(n: int) -> int:
    ...     return 2 * n
    >>> double(n=3)
    6
    """

    def with_old_names(call: Callable[..., Any], name: str) -> Callable[..., Any]:
        @functools.wraps(call)
        def called(*args: Any, **kwargs: Any) -> Any:
            for old in new_name_of.keys() & kwargs.keys():
                new = new_name_of[old]
                if new in kwargs:
                    raise TypeError(f"{name}() got {new} twice: as {old} and as {new}")
                _warn(f"{name}({old}=...)", f"{name}({new}=...)")
                kwargs[new] = kwargs.pop(old)
            return call(*args, **kwargs)

        return called

    def decorate(target: Decorated) -> Decorated:
        if isinstance(target, type):
            target.__init__ = with_old_names(target.__init__, target.__name__)  # type: ignore[misc]
            return target
        return with_old_names(target, target.__name__)  # type: ignore[return-value]

    return decorate


def module_getattr(module: str, new_name_of: Mapping[str, str]) -> Callable[[str], Any]:
    """The `__getattr__` of a module whose public names were renamed: `old: new`, both in this module."""

    def __getattr__(name: str) -> Any:
        if name not in new_name_of:
            raise AttributeError(f"module {module!r} has no attribute {name!r}")
        _warn(f"{module}.{name}", f"{module}.{new_name_of[name]}")
        return getattr(sys.modules[module], new_name_of[name])

    return __getattr__


def _warn(old: str, new: str) -> None:
    warnings.warn(f"{old} is deprecated: use {new}", DeprecationWarning, stacklevel=3)
