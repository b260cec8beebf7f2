"""The only place where a score is computed.

Every method scores `score(q, g) = mean over query vectors s of (max over gallery vectors t of <q_s, g_t>)`
with all vectors of unit length; one vector on either side is the case T = 1, where the score is the cosine.
Scores are equal where they are to the last bit, as those of equal gallery vectors for one query are. Scored among other
queries, a query may see them change in that bit.
"""

from composir.similarity.one_pass import Ranking as Ranking
from composir.similarity.one_pass import ranking as ranking
from composir.similarity.one_pass import target_ranks as target_ranks
from composir.similarity.one_pass import top_k as top_k
from composir.similarity.scores import RANK_BYTES as RANK_BYTES
from composir.similarity.scores import maxsim as maxsim
from composir.similarity.scores import paired_scores as paired_scores
from composir.similarity.subset import subset_ranking as subset_ranking
