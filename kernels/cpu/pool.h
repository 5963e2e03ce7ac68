/* pool.h: the worker threads of a device. They spin briefly for the next job, then sleep. */
#ifndef SEXTANT_POOL_H
#define SEXTANT_POOL_H
#include <stdbool.h>
#include <stdint.h>

typedef struct pool pool;

/* The work: item i of a job, done by thread `thread` of [0, threads). Which thread does which is open. Items are handed out in order; where
 * there are several nodes, each thread first takes those of its node's part of the job, whose memory a job before may have placed there. */
typedef void (*pool_fn)(void *job, int64_t i, int thread);

/* Where threads belong. The caller of pool_run is thread 0 and is left where it is. */
typedef struct pool_places {
  const int32_t *cpu;  /* [threads]: what each is pinned to; NULL: nothing */
  const int32_t *node; /* [threads]: from 0, rising by at most 1; NULL: all on one */
  bool crowded;        /* more threads than CPUs: nobody spins */
} pool_places;

pool *pool_new(int threads, pool_places); /* NULL: no memory or no threads to be had */
void pool_free(pool *);
/* Does items [0, n) and returns when all are done. The caller is thread 0. */
void pool_run(pool *, pool_fn, void *job, int64_t n);

#endif
