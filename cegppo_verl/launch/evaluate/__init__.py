"""``cegppo eval``: final numbers of a checkpoint, a base model or any Hugging Face model, through vLLM."""
