"""What a person does beside ``run``: look, stop, retry, compare; by files alone, on any machine."""
