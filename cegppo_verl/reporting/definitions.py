"""What every number of a report means; printed in the report and stored beside each artefact."""

from __future__ import annotations

CHECKPOINT_POLICY = "last planned step; no checkpoint is selected by its score"

METRICS = {
    "accuracy (avg@k)": (
        "mean over problems of the mean over the k samples of a problem, sampled at the evaluation "
        "temperature; a response that timed out in grading or holds no answer counts as wrong, listed apart"
    ),
    "pass@k": "unbiased estimator 1 − C(n−c, k)/C(n, k), mean over problems (arXiv 2107.03374)",
    "interval": (
        "95 % percentile bootstrap over training seeds, problems and samples (pass@k: seeds and problems); "
        "problems are shared by all seeds; one seed: over problems and samples only; "
        "all verdicts alike: Clopper–Pearson over problems. Few samples per problem make it a little too "
        "wide (simulated coverage 97 to 98 % with 2 samples), few seeds too narrow"
    ),
    "difference": (
        "arm minus baseline, paired per problem, bootstrap interval; p: two-sided sign-flip permutation test "
        "over problems (about these trained models, not about further seeds), Holm-adjusted over all "
        "differences of one scale"
    ),
    "entropy": (
        "policy entropy of the rollout policy, nats/token, token-mean over responses, "
        "from verl's old_log_prob pass"
    ),
    "tokens outside the interval": (
        "trained tokens with Â ≠ 0 whose ratio δ = π_θ/π_old is below 1 − ε_low or above 1 + ε_high, "
        "share of all trained tokens of all updates of a step"
    ),
    "weight outside": "Σ|w·Â| over those tokens, share of Σ|w·Â| over all tokens",
    "|Δp|": "mean over tokens of |rollout − trainer probability| (training/rollout_probs_diff_mean)",
    "s per step": "timing_s/step, wall clock, median over steps",
}
