"""Retrieval metrics from ranks, and what can be said about them; numpy only.

A metric is one value in 0..1 for each query, NaN where it does not apply, so that means, intervals and tests come
after. A rank counts from 1, and 0 says that there is none; where scores tie, see `composir.similarity`.
"""

from composir.metrics.hits import average_precision as average_precision
from composir.metrics.hits import average_precision_from_ranks as average_precision_from_ranks
from composir.metrics.hits import best_rank as best_rank
from composir.metrics.hits import hit_rates as hit_rates
from composir.metrics.hits import per_aspect as per_aspect
from composir.metrics.resampling import PairedTest as PairedTest
from composir.metrics.resampling import bootstrap_interval as bootstrap_interval
from composir.metrics.resampling import bootstrap_mean_of_means as bootstrap_mean_of_means
from composir.metrics.resampling import paired_mean_of_means as paired_mean_of_means
from composir.metrics.resampling import paired_test as paired_test
