"""The HTTP service: routes, models of requests and responses, uploads, metrics, access rules."""
