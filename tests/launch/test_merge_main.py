"""What the merging process accepts, tensor by tensor."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

from cegppo_verl.launch.evaluate.merge_main import MergeError, checked, merge  # noqa: E402

SHAPES = {"embed": (2, 3), "norm": (3,), "head": (2, 3)}


def weights(**changed: object) -> dict:
    return {"embed": torch.ones(2, 3), "norm": torch.ones(3), "head": torch.ones(2, 3), **changed}


def test_copies_are_not_written() -> None:
    assert set(checked(weights(), (SHAPES, {"head"}))) == {"embed", "norm"}


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"norm": torch.ones(4)}, r"norm has shape \(4,\), the model \(3,\)"),
        ({"norm": torch.tensor([1.0, float("inf"), 1.0])}, "norm is not finite"),
        ({"bias": torch.ones(1)}, "the model has no bias"),
    ],
)
def test_weights_that_do_not_fit_are_refused(changed: dict, message: str) -> None:
    with pytest.raises(MergeError, match=message):
        checked(weights(**changed), (SHAPES, set()))


def test_a_missing_tensor_is_named() -> None:
    with pytest.raises(MergeError, match="lacks norm"):
        checked({"embed": torch.ones(2, 3), "head": torch.ones(2, 3)}, (SHAPES, set()))


def test_ranks_that_disagree_are_refused() -> None:
    with pytest.raises(MergeError, match="differs between ranks"):
        merge([{"a": torch.zeros(2)}, {"a": torch.ones(2)}], torch.float32)
    with pytest.raises(MergeError, match="different tensors"):
        merge([{"a": torch.zeros(2)}, {"b": torch.zeros(2)}], torch.float32)
