/* cpu.c: the device of the cpu backend: its threads, and how operations are split among them. The split decides
 * nothing about the numbers: each sum is made by one thread. */
#include "front.h"
#include "isa.h"
#include "pack.h"
#include "pool.h"
#include "sample.h"
#include "threads.h"

typedef struct scratch {
  float *p;
  void *raw;
  int64_t floats;
} scratch;

typedef struct cpu {
  const isa *isa;
  pool *pool;
  int32_t threads;
  scratch shared;      /* rows of a matmul, laid out */
  scratch each;        /* [threads][each_floats] */
  int64_t each_floats;
  char where[80]; /* the threads are, if there is more to say than their number */
  char note[64];  /* why it is not another build */
} cpu;

enum { max_threads = 4096, grain = 1 << 15 }; /* grain: the values below which an operation is not worth a second thread */

static cpu *of(const sx_device *d) { return d->impl; }

static float *scratch_of(const cpu *c, int thread) { return c->each.p + thread * c->each_floats; }

/* Makes p hold at least `floats`; what it held is lost. */
static sx_status grow(sx_device *d, scratch *s, int64_t floats) {
  int64_t bytes;
  void *raw = NULL;
  if (floats <= s->floats) return SX_OK;
  floats = (floats + 63) & ~(int64_t)63;
  float *p = size_mul(floats, 4, &bytes) ? host_alloc(bytes, &raw) : NULL;
  if (!p) return fail(d, SX_NOMEM, "no memory for %" PRId64 " floats of scratch", floats);
  free(s->raw);
  *s = (scratch){p, raw, floats};
  return SX_OK;
}

/* Grows every thread's scratch to at least `floats`. */
static sx_status reserve(sx_device *d, int64_t floats) {
  cpu *c = of(d);
  int64_t all;
  if (floats <= c->each_floats) return SX_OK;
  floats = (floats + 63) & ~(int64_t)63;
  if (!size_mul(floats, c->threads, &all)) return fail(d, SX_NOMEM, "no memory for the scratch of %" PRId32 " threads: %" PRId64 " floats each", c->threads, floats);
  sx_status s = grow(d, &c->each, all);
  if (s == SX_OK) c->each_floats = floats;
  return s;
}

/* Starts the threads, as many as are asked for or, for 0, as is best here, and notes where they are. */
static sx_status start(sx_device *d, int32_t asked, const cores *here) {
  cpu *c = of(d);
  const char *pin = getenv("SEXTANT_CPU_PIN");
  bool told = pin && *pin;
  if (told && strcmp(pin, "0") && strcmp(pin, "1")) return fail(d, SX_INVALID, "SEXTANT_CPU_PIN=%.32s: want 0 or 1", pin);
  c->threads = d->threads = asked ? asked : cores_threads(here);
  bool pinned = cores_pinned(here, !told ? pin_if_given : *pin == '1' ? pin_always : pin_never, c->threads);
  int n = 0;
  if (here->n < here->cpus) n += snprintf(c->where + n, sizeof c->where - (size_t)n, ", %" PRId32 " cores of %" PRId32 " CPUs", here->n, here->cpus);
  if (here->quota > 0) n += snprintf(c->where + n, sizeof c->where - (size_t)n, ", quota %.4g", here->quota);
  if (pinned) snprintf(c->where + n, sizeof c->where - (size_t)n, ", pinned on %" PRId32 " node%s", here->nodes, here->nodes == 1 ? "" : "s");
  pool_places at = {pinned ? here->cpu : NULL, pinned ? here->node : NULL, c->threads > here->cpus && here->cpus > 0};
  c->pool = pool_new(c->threads, at);
  return c->pool ? SX_OK : fail(d, SX_NOMEM, "cannot start %" PRId32 " threads", c->threads);
}

