/* peak.c: what this machine can do at best, to hold the operations' rates against: multiply-adds in registers, and reading memory. The
 * best of short trials is taken: others on the machine only make a trial slower. */
#include <time.h>

#include "isa.h"
#include "pool.h"

typedef struct probe {
  const isa *isa;
  int64_t rounds; /* of multiply-adds */
  uint8_t *data;
  int64_t piece; /* bytes of an item */
  _Atomic uint32_t seen; /* results, so that no work is left out */
} probe;

static double seconds(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static void fma_item(void *arg, int64_t i, int thread) {
  probe *p = arg;
  (void)i, (void)thread;
  p->seen ^= bits_of_f32(p->isa->fma(p->rounds));
}

static void touch_item(void *arg, int64_t i, int thread) {
  probe *p = arg;
  (void)thread;
  memset(p->data + i * p->piece, 1, (size_t)p->piece);
}

static void read_item(void *arg, int64_t i, int thread) {
  probe *p = arg;
  (void)thread;
  p->seen ^= p->isa->read(p->data + i * p->piece, p->piece);
}

/* GFLOP/s of a build's multiply-adds on all threads; 0 when the build does not run here or the threads cannot be had. */
double sx_cpu_fma(const char *name, int32_t threads) {
  enum { trials = 30, items = 4 /* of a thread */ };
  probe p = {.isa = sx_cpu_build(name), .rounds = 100000};
  pool *pool = p.isa && threads > 0 ? pool_new(threads, (pool_places){0}) : NULL;
  double best = 0;
  if (!pool) return 0;
  for (int i = 0; i < trials; i++) {
    double start = seconds();
    pool_run(pool, fma_item, &p, (int64_t)threads * items);
    double rate = (double)p.rounds * p.isa->fma_flop * threads * items / (seconds() - start) / 1e9;
    if (rate > best) best = rate;
  }
  pool_free(pool);
  return best;
}

/* GB/s of reading `bytes` of memory from end to end, again and again for half a second, on all threads; 0 when the memory or the threads
 * cannot be had. No best of short trials: where guests share a machine's memory, that is a rate which no pass over weights can hold. */
double sx_cpu_read(const char *name, int32_t threads, int64_t bytes) {
  const double enough = 0.5;
  probe p = {.isa = sx_cpu_build(name), .piece = 1 << 21};
  int64_t items = bytes / p.piece, read = 0;
  void *raw = NULL;
  pool *pool = p.isa && threads > 0 && items > 0 ? pool_new(threads, (pool_places){0}) : NULL;
  double took = 0;
  if (!pool) return 0;
  p.data = host_zalloc(items * p.piece, &raw);
  if (p.data) pool_run(pool, touch_item, &p, items);
  for (double start = seconds(); p.data && took < enough; took = seconds() - start, read += items * p.piece) pool_run(pool, read_item, &p, items);
  free(raw);
  pool_free(pool);
  return took > 0 ? (double)read / took / 1e9 : 0;
}
