"""Words and sounds in one place: word vectors, and what words a sound answers to."""
