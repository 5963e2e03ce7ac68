#include "pool.h"

#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

enum {
  spins = 2000, /* some tens of microseconds: the gap between the operations of a forward pass */
  most_stripes = 64,
};

/* A stripe is the items of one node's threads. Its ticket names the job in hand (high half) and its next item (low half). Whoever raises
 * the low half by a compare-and-swap has taken that item, and the job cannot end before it is done: so the job's fields, read after the
 * ticket, are those of this job. A worker that comes late finds nothing left and is not waited for. */
typedef struct stripe {
  _Alignas(64) _Atomic uint64_t ticket;
  _Atomic uint32_t end;
} stripe;

struct pool {
  int threads, stripes, spins;
  pthread_t *ids;
  int32_t *stripe_of;               /* [threads] */
  const int32_t *cpu;               /* [threads]; NULL: not pinned */
  int32_t before[most_stripes + 1]; /* threads of the stripes before each */
  pthread_mutex_t lock;
  pthread_cond_t wake, done;
  _Atomic(pool_fn) fn;
  _Atomic(void *) job;
  _Atomic int64_t base;  /* of the item numbers */
  _Atomic uint64_t left; /* items that are not done */
  _Atomic int sleepers;  /* workers that wait, or are about to, to be woken */
  _Atomic bool waiting;  /* the caller, for left to become 0 */
  _Atomic bool stop;
  _Atomic int names; /* hands each worker its number */
  stripe stripes_of[most_stripes];
};

enum { most = 1 << 30 }; /* items of a job; more are done in several */

static inline void relax(void) {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#endif
}

static uint64_t job_of(uint64_t ticket) { return ticket >> 32; }

static void finish_item(pool *p, int thread) {
  if (atomic_fetch_sub(&p->left, 1) != 1 || thread == 0 || !atomic_load(&p->waiting)) return;
  pthread_mutex_lock(&p->lock); /* so that the signal cannot fall between the caller's look and its sleep */
  pthread_cond_signal(&p->done);
  pthread_mutex_unlock(&p->lock);
}

/* Does items of job g until none is left to take: first those of the thread's own stripe. */
static void work(pool *p, uint64_t g, int thread) {
  for (int i = 0; i < p->stripes; i++) {
    stripe *s = &p->stripes_of[(p->stripe_of[thread] + i) % p->stripes];
    uint64_t t = atomic_load(&s->ticket);
    while (job_of(t) == g && (uint32_t)t < atomic_load(&s->end)) {
      if (!atomic_compare_exchange_weak(&s->ticket, &t, t + 1)) continue;
      atomic_load(&p->fn)(atomic_load(&p->job), atomic_load(&p->base) + (uint32_t)t, thread);
      finish_item(p, thread);
      t = atomic_load(&s->ticket);
    }
  }
}

static uint64_t job_now(pool *p) { return job_of(atomic_load(&p->stripes_of[0].ticket)); }

/* Waits for a job other than `seen`. */
static uint64_t await(pool *p, uint64_t seen) {
  uint64_t g;
  for (int i = 0; i < p->spins; i++) {
    if ((g = job_now(p)) != seen) return g;
    relax();
  }
  pthread_mutex_lock(&p->lock);
  atomic_fetch_add(&p->sleepers, 1); /* before the look: publish looks the other way round */
  while ((g = job_now(p)) == seen) pthread_cond_wait(&p->wake, &p->lock);
  atomic_fetch_sub(&p->sleepers, 1);
  pthread_mutex_unlock(&p->lock);
  return g;
}

/* Pins the calling thread. A CPU that cannot be had is no reason to fail. */
static void pin(int32_t cpu) {
  cpu_set_t *set = CPU_ALLOC(cpu + 1);
  if (!set) return;
  CPU_ZERO_S(CPU_ALLOC_SIZE(cpu + 1), set);
  CPU_SET_S(cpu, CPU_ALLOC_SIZE(cpu + 1), set);
  sched_setaffinity(0, CPU_ALLOC_SIZE(cpu + 1), set);
  CPU_FREE(set);
}

