"""Tags of sounds: reading labelled examples, learning a multi-label model from them, measuring and using it."""
