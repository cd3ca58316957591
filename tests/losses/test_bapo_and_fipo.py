"""What the contract of weights does not see: BAPO's search for its bounds, FIPO's sum over later tokens."""

import pytest
import torch

from cegppo_verl.losses import bapo, fipo, weighted

PAPER = bapo.Params()
CODE = bapo.Params(search="code", target=0.5)


def tokens_of(log_ratio, advantages, old_log_prob=-1.25, mask=None):
    log_ratio = torch.tensor(log_ratio, dtype=torch.float64)
    old = torch.full_like(log_ratio, old_log_prob)
    mask = torch.ones_like(log_ratio) if mask is None else torch.tensor(mask)
    advantages = torch.tensor(advantages, dtype=torch.float64)
    return next(weighted.blocks(old, old + log_ratio, advantages, mask))


def random_batch(rows=12, length=30):
    draw = torch.Generator().manual_seed(3)
    log_ratio = 0.6 * torch.randn(rows, length, generator=draw, dtype=torch.float64)
    old = -3 * torch.rand(rows, length, generator=draw, dtype=torch.float64)
    advantages = torch.randn(rows, 1, generator=draw, dtype=torch.float64).expand(rows, length).clone()
    mask = torch.arange(length) < torch.randint(0, length + 1, (rows, 1), generator=draw)
    return old, old + log_ratio, advantages, mask


def printed_search(old, log_prob, advantages, mask, params):
    """Algorithm 1 with Eq. 8 evaluated on the tokens anew for every pair of bounds."""
    ratio, weight = (log_prob - old).exp()[mask], old.exp()[mask]
    a = advantages[mask]

    def share(low, high):
        gain = torch.minimum(ratio * a, ratio.clamp(0, high) * a).abs() * weight
        whole = torch.minimum(ratio * a, ratio.clamp(low, high) * a).abs() * weight
        return (gain[a > 0].sum() / whole.sum()).item()

    low, high, tiny = params.c_low, params.c_high, 1e-9
    while share(low, high) < params.target:
        if high + params.step_high <= params.c_high_max + tiny:
            high += params.step_high
        elif low + params.step_low <= params.c_low_max + tiny:
            low += params.step_low
        else:
            break
    return {"c_low": low, "c_high": high}


@pytest.mark.parametrize("target", [0.0, 0.202, 0.215, 0.23, 0.24, 0.2425, 0.3, 1.0])
def test_the_search_is_the_printed_algorithm(target):
    batch = random_batch()
    params = bapo.Params(target=target)
    totals = sum(bapo.collect(tokens, params) for tokens in weighted.blocks(*batch))
    found = bapo.decide(totals.tolist(), params)
    assert found == pytest.approx(printed_search(*batch, params))


def test_the_targets_above_stop_the_search_at_different_places():
    batch = random_batch()
    ends = [printed_search(*batch, bapo.Params(target=t))["c_high"] for t in (0.0, 0.215, 0.23, 0.24, 1.0)]
    assert len(set(ends)) == 5


def test_sums_of_parts_add_up():
    batch = random_batch()
    whole = sum(bapo.collect(tokens, PAPER) for tokens in weighted.blocks(*batch))
    parts = [tuple(t[rows] for t in batch) for rows in (slice(0, 1), slice(1, 7), slice(7, 12))]
    summed = sum(bapo.collect(tokens, PAPER) for part in parts for tokens in weighted.blocks(*part))
    torch.testing.assert_close(summed, whole, rtol=1e-12, atol=0.0)


def test_padding_is_not_collected():
    clean = tokens_of([[0.3, -0.2, 0.1]], [[1.0, 1.0, 0.0]])
    nan = float("nan")
    padded = tokens_of([[0.3, -0.2, nan]], [[1.0, 1.0, nan]], mask=[[1, 1, 0]])
    assert torch.equal(bapo.collect(clean, PAPER), bapo.collect(padded, PAPER))


def test_contributions_by_hand():
    # π_old = e^-1; δ = 2 with Â = 3, δ = ½ with Â = −1
    tokens = tokens_of([[0.6931471805599453, -0.6931471805599453]], [[3.0, -1.0]], old_log_prob=-1.0)
    gains, losses = bapo.collect(tokens, PAPER).split([37, 16])
    e = 2.718281828459045
    assert gains[0].item() == pytest.approx(1.2 * 3 / e)  # min(2, 1.2)·3
    assert gains[-1].item() == pytest.approx(2 * 3 / e)  # min(2, 3)·3
    assert losses[0].item() == pytest.approx(0.6 / e)  # max(½, .6)
    assert losses[-1].item() == pytest.approx(0.9 / e)
    assert bapo.collect(tokens, CODE)[0].item() == pytest.approx(3.6)  # without π_old


