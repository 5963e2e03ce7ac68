/* sample.h: one token of a row of logits, by taking choices off a heap in descending order until the draw is decided. */
#include <math.h>

#include "host.h"

typedef struct choice {
  float logit;
  int32_t id;
} choice;

/* The order of choices: descending logit, then ascending id; NaN last. */
static inline bool choice_before(choice a, choice b) {
  bool na = a.logit != a.logit, nb = b.logit != b.logit;
  if (na || nb) return na == nb ? a.id < b.id : nb;
  return a.logit != b.logit ? a.logit > b.logit : a.id < b.id;
}

static void sift(choice *heap, int64_t n, int64_t i) {
  choice c = heap[i];
  for (int64_t child; (child = 2 * i + 1) < n; i = child) {
    if (child + 1 < n && choice_before(heap[child + 1], heap[child])) child++;
    if (!choice_before(heap[child], c)) break;
    heap[i] = heap[child];
  }
  heap[i] = c;
}

/* Moves the best of a heap of n behind it, to heap[n - 1]. */
static void pop(choice *heap, int64_t n) {
  choice best = heap[0];
  heap[0] = heap[n - 1];
  heap[n - 1] = best;
  sift(heap, n - 1, 0);
}

static inline double weight_of(choice c, choice best, float temperature) {
  if (c.logit == best.logit) return 1;
  double p = exp(((double)c.logit - best.logit) / temperature);
  return p == p ? p : 0;
}

static int32_t sample_row(const float *logits, int64_t n, sx_sample_desc s, double u, choice *heap) {
  choice best = {logits[0], 0};
  for (int64_t i = 0; i < n; i++) {
    heap[i] = (choice){logits[i], (int32_t)i};
    if (choice_before(heap[i], best)) best = heap[i];
  }
  if (s.temperature <= 0 || best.logit != best.logit) return best.id;
  for (int64_t i = n / 2 - 1; i >= 0; i--) sift(heap, n, i);
  int64_t k = s.top_k > 0 && s.top_k < n ? s.top_k : n, popped = 0;
  double sum = 0, kept = 0, at = 0;
  if (k == n) {
    for (int64_t i = 0; i < n; i++) sum += weight_of(heap[i], best, s.temperature);
  } else {
    for (; popped < k; popped++) {
      pop(heap, n - popped);
      sum += weight_of(heap[n - 1 - popped], best, s.temperature);
    }
  }
  /* The i-th best is heap[n - 1 - i] once popped. kept: the probability of the first `last` + 1 of them, all when top_p is off. */
  int64_t last = 0;
  for (;; last++) {
    if (last == popped) pop(heap, n - popped++);
    kept += weight_of(heap[n - 1 - last], best, s.temperature);
    if (s.top_p >= 1 ? kept > u * sum : kept >= s.top_p * sum) break;
    if (last == k - 1) break;
  }
  if (s.top_p >= 1) return heap[n - 1 - last].id;
  for (int64_t i = 0; i < last; i++)
    if ((at += weight_of(heap[n - 1 - i], best, s.temperature)) > u * kept) return heap[n - 1 - i].id;
  return heap[n - 1 - last].id;
}
