"""How a cell trains and is evaluated: every knob that the arms of a grid share."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from cegppo_verl.experiment.validation import Name, Strict, reject

Whole = Annotated[int, Field(ge=1)]
Temperature = Annotated[float, Field(gt=0, le=10)]
TopP = Annotated[float, Field(gt=0, le=1)]


class Benchmark(Strict):
    """A set of problems that the policy is evaluated on."""

    name: Name = Field(description="a benchmark of the preset's task")
    samples: Whole = Field(description="k, the number of answers sampled per problem")
    problems: Whole | None = Field(default=None, description="how many problems to use; null means all")


class EvalSettings(Strict):
    """When and on what the policy is evaluated. Decoding is apart from the rollouts' decoding."""

    every: Whole = Field(description="training steps between evaluations; the last step is always evaluated")
    benchmarks: Annotated[tuple[Benchmark, ...], Field(strict=False, min_length=1)]
    temperature: Annotated[float, Field(ge=0, le=10)] = Field(description="0 means greedy")
    top_p: TopP
    at_start: bool = Field(description="whether to evaluate the base model as step 0")

    @model_validator(mode="after")
    def _one_k(self) -> Self:
        names = [benchmark.name for benchmark in self.benchmarks]
        if len(set(names)) < len(names):
            raise reject(
                "benchmarks", f"a benchmark is named twice: {', '.join(names)}", "name each one once"
            )
        if len({benchmark.samples for benchmark in self.benchmarks}) > 1:
            asked = ", ".join(f"{item.name} {item.samples}" for item in self.benchmarks)
            # verl 0.9.1 has one number for all validation files: actor_rollout_ref.rollout.val_kwargs.n
            hint = "give every benchmark the same samples; verl has one number for all of them"
            raise reject("benchmarks", f"benchmarks ask for different numbers of samples ({asked})", hint)
        if self.temperature == 0 and self.samples > 1:
            hint = "set samples: 1, or a temperature above 0"
            raise reject("temperature", "greedy decoding gives the same answer in every sample", hint)
        return self

    @property
    def samples(self) -> int:
        """k: answers sampled per problem, the same on every benchmark."""
        return self.benchmarks[0].samples


class CheckpointSettings(Strict):
    """How often the run can be resumed from. Not part of a cell's identity: it cannot change the numbers."""

    every: Whole = Field(description="training steps between checkpoints")
    # Not 1: verl 0.9.1 deletes the old checkpoint before it records the new one, and logs a step only after
    # saving it: a run killed in between would have nothing to go back to. The peak on disk is two anyway.
    keep: Annotated[int, Field(ge=2)] = Field(
        description="how many of the newest checkpoints stay; 2 is safe"
    )


class Settings(Strict):
    """One training recipe, complete: nothing is left to a default of the engine.

    Batch sizes: ``train_batch_size`` prompts × ``rollouts_per_prompt`` sequences are generated per step, then
    trained on in mini-batches of ``mini_batch_size`` prompts, ``ppo_epochs`` times over.
    """

    task: Literal["pick", "words", "math", "code-toy", "instruct-toy"]
    train_prompts: Whole | None = Field(description="size of the generated training set; null for real data")
    total_steps: Whole = Field(description="training steps, i.e. rollout batches")
    train_batch_size: Whole = Field(description="prompts per training step")
    rollouts_per_prompt: Annotated[int, Field(ge=2)] = Field(
        description="the group size; the advantage is relative to the group, so one rollout teaches nothing"
    )
    mini_batch_size: Whole = Field(description="prompts per optimiser update")
    ppo_epochs: Whole = Field(description="passes over each rollout batch")
    micro_batch_size: Whole | None = Field(
        description="sequences per forward pass; null packs by tokens (GPU scales only)"
    )
    learning_rate: Annotated[float, Field(gt=0, le=0.1)] = Field(
        description="AdamW's, constant after warm-up"
    )
    warmup_steps: Annotated[int, Field(ge=0)] = Field(description="training steps of linear warm-up")
    weight_decay: Annotated[float, Field(ge=0, lt=1)] = Field(description="AdamW's decoupled weight decay")
    grad_clip: Annotated[float, Field(gt=0)] = Field(description="largest gradient norm of an update")
    temperature: Temperature = Field(description="of the rollouts; 1 samples from the policy itself")
    top_p: TopP = Field(description="a share of probability mass; 1 samples from the policy itself")
    loss_agg_mode: Literal[
        "token-mean", "token-sum", "seq-mean-token-sum", "seq-mean-token-mean", "seq-mean-token-sum-norm"
    ]
    entropy_coeff: Annotated[float, Field(ge=0, le=1)] = Field(
        description="weight of an entropy bonus; 0 is none"
    )
    kl_loss_coef: Annotated[float, Field(ge=0, le=10)] = Field(description="weight of a KL term; 0 is none")
    norm_adv_by_std: bool = Field(
        description="whether advantages are divided by the group's standard deviation"
    )
    max_prompt_length: Whole
    max_response_length: Whole
    eval: EvalSettings
    checkpoint: CheckpointSettings

    @model_validator(mode="after")
    def _batches_divide(self) -> Self:
        self._check_mini_batch()
        self._check_micro_batch()
        if self.train_prompts is not None and self.train_prompts < self.train_batch_size:
            message = (
                f"{self.train_prompts} training prompts do not fill one batch of {self.train_batch_size}"
            )
            raise reject("train_prompts", message, f"make it at least {self.train_batch_size}")
        return self

    def _check_mini_batch(self) -> None:
        if self.mini_batch_size > self.train_batch_size or self.train_batch_size % self.mini_batch_size:
            message = f"{self.mini_batch_size} does not divide train_batch_size {self.train_batch_size}"
            raise reject("mini_batch_size", message, f"use one of {_divisors(self.train_batch_size)}")

    def _check_micro_batch(self) -> None:
        sequences = self.mini_batch_size * self.rollouts_per_prompt
        if self.micro_batch_size is not None and sequences % self.micro_batch_size:
            message = (
                f"{self.micro_batch_size} does not divide a mini-batch of {sequences} sequences "
                f"({self.mini_batch_size} prompts x {self.rollouts_per_prompt} rollouts)"
            )
            raise reject("micro_batch_size", message, f"use one of {_divisors(sequences)}")

    @property
    def updates_per_step(self) -> int:
        """Optimiser updates per rollout batch. With 1 the ratio is 1 everywhere and no clip or β can act."""
        return self.train_batch_size // self.mini_batch_size * self.ppo_epochs

    @property
    def rollouts_per_step(self) -> int:
        """Sequences generated per training step."""
        return self.train_batch_size * self.rollouts_per_prompt


def _divisors(number: int) -> str:
    return ", ".join(str(k) for k in range(1, number + 1) if number % k == 0)
