"""The life of a dispute as pure functions over its room's log.

``decide`` says which entries a command writes, or refuses by a rule; ``evolve`` says what the state is with one more
entry. The state of a dispute is nothing but what its entries add up to, so replaying a room gives the same state.
"""