def test_candidates_are_the_published_ranges():
    assert bapo.highs(PAPER)[:2] == pytest.approx([1.2, 1.25])
    assert bapo.highs(PAPER)[-1] == 3.0
    assert bapo.lows(PAPER)[:2] == pytest.approx([0.6, 0.62])
    assert bapo.lows(PAPER)[-1] == 0.9
    assert (len(bapo.highs(PAPER)), len(bapo.lows(PAPER))) == (37, 16)


def test_rounding_does_not_cost_the_last_candidate():
    # (.7 − .6)/.1 is 0.9999999999999998 in floating point
    assert bapo.lows(bapo.Params(c_low=0.6, c_low_max=0.7, step_low=0.1)) == [0.6, 0.7]
    assert bapo.lows(bapo.Params(c_low=0.6, c_low_max=0.69, step_low=0.1)) == [0.6]


UNREACHABLE = [1.0] * 37 + [100.0] * 16  # P = 1, N = 100, whatever the bounds
ALONG_THE_WAY = [float(i) for i in range(37)] + [10.0] * 16  # P grows with c_high


def test_upper_bound_first_in_the_paper_lower_bound_first_in_the_code():
    assert bapo.decide(ALONG_THE_WAY, PAPER) == pytest.approx({"c_low": 0.6, "c_high": 1.2 + 7 * 0.05})
    assert bapo.decide(ALONG_THE_WAY, CODE) == pytest.approx({"c_low": 0.9, "c_high": 1.2 + 5 * 0.05})


@pytest.mark.parametrize("params", [PAPER, CODE])
def test_the_search_ends_at_the_ends_of_the_ranges(params):
    assert bapo.decide(UNREACHABLE, params) == {"c_low": 0.9, "c_high": 3.0}


@pytest.mark.parametrize("params", [PAPER, CODE])
@pytest.mark.parametrize("totals", [[0.0] * 53, [1.0] * 37 + [0.0] * 16], ids=["nothing", "only positive"])
def test_without_negative_tokens_the_bounds_stay(params, totals):
    assert bapo.decide(totals, params) == {"c_low": 0.6, "c_high": 1.2}


@pytest.mark.parametrize(
    "bad", [{"c_low": 0.95}, {"c_high": 3.5}, {"target": 1.5}, {"c_low": 1.2}, {"step_high": 0.0}]
)
def test_bad_ranges_are_refused(bad):
    with pytest.raises(ValueError, match=next(iter(bad))):
        bapo.Params(**bad)


@pytest.mark.parametrize("length", [1, 2, 3, 8, 16, 17, 50])
@pytest.mark.parametrize("gamma", [0.5, 2 ** (-1 / 32), 0.9999])
def test_discounted_sum_of_what_follows(length, gamma):
    terms = torch.randn(3, length, generator=torch.Generator().manual_seed(length), dtype=torch.float64)
    expected = terms.clone()
    for t in range(length - 2, -1, -1):
        expected[:, t] += gamma * expected[:, t + 1]
    torch.testing.assert_close(fipo.discounted_future(terms, gamma), expected, rtol=1e-12, atol=1e-12)


def test_discounted_sum_of_a_long_row_stays_finite_and_exact():
    terms = torch.full((1, 16384), 20.0)
    sums = fipo.discounted_future(terms, 2 ** (-1 / 32))
    torch.testing.assert_close(sums[0, 0].item(), 20 / (1 - 2 ** (-1 / 32)), rtol=1e-5, atol=0.0)
    assert sums[0, -1] == 20.0
    assert sums.isfinite().all()


def test_factor_looks_forward_not_backward_and_skips_outliers():
    params = fipo.Params(half_life=1.0, factor_low=0.1, factor_high=10.0)
    tokens = tokens_of([[0.0, 0.0, 0.4, 0.0, 3.0, 0.0]], [[1.0] * 6])
    # e^3 > c = 10 is not counted: only the .4 is seen, halved per token, by itself and those before it
    expected = torch.tensor([[0.1, 0.2, 0.4, 0.0, 0.0, 0.0]], dtype=torch.float64).exp()
    torch.testing.assert_close(fipo.factor(tokens, params), expected)


def test_masked_tokens_are_not_part_of_the_future():
    params = fipo.Params(half_life=1.0, factor_low=0.1, factor_high=10.0)
    tokens = tokens_of([[0.0, 9.0, 0.4]], [[1.0] * 3], mask=[[1, 0, 1]])
    torch.testing.assert_close(fipo.factor(tokens, params)[0, 0].log().item(), 0.1, rtol=1e-12, atol=0.0)
