/* peak.c: what this machine can do at best, to hold the operations' rates against: multiply-adds in registers, and reading memory. The
 * best of short trials is taken: others on the machine only make a trial slower. */
#include <time.h>

#include "isa.h"
#include "pool.h"

typedef struct probe {
  const isa *isa;
  int64_t rounds; /* of multiply-adds */
  uint8_t *data;
  int64_t piece, first; /* bytes of an item; the first item of a trial */
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
  memset(p->data + (p->first + i) * p->piece, 1, (size_t)p->piece);
}

static void read_item(void *arg, int64_t i, int thread) {
  probe *p = arg;
  (void)thread;
  p->seen ^= p->isa->read(p->data + (p->first + i) * p->piece, p->piece);
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

/* GB/s of reading `bytes` of memory from end to end on all threads; 0 when the memory or the threads cannot be had. */
double sx_cpu_read(const char *name, int32_t threads, int64_t bytes) {
  enum { trials = 48, windows = 8 }; /* a trial reads one eighth, the next trial the next */
  probe p = {.isa = sx_cpu_build(name), .piece = 1 << 21};
  int64_t items = bytes / p.piece;
  void *raw = NULL;
  pool *pool = p.isa && threads > 0 && items > 0 ? pool_new(threads, (pool_places){0}) : NULL;
  double best = 0;
  if (!pool) return 0;
  p.data = host_zalloc(items * p.piece, &raw);
  if (p.data) pool_run(pool, touch_item, &p, items);
  for (int i = 0; p.data && i < trials; i++) {
    int64_t n = (items + windows - 1) / windows, at = i % windows * n;
    if (at >= items) continue;
    if (n > items - at) n = items - at;
    p.first = at;
    double start = seconds();
    pool_run(pool, read_item, &p, n);
    double rate = (double)(n * p.piece) / (seconds() - start) / 1e9;
    if (rate > best) best = rate;
  }
  free(raw);
  pool_free(pool);
  return best;
}
