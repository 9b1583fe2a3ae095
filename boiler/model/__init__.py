"""The network: mel spectrograms, VQ-VAE, checkpoints."""
