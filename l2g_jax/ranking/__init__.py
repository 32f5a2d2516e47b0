"""From vectors to a ranking: fusion, re-ranking, certainty, and search by global features alone."""
