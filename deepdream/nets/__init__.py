"""A network on any engine: base says what a dream needs of one, engines loads it."""
