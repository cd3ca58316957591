"""The reference trainer: the toy scales' RL loop in plain torch, one process, no verl, Ray or vLLM.

The same losses, task, grading, settings and records as through verl, so that a cell takes seconds and a claim
can have dozens of seeds. It is another engine: its cells have identities of their own (scales
``toy-*-reference``), and its numbers are never averaged with verl's. Rollouts are sampled from the weights
that are trained, so no rollout engine can differ from the trainer.
"""