static sx_status k_open(sx_device *d, const sx_open_opts *o) {
  if (o->threads < 0 || o->threads > max_threads) return fail(d, SX_INVALID, "%" PRId32 " threads: want 0 to %d", o->threads, max_threads);
  cpu *c = calloc(1, sizeof *c);
  cores *here = malloc(sizeof *here);
  sx_status s = c && here ? sx_cpu_choose(d, &c->isa, c->note, sizeof c->note) : fail(d, SX_NOMEM, "no memory for a device");
  if (s == SX_OK) {
    cores_here(here);
    d->impl = c;
    s = start(d, o->threads, here);
  }
  free(here);
  if (s == SX_OK) s = reserve(d, logprob_scratch);
  if (s == SX_OK) return s;
  if (c && c->pool) pool_free(c->pool);
  free(c);
  return s;
}

static void k_close(sx_device *d) {
  cpu *c = of(d);
  pool_free(c->pool);
  free(c->shared.raw);
  free(c->each.raw);
  free(c);
}

static void k_info(sx_device *d, sx_info *out) {
  const cpu *c = of(d);
  const char *s = d->threads == 1 ? "" : "s";
  snprintf(out->features, sizeof out->features, "%s, %" PRId32 " thread%s%s", c->isa->features, d->threads, s, c->where);
  strncat(out->features, c->note, sizeof out->features - 1 - strlen(out->features));
}

static bool k_page_bytes(const sx_kv_desc *k, int64_t *bytes) {
  int64_t n; /* bounds every term of kv_shape_of */
  if (!size_mul(k->page_size + (int64_t)15, k->head_dim + (int64_t)15, &n) || !size_mul(n, (int64_t)k->kv_heads * 8, &n)) return false;
  return size_mul(kv_shape_of(k).head_size * k->kv_heads, k->dtype == SX_F32 ? 4 : 2, bytes);
}

static void k_copy_slots(const sx_kv *kv, uint8_t *dst, const uint8_t *src, int32_t positions) {
  kv_shape shape = kv_shape_of(&kv->d);
  int64_t size = kv->d.dtype == SX_F32 ? 4 : 2;
  for (int64_t h = 0; h < kv->d.kv_heads; h++) {
    int64_t base = h * shape.head_size;
    for (int64_t slot = 0; slot < positions; slot += lanes) {
      int64_t n = positions - slot < lanes ? positions - slot : lanes;
      for (int64_t i = 0; i < kv->d.head_dim; i++) {
        int64_t at = (base + key_index(&kv->d, slot, i)) * size;
        memcpy(dst + at, src + at, (size_t)(n * size));
      }
    }
    int64_t values = (base + shape.k_size) * size;
    memcpy(dst + values, src + values, (size_t)(positions * shape.v_row * size));
  }
}

#include "memory.h"

/* A job split by rows: part i is rows [i*step, (i+1)*step). */
typedef struct split {
  const cpu *c;
  const void *job;
  int64_t n, step;
} split;

static split split_rows(const sx_device *d, const void *job, mat m) {
  int64_t step = m.cols > 0 ? grain / m.cols + 1 : m.rows;
  return (split){of(d), job, m.rows, step > 0 ? step : 1};
}

static void run(const split *s, pool_fn fn) { pool_run(s->c->pool, fn, (void *)(uintptr_t)s, (s->n + s->step - 1) / s->step); }

static int64_t part_end(const split *s, int64_t i) { return (i + 1) * s->step < s->n ? (i + 1) * s->step : s->n; }

static const char *k_layout(void) { return PACK_LAYOUT; }

static bool k_pack_bytes(const sx_weight *w, int64_t *bytes) { return pack_bytes(w, bytes); }

typedef struct pack_job {
  const sx_weight *w;
  uint8_t *to;
} pack_job;

static void pack_part(void *arg, int64_t i, int thread) {
  const split *s = arg;
  const pack_job *j = s->job;
  (void)thread;
  pack_panels(j->w, j->to, i * s->step, part_end(s, i) - i * s->step);
}

static void k_pack(sx_device *d, const sx_weight *w, uint8_t *to) {
  pack_job job = {w, to};
  split s = {of(d), &job, panels_of(w), 4};
  run(&s, pack_part);
}

static void embed_part(void *arg, int64_t i, int thread) {
  const split *s = arg;
  const embed_job *j = s->job;
  (void)thread;
  embed_rows(j->out, j->w, j->ids, i * s->step, part_end(s, i));
}

