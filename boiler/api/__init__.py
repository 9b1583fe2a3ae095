"""The ways to ask a published index: from Python (`nearest`), and over HTTP (`web`)."""
