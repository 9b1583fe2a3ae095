"""The store: published indexes, as generations of files that never change."""
