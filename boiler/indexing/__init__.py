"""Indexing: a folder of sounds to a published index."""
