"""Settings from the environment: strict, documented, and with errors that name the variable."""

from __future__ import annotations

from pathlib import Path

import pytest

from boiler.errors import SettingsError
from boiler.service import settings

KEY = "read:" + "k" * 20


@pytest.fixture(autouse=True)
def only_a_model_dir(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in settings.Settings.model_fields:
        monkeypatch.delenv(f"BOILER_{name.upper()}", raising=False)
    monkeypatch.setenv("BOILER_MODEL_DIR", "/somewhere")


def test_only_the_model_dir_is_required() -> None:
    assert settings.load() == settings.Settings(model_dir=Path("/somewhere"))


def test_docstring_lists_every_setting_with_its_default() -> None:
    assert settings.__doc__ is not None
    for name, field in settings.Settings.model_fields.items():
        row = next(row for row in settings.__doc__.splitlines() if f"``BOILER_{name.upper()}``" in row)
        if isinstance(field.default, int | float) and not isinstance(field.default, bool):
            assert f"{field.default:g}" in row or str(field.default) in row
        elif isinstance(field.default, bool):
            assert f" {int(field.default)} " in row
        elif isinstance(field.default, str):
            assert field.default in row


def test_trusted_proxies_are_addresses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BOILER_TRUSTED_PROXIES", "10.0.0.0/8, ::1")
    assert settings.load().trusted_proxies == ("10.0.0.0/8", "::1")
    monkeypatch.setenv("BOILER_TRUSTED_PROXIES", "nginx")
    with pytest.raises(SettingsError, match=r"BOILER_TRUSTED_PROXIES.*'nginx'"):
        settings.load()


@pytest.mark.parametrize("value", [None, ""])
def test_missing_model_dir(monkeypatch: pytest.MonkeyPatch, value: str | None) -> None:
    if value is None:
        monkeypatch.delenv("BOILER_MODEL_DIR")
    else:
        monkeypatch.setenv("BOILER_MODEL_DIR", value)
    with pytest.raises(SettingsError, match=r"BOILER_MODEL_DIR is not set.*export BOILER_MODEL_DIR="):
        settings.load()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("MAX_K", "many"),
        ("MAX_K", "0"),
        ("MAX_BODY_S", "-1"),
        ("REFRESH_S", "60"),
        ("LOG", "xml"),
        ("API_KEYS", "just-a-key-without-scope"),
        ("API_KEYS", "root:" + "k" * 20),
        ("API_KEYS", "read:short"),
        ("CORS_ORIGINS", "example.org"),
        ("CORS_ORIGINS", "https://example.org/page"),
        ("ROOT_PATH", "api"),
        ("ROOT_PATH", "/api?x"),
    ],
)
def test_wrong_value_names_the_variable(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    monkeypatch.setenv(f"BOILER_{name}", value)
    with pytest.raises(SettingsError, match=f"BOILER_{name}: "):
        settings.load()


def test_misspelt_variable_is_an_error_but_an_unrelated_one_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BOILER_TEST_DATA", "/data")
    settings.load()
    monkeypatch.setenv("BOILER_MAX_UPLOAD_BYTE", "1")
    with pytest.raises(SettingsError, match="did you mean BOILER_MAX_UPLOAD_BYTES"):
        settings.load()


def test_lists_are_comma_separated(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BOILER_CORS_ORIGINS", "https://a.example, http://localhost:3000 ,")
    monkeypatch.setenv("BOILER_API_KEYS", f"{KEY},admin:{'a' * 16}")
    loaded = settings.load()
    assert loaded.cors_origins == ("https://a.example", "http://localhost:3000")
    assert len(loaded.api_keys) == 2


def test_keys_are_in_neither_repr_nor_errors(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BOILER_API_KEYS", KEY)
    assert "kkkk" not in repr(settings.load()) + str(settings.load())
    monkeypatch.setenv("BOILER_API_KEYS", "wrong:" + "k" * 20)
    with pytest.raises(SettingsError) as refused:
        settings.load()
    assert "kkkk" not in str(refused.value)
