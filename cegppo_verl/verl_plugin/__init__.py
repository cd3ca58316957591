"""The only room that imports verl: policy losses, CPU platform, reward, rollout helpers.

verl imports :mod:`cegppo_verl.verl_plugin.entry` at the end of ``import verl``, in the driver, in every Ray
worker and in vLLM's processes (entry-point group ``verl.plugins``).
"""
