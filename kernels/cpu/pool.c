#include "pool.h"

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>

enum { spins = 2000 }; /* some tens of microseconds: the gap between the operations of a forward pass */

/* The ticket names the job in hand (high half) and its next item (low half). Whoever raises the low half by a compare-and-swap has
 * taken that item, and the job cannot end before it is done: so its fields, read after the ticket, are those of this job. A worker that
 * comes late finds nothing left and is not waited for. */
struct pool {
  int threads;
  pthread_t *ids;
  pthread_mutex_t lock;
  pthread_cond_t wake, done;
  _Atomic uint64_t ticket;
  _Atomic(pool_fn) fn;
  _Atomic(void *) job;
  _Atomic uint64_t n;
  _Atomic int64_t base; /* of the item numbers */
  _Atomic uint64_t left; /* items that are not done */
  _Atomic bool stop;
  _Atomic int names; /* hands each worker its number */
};

enum { most = 1 << 30 }; /* items of a job; more are done in several */

static inline void relax(void) {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#endif
}

static uint64_t job_of(uint64_t ticket) { return ticket >> 32; }

/* Does items of job g until none is left to take. */
static void work(pool *p, uint64_t g, int thread) {
  uint64_t t = atomic_load(&p->ticket);
  while (job_of(t) == g && (uint32_t)t < atomic_load(&p->n)) {
    if (!atomic_compare_exchange_weak(&p->ticket, &t, t + 1)) continue;
    atomic_load(&p->fn)(atomic_load(&p->job), atomic_load(&p->base) + (uint32_t)t, thread);
    if (atomic_fetch_sub(&p->left, 1) == 1 && thread > 0) {
      pthread_mutex_lock(&p->lock); /* so that the signal cannot fall between the caller's look and its sleep */
      pthread_cond_signal(&p->done);
      pthread_mutex_unlock(&p->lock);
    }
    t = atomic_load(&p->ticket);
  }
}

/* Waits for a job other than `seen`. */
static uint64_t await(pool *p, uint64_t seen) {
  uint64_t g;
  for (int i = 0; i < spins; i++) {
    if ((g = job_of(atomic_load(&p->ticket))) != seen) return g;
    relax();
  }
  pthread_mutex_lock(&p->lock);
  while ((g = job_of(atomic_load(&p->ticket))) == seen) pthread_cond_wait(&p->wake, &p->lock);
  pthread_mutex_unlock(&p->lock);
  return g;
}

static void *worker(void *arg) {
  pool *p = arg;
  int thread = atomic_fetch_add(&p->names, 1);
  for (uint64_t seen = 0;;) {
    seen = await(p, seen);
    if (atomic_load(&p->stop)) return NULL;
    work(p, seen, thread);
  }
}

/* Opens the next job, whose fields are set, and gives its number. */
static uint64_t publish(pool *p) {
  pthread_mutex_lock(&p->lock);
  uint64_t g = (uint32_t)(job_of(atomic_load(&p->ticket)) + 1);
  atomic_store(&p->ticket, g << 32);
  pthread_cond_broadcast(&p->wake);
  pthread_mutex_unlock(&p->lock);
  return g;
}

static void run_some(pool *p, pool_fn fn, void *job, int64_t base, int64_t n) {
  atomic_store(&p->fn, fn);
  atomic_store(&p->job, job);
  atomic_store(&p->base, base);
  atomic_store(&p->left, (uint64_t)n);
  atomic_store(&p->n, (uint64_t)n);
  work(p, publish(p), 0);
  for (int i = 0; i < spins && atomic_load(&p->left); i++) relax();
  pthread_mutex_lock(&p->lock);
  while (atomic_load(&p->left)) pthread_cond_wait(&p->done, &p->lock);
  pthread_mutex_unlock(&p->lock);
  /* Close the ticket before the next job's fields are set, or a late worker could take an item of it under this number. */
  atomic_fetch_or(&p->ticket, UINT32_MAX);
}

void pool_run(pool *p, pool_fn fn, void *job, int64_t n) {
  if (p->threads == 1 || n <= 1) {
    for (int64_t i = 0; i < n; i++) fn(job, i, 0);
    return;
  }
  for (int64_t i = 0; i < n; i += most) run_some(p, fn, job, i, n - i < most ? n - i : most);
}

/* Starts the workers with every signal blocked: signals are the Go runtime's. Gives the number started. */
static int start(pool *p) {
  sigset_t all, old;
  int i = 0;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &old);
  while (i < p->threads - 1 && pthread_create(&p->ids[i], NULL, worker, p) == 0) i++;
  pthread_sigmask(SIG_SETMASK, &old, NULL);
  return i;
}

pool *pool_new(int threads) {
  pool *p = calloc(1, sizeof *p);
  pthread_t *ids = calloc((size_t)threads, sizeof *ids);
  if (!p || !ids) {
    free(p);
    free(ids);
    return NULL;
  }
  p->threads = threads;
  p->ids = ids;
  pthread_mutex_init(&p->lock, NULL);
  pthread_cond_init(&p->wake, NULL);
  pthread_cond_init(&p->done, NULL);
  atomic_store(&p->names, 1);
  int started = start(p);
  if (started == threads - 1) return p;
  p->threads = started + 1;
  pool_free(p);
  return NULL;
}

void pool_free(pool *p) {
  atomic_store(&p->stop, true);
  publish(p);
  for (int i = 0; i < p->threads - 1; i++) pthread_join(p->ids[i], NULL);
  pthread_cond_destroy(&p->wake);
  pthread_cond_destroy(&p->done);
  pthread_mutex_destroy(&p->lock);
  free(p->ids);
  free(p);
}
