"""Search: a query to ranked items, and what belongs to it: explanations, locating, paths, feedback."""