static void *worker(void *arg) {
  pool *p = arg;
  int thread = atomic_fetch_add(&p->names, 1);
  if (p->cpu) pin(p->cpu[thread]);
  for (uint64_t seen = 0;;) {
    seen = await(p, seen);
    if (atomic_load(&p->stop)) return NULL;
    work(p, seen, thread);
  }
}

/* Opens the next job of n items, whose other fields are set, and gives its number. Stripe 0, which workers watch, comes last. */
static uint64_t publish(pool *p, uint64_t n) {
  uint64_t g = (uint32_t)(job_now(p) + 1);
  for (int i = p->stripes - 1; i >= 0; i--) {
    stripe *s = &p->stripes_of[i];
    atomic_store(&s->end, (uint32_t)(n * (uint64_t)p->before[i + 1] / (uint64_t)p->threads));
    atomic_store(&s->ticket, g << 32 | n * (uint64_t)p->before[i] / (uint64_t)p->threads);
  }
  if (atomic_load(&p->sleepers)) {
    pthread_mutex_lock(&p->lock);
    pthread_cond_broadcast(&p->wake);
    pthread_mutex_unlock(&p->lock);
  }
  return g;
}

static void run_some(pool *p, pool_fn fn, void *job, int64_t base, int64_t n) {
  atomic_store(&p->fn, fn);
  atomic_store(&p->job, job);
  atomic_store(&p->base, base);
  atomic_store(&p->left, (uint64_t)n);
  work(p, publish(p, (uint64_t)n), 0);
  for (int i = 0; i < p->spins && atomic_load(&p->left); i++) relax();
  if (atomic_load(&p->left)) {
    pthread_mutex_lock(&p->lock);
    atomic_store(&p->waiting, true); /* before the look, as above */
    while (atomic_load(&p->left)) pthread_cond_wait(&p->done, &p->lock);
    atomic_store(&p->waiting, false);
    pthread_mutex_unlock(&p->lock);
  }
  /* Close the tickets before the next job's fields are set, or a late worker could take an item of it under this number. */
  for (int i = 0; i < p->stripes; i++) atomic_fetch_or(&p->stripes_of[i].ticket, UINT32_MAX);
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

static void release(pool *p) {
  free(p->ids);
  free(p->stripe_of);
  free(p);
}

static void place(pool *p, const int32_t *node) {
  for (int i = 0; i < p->threads; i++) {
    p->stripe_of[i] = node && node[i] < most_stripes ? node[i] : 0;
    p->before[p->stripe_of[i] + 1]++;
    if (p->stripe_of[i] >= p->stripes) p->stripes = p->stripe_of[i] + 1;
  }
  for (int i = 0; i < p->stripes; i++) p->before[i + 1] += p->before[i];
}

pool *pool_new(int threads, pool_places at) {
  pool *p = aligned_alloc(64, sizeof *p);
  if (!p) return NULL;
  memset(p, 0, sizeof *p);
  p->ids = calloc((size_t)threads, sizeof *p->ids);
  p->stripe_of = calloc((size_t)threads, 2 * sizeof *p->stripe_of);
  p->threads = threads;
  p->spins = at.crowded ? 0 : spins;
  if (!p->ids || !p->stripe_of) {
    release(p);
    return NULL;
  }
  place(p, at.node);
  if (at.cpu) p->cpu = memcpy(p->stripe_of + threads, at.cpu, (size_t)threads * sizeof *at.cpu);
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
  publish(p, 0);
  for (int i = 0; i < p->threads - 1; i++) pthread_join(p->ids[i], NULL);
  pthread_cond_destroy(&p->wake);
  pthread_cond_destroy(&p->done);
  pthread_mutex_destroy(&p->lock);
  release(p);
}
