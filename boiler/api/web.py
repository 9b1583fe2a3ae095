"""The door for ASGI servers: ``uvicorn boiler.api.web:app``. The service itself is `boiler.service`."""

from boiler.service.app import Web

__all__ = ["app"]

app = Web()
