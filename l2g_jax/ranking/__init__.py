"""From vectors to an order: fusion, re-ranking, certainty, and search by global features alone."""
