"""The two doors that programs use: `boiler.api.nearest` from Python, `boiler.api.web` over HTTP."""
