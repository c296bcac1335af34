"""What may be claimed from runs and examples, and how surely. Pure functions of the standard library.

A base installation has neither numpy nor scipy, and a verdict must not depend on what happens to be installed. So
every figure here is computed by one rule: random draws come from one stream, and sums of resamples are sums of whole
numbers, exact in any order. numpy, where it is there, adds the same numbers faster (`resample`, `randomization`);
scipy is what the tests hold the formulas to. Stands between the record and the parts: metrics, report and comparisons
share it.

One file a family of tests: `means` (t, ratios), `resample` (bootstrap), `randomization` (sign flips), `two_level`
(seeds and examples), `holm`, `correlation`, `pareto`, `carburacy`, `latency`.
"""
