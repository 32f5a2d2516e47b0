"""From vectors to a ranking: fusion, re-ranking, certainty, global search, and graph baselines."""