static sx_status k_embed(sx_device *d, mat out, const sx_weight *w, const int32_t *ids) {
  embed_job job = {out, w, ids};
  split s = split_rows(d, &job, out);
  run(&s, embed_part);
  return SX_OK;
}

#include "cut.h"

static void rmsnorm_part(void *arg, int64_t i, int thread) {
  const split *s = arg;
  (void)thread;
  s->c->isa->rmsnorm(s->job, i * s->step, part_end(s, i));
}

static sx_status k_rmsnorm(sx_device *d, mat out, mat x, const mat *add, const float *w, float eps) {
  norm_job job = {out, x, add, w, eps};
  split s = split_rows(d, &job, x);
  run(&s, rmsnorm_part);
  return SX_OK;
}

static sx_status k_add(sx_device *d, mat x, mat add) {
  norm_job job = {.out = x, .x = x, .add = &add};
  split s = split_rows(d, &job, x);
  run(&s, rmsnorm_part);
  return SX_OK;
}

static void swiglu_part(void *arg, int64_t i, int thread) {
  const split *s = arg;
  (void)thread;
  s->c->isa->swiglu(s->job, i * s->step, part_end(s, i));
}

static sx_status k_swiglu(sx_device *d, mat out, mat gate, mat up) {
  gate_job job = {out, gate, up};
  split s = split_rows(d, &job, out);
  run(&s, swiglu_part);
  return SX_OK;
}

#include "calibrate.h"

static void rope_part(void *arg, int64_t i, int thread) {
  const split *s = arg;
  s->c->isa->rope_kv(s->job, i * s->step, part_end(s, i), scratch_of(s->c, thread));
}

static sx_status k_rope_kv(sx_device *d, const rope_args *a, sx_kv *kv, const sx_batch *b) {
  rope_job job = {a->q, a->k, a->v, a->table, a->dims, a->interleaved, a->layer, kv, b};
  split s = split_rows(d, &job, a->q);
  sx_status status = reserve(d, kv->d.head_dim);
  if (status == SX_OK) run(&s, rope_part);
  return status;
}

/* Part i is a tile of the tokens, a kv head, and a chunk where there are chunks. The last tiles, which see most, come first. */
static void attention_part(void *arg, int64_t i, int thread) {
  const split *s = arg;
  const attn_job *j = s->job;
  int64_t chunks = j->chunks ? j->chunks : 1, heads = j->kv->d.kv_heads, from = (s->n - 1 - i) / chunks / heads * j->tile;
  int64_t to = from + j->tile < j->q.rows ? from + j->tile : j->q.rows;
  s->c->isa->attention(j, from, to, i / chunks % heads, i % chunks, scratch_of(s->c, thread));
}

static void attention_merge_part(void *arg, int64_t i, int thread) {
  const split *s = arg;
  (void)thread;
  s->c->isa->attention_merge(s->job, i * s->step, part_end(s, i));
}

static sx_status k_attention(sx_device *d, mat out, mat q, const sx_kv *kv, const sx_batch *b, const sx_attention_desc *a) {
  enum { pieces = 4 }; /* items a thread, so that a long one holds up little */
  cpu *c = of(d);
  int64_t group = a->heads / kv->d.kv_heads, most = attn_unit_rows / group, tile = q.rows * kv->d.kv_heads / (c->threads * pieces);
  tile = tile > most ? most : tile;
  tile = tile < 1 ? 1 : tile;
  attn_job job = {.out = out, .q = q, .kv = kv, .batch = b, .d = *a, .tile = tile};
  int64_t items = (q.rows + tile - 1) / tile * kv->d.kv_heads;
  sx_status status = reserve(d, attn_scratch(kv->d.head_dim));
  if (items < c->threads * pieces && c->threads > 1 && b->longest > attn_chunk) {
    job.chunks = (b->longest + attn_chunk - 1) / attn_chunk;
    if (status == SX_OK) status = grow(d, &c->shared, q.rows * a->heads * job.chunks * attn_slot(kv->d.head_dim));
    job.partial = c->shared.p;
  }
  if (status != SX_OK) return status;
  split s = {c, &job, items * (job.chunks ? job.chunks : 1), 1}, merge = split_rows(d, &job, q);
  run(&s, attention_part);
  if (job.chunks) run(&merge, attention_merge_part);
  return SX_OK;
}

