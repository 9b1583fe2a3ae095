"""Errors name their subject, survive pickling, and form the tree that the docstring shows."""

from __future__ import annotations

import pickle

import pytest

from boiler import errors


def all_errors() -> list[type[errors.BoilerError]]:
    return [
        value for value in vars(errors).values() if isinstance(value, type) and issubclass(value, errors.BoilerError)
    ]


def test_the_docstring_shows_every_error() -> None:
    assert errors.__doc__ is not None
    for error in all_errors():
        assert error.__name__ in errors.__doc__


def test_every_error_has_a_slug_of_its_own() -> None:
    slugs = [error.slug for error in all_errors()]
    assert len(set(slugs)) == len(slugs)


@pytest.mark.parametrize(
    "error",
    [
        errors.NotASoundError("a/b.wav", "is empty"),
        errors.UnknownNameError("encoder", "x", ["y"]),
        errors.QueryError("k"),
    ],
)
def test_an_error_survives_pickling(error: errors.BoilerError) -> None:
    again = pickle.loads(pickle.dumps(error))  # noqa: S301  # our own bytes
    assert type(again) is type(error)
    assert str(again) == str(error)


def test_a_sound_error_names_path_and_reason() -> None:
    assert str(errors.NotASoundError("a/b.wav", "is empty")) == "a/b.wav: is empty"


def test_an_unknown_name_error_lists_the_known_names_and_the_nearest() -> None:
    message = str(errors.UnknownNameError("encoder", "BagTop", ["MFCCStats", "BagTopVQVAE"]))
    assert message == "no encoder is called 'BagTop'; did you mean 'BagTopVQVAE'? Known: BagTopVQVAE, MFCCStats"


def test_a_renamed_error_is_still_found_under_its_old_name() -> None:
    with pytest.warns(DeprecationWarning, match="use boiler.errors.CatalogError"):
        assert errors.CatalogueError is errors.CatalogError
    with pytest.raises(AttributeError, match="NoSuchError"):
        _ = errors.NoSuchError
