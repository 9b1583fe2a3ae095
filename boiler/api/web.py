"""The entry point for ASGI servers: ``uvicorn boiler.api.web:app``. The service itself is `boiler.service`."""

from boiler.deprecated import module_getattr
from boiler.service.app import BoilerApp

__all__ = ["BoilerApp", "app"]

app = BoilerApp()

__getattr__ = module_getattr(__name__, {"Web": "BoilerApp"})
