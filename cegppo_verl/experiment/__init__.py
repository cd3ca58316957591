"""From a file that states a question to the list of training runs that answer it.

grid (a file with a question and arms) → arm (algorithm + hyper-parameters) → cell (arm × scale × seed: one
training run). Needs pydantic and PyYAML only: it runs on a login node or laptop without torch, ray or verl.
"""
