/* probe.c: what the tests of threads and pools ask of C. */
#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "pool.h"
#include "threads.h"

int32_t sx_cpu_places(const char *root, const char *cpus, int32_t how, int32_t asked, int32_t cpu[64], int32_t node[64], int32_t info[4],
                      double *quota) {
  cpu_set_of mask;
  cores *c = malloc(sizeof *c);
  if (!c) return 0;
  cpu_list(cpus, &mask);
  cores_of(root, &mask, c);
  for (int32_t i = 0; i < c->n && i < 64; i++) cpu[i] = c->cpu[i], node[i] = c->node[i];
  info[0] = c->cpus;
  info[1] = c->machine;
  info[2] = cores_threads(c);
  info[3] = cores_pinned(c, (pinning)how, asked ? asked : info[2]);
  *quota = c->quota;
  int32_t n = c->n;
  free(c);
  return n;
}

typedef struct handing {
  int32_t threads, meet;
  _Atomic int32_t met;
  int32_t *by;
  _Atomic int32_t *times;
} handing;

static void hand(void *arg, int64_t i, int thread) {
  handing *h = arg;
  h->by[i] = thread;
  atomic_fetch_add(&h->times[i], 1);
  if (!h->meet) return;
  atomic_fetch_add(&h->met, 1);
  while (atomic_load(&h->met) < h->threads) sched_yield();
}

int sx_cpu_hand_out(int32_t threads, const int32_t *node, int64_t n, int32_t meet, int32_t *by, int32_t *times) {
  pool *p = pool_new(threads, (pool_places){.node = node, .crowded = true});
  if (!p) return 0;
  handing h = {.threads = threads, .meet = meet, .by = by, .times = (_Atomic int32_t *)times};
  pool_run(p, hand, &h, n);
  pool_free(p);
  return 1;
}
