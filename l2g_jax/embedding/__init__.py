"""From known similarities to vectors: dissimilarities, then multidimensional scaling."""
