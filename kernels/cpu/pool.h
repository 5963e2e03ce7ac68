/* pool.h: the worker threads of a device. They spin briefly for the next job, then sleep. */
#ifndef SEXTANT_POOL_H
#define SEXTANT_POOL_H
#include <stdint.h>

typedef struct pool pool;

/* The work: item i of a job, done by thread `thread` of [0, threads). Items are handed out in order; which thread does which is open. */
typedef void (*pool_fn)(void *job, int64_t i, int thread);

pool *pool_new(int threads); /* NULL: no memory or no threads to be had */
void pool_free(pool *);
/* Does items [0, n) and returns when all are done. The caller is thread 0. */
void pool_run(pool *, pool_fn, void *job, int64_t n);

#endif
