"""The catalog: which files there are, what has changed, their vectors, and the fields of an item."""
