// crew.cu: the threads that fill pinned memory. A weight lies in a mapped file: one thread takes its page faults and its copies at a few GB/s, a
// bus takes ten times that.
#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>

#include "rt.h"

enum { CREW = 7 }; // and the calling thread

struct rt_crew {
  pthread_t thread[CREW];
  int threads;
  pthread_mutex_t lock;
  pthread_cond_t begin, end;
  uint64_t round; // raised for each copy
  int next, left; // threads take their numbers in a round, and leave it
  bool stop;
  uint8_t *dst;
  const uint8_t *src;
  int64_t bytes;
};

static void copy_part(const rt_crew *w, int part) {
  int64_t step = (w->bytes / (w->threads + 1) + 4095) & ~(int64_t)4095, from = part * step;
  int64_t to = part == w->threads || from + step > w->bytes ? w->bytes : from + step;
  if (from < to) memcpy(w->dst + from, w->src + from, (size_t)(to - from));
}

static void *serve(void *arg) {
  rt_crew *w = (rt_crew *)arg;
  uint64_t seen = 0;
  pthread_mutex_lock(&w->lock);
  for (;;) {
    while (w->round == seen && !w->stop) pthread_cond_wait(&w->begin, &w->lock);
    if (w->stop) break;
    seen = w->round;
    int part = w->next++;
    pthread_mutex_unlock(&w->lock);
    copy_part(w, part);
    pthread_mutex_lock(&w->lock);
    if (--w->left == 0) pthread_cond_signal(&w->end);
  }
  pthread_mutex_unlock(&w->lock);
  return NULL;
}

rt_crew *rt_crew_new(void) {
  cpu_set_t mine;
  int cpus = sched_getaffinity(0, sizeof mine, &mine) == 0 ? CPU_COUNT(&mine) : 1;
  rt_crew *w = cpus > 1 ? (rt_crew *)calloc(1, sizeof *w) : NULL;
  if (!w) return NULL;
  pthread_mutex_init(&w->lock, NULL);
  pthread_cond_init(&w->begin, NULL);
  pthread_cond_init(&w->end, NULL);
  while (w->threads < CREW && w->threads < cpus - 1 && pthread_create(&w->thread[w->threads], NULL, serve, w) == 0) w->threads++;
  return w;
}

void rt_crew_free(rt_crew *w) {
  if (!w) return;
  pthread_mutex_lock(&w->lock);
  w->stop = true;
  pthread_cond_broadcast(&w->begin);
  pthread_mutex_unlock(&w->lock);
  for (int i = 0; i < w->threads; i++) pthread_join(w->thread[i], NULL);
  pthread_cond_destroy(&w->begin);
  pthread_cond_destroy(&w->end);
  pthread_mutex_destroy(&w->lock);
  free(w);
}

void rt_crew_copy(rt_crew *w, void *dst, const void *src, int64_t bytes) {
  pthread_mutex_lock(&w->lock);
  w->dst = (uint8_t *)dst;
  w->src = (const uint8_t *)src;
  w->bytes = bytes;
  w->next = 0;
  w->left = w->threads;
  w->round++;
  pthread_cond_broadcast(&w->begin);
  pthread_mutex_unlock(&w->lock);
  copy_part(w, w->threads);
  pthread_mutex_lock(&w->lock);
  while (w->left > 0) pthread_cond_wait(&w->end, &w->lock);
  pthread_mutex_unlock(&w->lock);
}
