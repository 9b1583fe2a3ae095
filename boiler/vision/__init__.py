"""Pictures and frames of videos: decoded in worker processes, and converted to the input of a network."""
