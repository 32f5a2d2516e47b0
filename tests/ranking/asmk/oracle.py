"""ASMK by loops over images, words and descriptors, from the published facts alone."""

import numpy as np


def words_of(descriptor, centroids, count):
  distances = ((descriptor.astype(np.float64) - centroids.astype(np.float64)) ** 2).sum(axis=1)
  # Python's sort keeps the order of equals.
  return sorted(range(len(centroids)), key=lambda word: distances[word])[:count]


def vectors_of(descriptors, centroids, count):
  """Returns the sums of residuals of an image by word."""
  sums = {}
  for descriptor in descriptors:
    for word in words_of(descriptor, centroids, count):
      residual = descriptor - centroids[word]
      sums[word] = sums[word] + residual if word in sums else residual
  return sums


def similarity(first, second, binary):
  if binary:
    num_bits = 32 * -(-len(first) // 32)
    different = sum((a > 0) != (b > 0) for a, b in zip(first, second, strict=True))
    return 1.0 - 2.0 * different / num_bits
  first, second = (x / (np.linalg.norm(x) + 1e-6) for x in (first, second))
  return float(first @ second)


def score(queries, images, centroids, *, binary, multiple_assignment, alpha, threshold, use_idf):
  """Returns `[Q, N]` float64; an image or query without descriptors scores 0."""
  database = [vectors_of(image, centroids, 1) for image in images]
  weights = {}
  for word in range(len(centroids)):
    count = sum(word in vectors for vectors in database)
    weights[word] = np.log(len(images) / max(count, 1)) ** 2 if use_idf else 1.0
  scores = np.zeros((len(queries), len(images)))
  for row, query in enumerate(queries):
    vectors = vectors_of(query, centroids, multiple_assignment)
    query_norm = sum(weights[word] for word in vectors)
    for column, image in enumerate(database):
      norm = sum(weights[word] for word in image)
      total = 0.0
      for word in vectors.keys() & image.keys():
        value = similarity(vectors[word], image[word], binary)
        if value >= threshold:
          total += weights[word] * value**alpha
      if query_norm * norm > 0.0:
        scores[row, column] = total / np.sqrt(query_norm) / np.sqrt(norm)
  return scores
