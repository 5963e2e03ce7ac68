#include "pool.h"

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>

enum { spins = 2000 }; /* some tens of microseconds: the gap between the operations of a forward pass */

struct pool {
  int threads;
  pthread_t *ids;
  pthread_mutex_t lock;
  pthread_cond_t wake, done;
  /* The job in hand. fn, job and n are written before generation is raised and read after it is seen. */
  pool_fn fn;
  void *job;
  int64_t n;
  _Atomic int64_t next;
  _Atomic uint64_t generation;
  _Atomic int busy; /* workers that have not finished the job in hand */
  _Atomic bool stop;
  _Atomic int names; /* hands each worker its number */
};

static inline void relax(void) {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#endif
}

static void work(pool *p, int thread) {
  for (int64_t i; (i = atomic_fetch_add(&p->next, 1)) < p->n;) p->fn(p->job, i, thread);
}

/* Waits for a generation other than seen. */
static uint64_t await(pool *p, uint64_t seen) {
  uint64_t g;
  for (int i = 0; i < spins; i++) {
    if ((g = atomic_load(&p->generation)) != seen) return g;
    relax();
  }
  pthread_mutex_lock(&p->lock);
  while ((g = atomic_load(&p->generation)) == seen) pthread_cond_wait(&p->wake, &p->lock);
  pthread_mutex_unlock(&p->lock);
  return g;
}

static void *worker(void *arg) {
  pool *p = arg;
  int thread = atomic_fetch_add(&p->names, 1);
  for (uint64_t seen = 0;;) {
    seen = await(p, seen);
    if (atomic_load(&p->stop)) return NULL;
    work(p, thread);
    if (atomic_fetch_sub(&p->busy, 1) == 1) {
      pthread_mutex_lock(&p->lock); /* so that the signal cannot fall between the caller's look and its sleep */
      pthread_cond_signal(&p->done);
      pthread_mutex_unlock(&p->lock);
    }
  }
}

static void raise_generation(pool *p) {
  pthread_mutex_lock(&p->lock);
  atomic_fetch_add(&p->generation, 1);
  pthread_cond_broadcast(&p->wake);
  pthread_mutex_unlock(&p->lock);
}

void pool_run(pool *p, pool_fn fn, void *job, int64_t n) {
  if (p->threads == 1 || n <= 1) {
    for (int64_t i = 0; i < n; i++) fn(job, i, 0);
    return;
  }
  p->fn = fn;
  p->job = job;
  p->n = n;
  atomic_store(&p->next, 0);
  atomic_store(&p->busy, p->threads - 1);
  raise_generation(p);
  work(p, 0);
  for (int i = 0; i < spins && atomic_load(&p->busy); i++) relax();
  pthread_mutex_lock(&p->lock);
  while (atomic_load(&p->busy)) pthread_cond_wait(&p->done, &p->lock);
  pthread_mutex_unlock(&p->lock);
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
  raise_generation(p);
  for (int i = 0; i < p->threads - 1; i++) pthread_join(p->ids[i], NULL);
  pthread_cond_destroy(&p->wake);
  pthread_cond_destroy(&p->done);
  pthread_mutex_destroy(&p->lock);
  free(p->ids);
  free(p);
}
