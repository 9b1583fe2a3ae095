"""Training: an encoder learned from a folder of sounds."""
