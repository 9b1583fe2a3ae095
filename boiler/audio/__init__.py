"""Audio: any file to samples, windows of samples, and the other way round: spectrograms and compressed audio."""
