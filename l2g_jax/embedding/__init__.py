"""From known similarities to vectors: dissimilarities and multidimensional scaling."""