static void logprob_part(void *arg, int64_t i, int thread) {
  const split *s = arg;
  s->c->isa->logprob(s->job, i, scratch_of(s->c, thread));
}

/* Puts the parts of row r together, in the order of the vocabulary. */
static void merge(const logprob_job *j, int64_t r, logprob_out out) {
  const part *p = j->parts + r * j->chunks, *top = p;
  double sum = 0;
  for (int64_t i = 1; i < j->chunks; i++)
    if (p[i].max > top->max || (isnan(top->max) && !isnan(p[i].max))) top = p + i;
  for (int64_t i = 0; i < j->chunks; i++) sum += p[i].max == top->max || isnan(p[i].sum) ? p[i].sum : p[i].sum * exp((double)p[i].max - top->max);
  out.lse[r] = top->max + log(sum);
  if (out.best) out.best[r] = top->best;
  if (out.best_logit) out.best_logit[r] = top->max;
}

/* One piece of the rows; out begins with it. */
static sx_status logprob_rows_of(sx_device *d, logprob_job *j, logprob_out out) {
  split s = {of(d), j, j->chunks, 1};
  sx_status status = prepare(d, &j->mat);
  if (status != SX_OK) return status;
  run(&s, logprob_part);
  for (int64_t r = 0; r < j->mat.x.rows; r++) merge(j, r, out);
  return SX_OK;
}

static sx_status k_logprob(sx_device *d, mat x, const sx_weight *w, logprob_in in, logprob_out out) {
  int64_t chunks = (w->rows + vocab_chunk - 1) / vocab_chunk, rows = x.rows < mat_rows ? x.rows : mat_rows, bytes;
  void *raw = NULL;
  part *parts = size_mul(rows, chunks * (int64_t)sizeof *parts, &bytes) ? host_zalloc(bytes, &raw) : NULL;
  if (!parts) return fail(d, SX_NOMEM, "no memory for the sums of %" PRId64 " rows over %" PRId64 " logits", rows, w->rows);
  sx_status status = SX_OK;
  for (int64_t r = 0; r < x.rows && status == SX_OK; r += rows) {
    mat piece = {x.p + r * x.stride, x.rows - r < rows ? x.rows - r : rows, x.cols, x.stride, x.dtype};
    logprob_job job = {{.x = piece, .w = w}, of(d)->isa->matmul, in.ids, in.start + r, out.target, parts, chunks};
    logprob_out at = {out.lse + r, out.target, out.best ? out.best + r : NULL, out.best_logit ? out.best_logit + r : NULL};
    status = logprob_rows_of(d, &job, at);
  }
  free(raw);
  return status;
}

typedef struct sample_job {
  mat logits;
  const sx_sample_desc *desc;
  const double *u;
  int32_t *ids;
  choice *heaps; /* [threads][cols] */
} sample_job;

static void sample_part(void *arg, int64_t i, int thread) {
  const split *s = arg;
  const sample_job *j = s->job;
  j->ids[i] = sample_row(j->logits.p + i * j->logits.stride, j->logits.cols, j->desc[i], j->u[i], j->heaps + thread * j->logits.cols);
}

static sx_status k_sample(sx_device *d, mat logits, const sx_sample_desc *desc, const double *u, int32_t *ids) {
  cpu *c = of(d);
  int64_t bytes;
  void *raw = NULL;
  choice *heaps = size_mul(logits.cols, c->threads * (int64_t)sizeof *heaps, &bytes) ? host_zalloc(bytes, &raw) : NULL;
  if (!heaps) return fail(d, SX_NOMEM, "no memory to sort %" PRId64 " logits on %" PRId32 " threads", logits.cols, c->threads);
  sample_job job = {logits, desc, u, ids, heaps};
  split s = {c, &job, logits.rows, 1};
  run(&s, sample_part);
  free(raw);
  return SX_OK;
}

static const sx_ops table = HOST_TABLE("cpu");

const sx_ops *sx_cpu_ops(void) { return &table; }
