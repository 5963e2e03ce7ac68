/* front.h: the table of a backend. It makes and checks every object and argument, so that the backend's own functions (declared first, k_*)
 * see only sound views. Included once by each of ref.c, cpu.c and cuda.c. */
#ifndef SEXTANT_FRONT_H
#define SEXTANT_FRONT_H
#include <inttypes.h>

#include "host.h"

/* What the backend gives. */
static sx_status k_open(sx_device *, const sx_open_opts *); /* fills threads and impl; on failure leaves nothing behind */
static void k_close(sx_device *);
static void k_machine(sx_device *, sx_info *); /* name, memory, threads */
static void k_info(sx_device *, sx_info *);    /* the rest */
/* Memory and order: memory.h where the device is the host. Work is done in the order of calls on d->stream. */
/* *data is aligned to 256 bytes and never NULL on success. No memory is SX_NOMEM; a device may have its own reason to fail, as after a fault. */
static sx_status k_alloc(sx_device *, int64_t bytes, bool zero, uint8_t **data, void **raw);
static void k_free(sx_device *, void *raw); /* when the work given so far is done */
static sx_status k_put(sx_device *, void *dst, const void *src, int64_t bytes);
static sx_status k_get(sx_device *, void *dst, const void *src, int64_t bytes); /* waits */
static sx_status k_copy(sx_device *, void *dst, sx_device *owner, const void *src, int64_t bytes); /* src is owner's; waits */
static sx_status k_stream_new(sx_device *, sx_stream *);
static void k_stream_free(sx_device *, sx_stream *);
static sx_status k_sync(sx_device *);
static bool k_takes(sx_dtype);  /* activations of this format */
static bool k_caches(sx_dtype); /* keys and values of it */
static bool k_pieces(void);
static bool k_rounds_kv(void);
static sx_status k_weight_new(sx_device *, sx_weight *, const sx_weight_desc *, const int64_t bytes[3]); /* w reads its data where it lies, on the host */
static sx_status k_weight_put(sx_device *, sx_weight *, int64_t row, const sx_weight *part);
static sx_status k_batch(sx_device *, sx_batch *); /* the arrays are there, or are others */
static void k_batch_free(sx_device *, sx_batch *);
static sx_status k_kv_copy(sx_device *, sx_kv *, int32_t dst, int32_t src, int32_t positions);
static sx_status k_graph_begin(sx_device *);
static sx_status k_graph_end(sx_device *, sx_graph *);
static sx_status k_graph_run(sx_device *, sx_graph *);
static void k_graph_free(sx_device *, sx_graph *);
static bool k_page_bytes(const sx_kv_desc *, int64_t *bytes); /* one page of one layer; false on overflow */
static const char *k_layout(void);                    /* "": weights are used as they come */
static bool k_pack_bytes(const sx_weight *, int64_t *); /* of the packed form; false on overflow */
static void k_pack(sx_device *, const sx_weight *, uint8_t *to);
static sx_status k_embed(sx_device *, mat out, const sx_weight *, const int32_t *ids);
static sx_status k_embed_batch(sx_device *, mat out, const sx_weight *, const sx_batch *);
static sx_status k_gather(sx_device *, mat out, mat x, const int32_t *rows);
static sx_status k_matmul(sx_device *, mat out, mat x, const sx_weight *, const float *bias);
static sx_status k_rmsnorm(sx_device *, mat out, mat x, const mat *add, const float *w, float eps);
static sx_status k_add(sx_device *, mat x, mat add);
static sx_status k_swiglu(sx_device *, mat out, mat gate, mat up);
typedef struct rope_args {
  mat q, k, v, table;
  int32_t dims, interleaved, layer;
} rope_args;
static sx_status k_rope_kv(sx_device *, const rope_args *, sx_kv *, const sx_batch *);
static sx_status k_attention(sx_device *, mat out, mat q, const sx_kv *, const sx_batch *, const sx_attention_desc *);
typedef struct logprob_in { /* the targets of row r: those from start[r] to start[r + 1] */
  const int32_t *ids;
  const int64_t *start;
} logprob_in;
typedef struct logprob_out {
  double *lse;
  float *target;
  int32_t *best;
  float *best_logit;
} logprob_out;
static sx_status k_logprob(sx_device *, mat x, const sx_weight *, logprob_in, logprob_out);
static sx_status k_sample(sx_device *, mat logits, const sx_sample_desc *, const double *u, int32_t *ids);
static sx_status k_colstats(sx_device *, float *max, float *sum, float *square, mat x);
static sx_status k_hessian(sx_device *, mat h, mat x);
static sx_status k_round(sx_device *, mat out, mat x, const sx_round_desc *); /* there are values; group is in [1, cols] */

/* Bytes of an activation, or of a value of a cache. */
static inline int64_t value_bytes(sx_dtype t) { return t == SX_F32 ? 4 : 2; }

static sx_status check_ids(sx_device *d, const char *name, const int32_t *ids, int64_t n, int64_t limit) {
  if (n < 0 || (n > 0 && !ids)) return fail(d, SX_INVALID, "%" PRId64 " %s%s", n, name, ids ? "" : ", but no array");
  for (int64_t i = 0; i < n; i++)
    if (ids[i] < 0 || ids[i] >= limit) return fail(d, SX_INVALID, "%s[%" PRId64 "] = %" PRId32 " is outside [0, %" PRId64 ")", name, i, ids[i], limit);
  return SX_OK;
}

#include "weights.h"
#include "objects.h"

#define DIMS "[%" PRId64 ", %" PRId64 "]"
#define SHAPE(t) (t)->rows, (t)->cols

/* Checks a tensor argument and resolves it. */
static sx_status view(sx_device *d, const char *name, const sx_tensor *t, mat *out) {
  if (!t) return fail(d, SX_INVALID, "%s is missing", name);
  if (!t->buf || t->buf->dev != d)
    return fail(d, SX_INVALID, "%s " DIMS ": its buffer is %s", name, SHAPE(t), t->buf ? "another device's" : "missing");
  if (t->rows < 0 || t->cols < 0 || t->stride < t->cols)
    return fail(d, SX_INVALID, "%s " DIMS " with row stride %" PRId64 ": negative, or rows overlap", name, SHAPE(t), t->stride);
  if (!k_takes(t->dtype)) {
    bool known = t->dtype == SX_BF16 || t->dtype == SX_F16;
    return fail(d, known ? SX_UNSUPPORTED : SX_INVALID, "%s: activations of dtype %" PRId32 " (this backend: f32%s)", name, t->dtype,
                k_takes(SX_BF16) ? ", bf16, f16" : "");
  }
  int64_t bytes = 0, size = value_bytes(t->dtype);
  bool fits = t->offset_bytes >= 0 && t->offset_bytes <= t->buf->bytes && t->offset_bytes % size == 0;
  if (t->rows > 0 && t->cols > 0) {
    fits = fits && size_mul(t->rows - 1, t->stride, &bytes) && !__builtin_add_overflow(bytes, t->cols, &bytes) &&
           size_mul(bytes, size, &bytes) && bytes <= t->buf->bytes - t->offset_bytes;
  }
  if (!fits)
    return fail(d, SX_INVALID, "%s " DIMS " %s with row stride %" PRId64 " at byte %" PRId64 " does not lie in its buffer of %" PRId64 " bytes",
                name, SHAPE(t), t->dtype == SX_F32 ? "f32" : t->dtype == SX_F16 ? "f16" : "bf16", t->stride, t->offset_bytes, t->buf->bytes);
  *out = (mat){(float *)(void *)(t->buf->data + t->offset_bytes), t->rows, t->cols, t->stride, t->dtype};
  return SX_OK;
}

/* Whether two views share a byte. Views of interleaved columns of one buffer (as of a fused projection) do not. */
static bool overlap(mat a, mat b) {
  if (a.rows == 0 || a.cols == 0 || b.rows == 0 || b.cols == 0) return false;
  uintptr_t size = (uintptr_t)value_bytes(a.dtype), other = (uintptr_t)value_bytes(b.dtype);
  uintptr_t a0 = (uintptr_t)a.p, a1 = a0 + (uintptr_t)((a.rows - 1) * a.stride + a.cols) * size;
  uintptr_t b0 = (uintptr_t)b.p, b1 = b0 + (uintptr_t)((b.rows - 1) * b.stride + b.cols) * other;
  if (a1 <= b0 || b1 <= a0) return false;
  if (a.stride != b.stride || a.dtype != b.dtype) return true;
  int64_t s = a.stride, shift = (int64_t)(b0 - a0) / (int64_t)size % s;
  if (shift < 0) shift += s;
  return shift < a.cols || shift + b.cols > s;
}

static bool same(mat a, mat b) { return a.p == b.p && a.stride == b.stride && a.dtype == b.dtype; }

static sx_status disjoint(sx_device *d, mat out, mat in, const char *name) {
  if (overlap(out, in)) return fail(d, SX_INVALID, "out overlaps %s", name);
  return SX_OK;
}

static sx_status same_shape(sx_device *d, const char *an, mat a, const char *bn, mat b) {
  if (a.rows == b.rows && a.cols == b.cols) return SX_OK;
  return fail(d, SX_INVALID, "%s is " DIMS ", %s is " DIMS, an, SHAPE(&a), bn, SHAPE(&b));
}

/* A 1 x n f32 vector held as a weight (norm weights, biases). */
static sx_status vector(sx_device *d, const char *name, const sx_weight *w, int64_t n, const float **out) {
  if (!w || w->dev != d) return fail(d, SX_INVALID, "%s is %s", name, w ? "another device's" : "missing");
  if (w->dtype != SX_F32 || w->rows != 1 || w->cols != n)
    return fail(d, SX_INVALID, "%s is " DIMS " of dtype %" PRId32 ", want [1, %" PRId64 "] f32", name, SHAPE(w), w->dtype, n);
  *out = (const float *)(const void *)w->data;
  return SX_OK;
}

#define CHECK(call)                      \
  do {                                   \
    sx_status s_ = (call);               \
    if (s_ != SX_OK) return s_;          \
  } while (0)

static sx_status on_device(sx_device *d, const char *name, const void *object, const sx_device *owner) {
  if (object && owner == d) return SX_OK;
  return fail(d, SX_INVALID, "%s is %s", name, object ? "another device's" : "missing");
}
#define OWNED(d, name, o) CHECK(on_device(d, name, o, (o) ? (o)->dev : NULL))
#define BEGIN(d, st)           \
  if (!(d)) return SX_INVALID; \
  CHECK(enter(d, st, true))
/* The beginning of what takes arrays of the host's, or gives it something. */
#define BEGIN_UNRECORDED(d, st) \
  if (!(d)) return SX_INVALID;  \
  CHECK(enter(d, st, false))

static sx_status op_embed(sx_device *d, sx_stream *st, const sx_tensor *out, const sx_weight *w, const int32_t *ids, int64_t n) {
  mat o;
  BEGIN_UNRECORDED(d, st);
  CHECK(view(d, "out", out, &o));
  OWNED(d, "w", w);
  if (o.rows != n || o.cols != w->cols) return fail(d, SX_INVALID, "out is " DIMS ", w is " DIMS ", with %" PRId64 " ids", SHAPE(&o), SHAPE(w), n);
  CHECK(check_ids(d, "ids", ids, n, w->rows));
  return k_embed(d, o, w, ids);
}

static sx_status op_embed_batch(sx_device *d, sx_stream *st, const sx_tensor *out, const sx_weight *w, const sx_batch *b) {
  mat o;
  BEGIN(d, st);
  CHECK(view(d, "out", out, &o));
  OWNED(d, "w", w);
  OWNED(d, "the batch", b);
  if (!b->ids) return fail(d, SX_INVALID, "the batch has no tokens");
  if (o.rows != b->tokens || o.cols != w->cols)
    return fail(d, SX_INVALID, "out is " DIMS ", w is " DIMS ", with %" PRId64 " tokens", SHAPE(&o), SHAPE(w), b->tokens);
  CHECK(check_ids(d, "tokens", b->ids, b->tokens, w->rows));
  CHECK(note_use(d, (graph_use){NULL, (sx_batch *)b, w->rows}));
  return k_embed_batch(d, o, w, b);
}

static sx_status op_gather(sx_device *d, sx_stream *st, const sx_tensor *out, const sx_tensor *x, const int32_t *rows, int64_t n) {
  mat o, m;
  BEGIN_UNRECORDED(d, st);
  CHECK(view(d, "out", out, &o));
  CHECK(view(d, "x", x, &m));
  if (o.rows != n || o.cols != m.cols) return fail(d, SX_INVALID, "out is " DIMS ", x is " DIMS ", with %" PRId64 " rows", SHAPE(&o), SHAPE(&m), n);
  CHECK(disjoint(d, o, m, "x"));
  CHECK(check_ids(d, "rows", rows, n, m.rows));
  if (o.dtype != m.dtype) return fail(d, SX_INVALID, "out is of dtype %" PRId32 ", x of %" PRId32, o.dtype, m.dtype);
  return k_gather(d, o, m, rows);
}

static sx_status op_matmul(sx_device *d, sx_stream *st, const sx_tensor *out, const sx_tensor *x, const sx_weight *w, const sx_weight *bias) {
  mat o, m;
  const float *b = NULL;
  BEGIN(d, st);
  CHECK(view(d, "out", out, &o));
  CHECK(view(d, "x", x, &m));
  OWNED(d, "w", w);
  if (m.cols != w->cols || o.rows != m.rows || o.cols != w->rows)
    return fail(d, SX_INVALID, "out is " DIMS ", x is " DIMS ", w is " DIMS, SHAPE(&o), SHAPE(&m), SHAPE(w));
  if (k_layout()[0] && !w->packed) return fail(d, SX_INVALID, "w is a weight for embed alone");
  CHECK(disjoint(d, o, m, "x"));
  if (bias) CHECK(vector(d, "bias", bias, w->rows, &b));
  return k_matmul(d, o, m, w, b);
}

static sx_status op_rmsnorm(sx_device *d, sx_stream *st, const sx_tensor *out, const sx_tensor *x, const sx_tensor *add, const sx_weight *w, float eps) {
  mat o, m, a;
  const float *scale;
  BEGIN(d, st);
  CHECK(view(d, "out", out, &o));
  CHECK(view(d, "x", x, &m));
  CHECK(same_shape(d, "out", o, "x", m));
  CHECK(vector(d, "w", w, m.cols, &scale));
  if (add) {
    CHECK(view(d, "add", add, &a));
    CHECK(same_shape(d, "x", m, "add", a));
    if (overlap(m, a)) return fail(d, SX_INVALID, "x overlaps add");
    CHECK(disjoint(d, o, a, "add"));
  }
  if (add || !same(o, m)) CHECK(disjoint(d, o, m, "x"));
  return k_rmsnorm(d, o, m, add ? &a : NULL, scale, eps);
}

static sx_status op_add(sx_device *d, sx_stream *st, const sx_tensor *x, const sx_tensor *add) {
  mat m, a;
  BEGIN(d, st);
  CHECK(view(d, "x", x, &m));
  CHECK(view(d, "add", add, &a));
  CHECK(same_shape(d, "x", m, "add", a));
  if (overlap(m, a)) return fail(d, SX_INVALID, "x overlaps add");
  return k_add(d, m, a);
}

static sx_status op_swiglu(sx_device *d, sx_stream *st, const sx_tensor *out, const sx_tensor *gate, const sx_tensor *up) {
  mat o, g, u;
  BEGIN(d, st);
  CHECK(view(d, "out", out, &o));
  CHECK(view(d, "gate", gate, &g));
  CHECK(view(d, "up", up, &u));
  CHECK(same_shape(d, "out", o, "gate", g));
  CHECK(same_shape(d, "gate", g, "up", u));
  if (!same(o, g)) CHECK(disjoint(d, o, g, "gate"));
  if (!same(o, u)) CHECK(disjoint(d, o, u, "up"));
  return k_swiglu(d, o, g, u);
}

static sx_status op_rope_kv(sx_device *d, sx_stream *st, const sx_tensor *q, const sx_tensor *k, const sx_tensor *v, const sx_rope_desc *r,
                            sx_kv *kv, const sx_batch *b, int32_t layer) {
  rope_args a;
  BEGIN(d, st);
  if (!r) return fail(d, SX_INVALID, "the rope description is missing");
  CHECK(view(d, "q", q, &a.q));
  CHECK(view(d, "k", k, &a.k));
  CHECK(view(d, "v", v, &a.v));
  CHECK(view(d, "the rope table", &r->table, &a.table));
  OWNED(d, "the kv cache", kv);
  OWNED(d, "the batch", b);
  CHECK(check_place(d, kv, (sx_batch *)b, layer));
  int64_t hd = kv->d.head_dim, width = hd * kv->d.kv_heads;
  CHECK(check_heads(d, a.q.cols, kv));
  if (a.q.rows != b->tokens || a.k.rows != b->tokens || a.v.rows != b->tokens || a.k.cols != width || a.v.cols != width)
    return fail(d, SX_INVALID, "q is " DIMS ", k is " DIMS ", v is " DIMS ", want %" PRId64 " rows and %" PRId64 " columns of k and v",
                SHAPE(&a.q), SHAPE(&a.k), SHAPE(&a.v), b->tokens, width);
  if (r->dims <= 0 || r->dims % 2 || r->dims > hd || a.table.cols != r->dims)
    return fail(d, SX_INVALID, "rope over %" PRId32 " of %" PRId64 " dims with a table " DIMS ": want an even count, and as many table columns",
                r->dims, hd, SHAPE(&a.table));
  if (b->longest > a.table.rows)
    return fail(d, SX_INVALID, "a sequence has %" PRId64 " positions, the rope table has %" PRId64, b->longest, a.table.rows);
  if (overlap(a.q, a.k) || overlap(a.q, a.v)) return fail(d, SX_INVALID, "q overlaps k or v");
  a.dims = r->dims;
  a.interleaved = r->interleaved;
  a.layer = layer;
  return k_rope_kv(d, &a, kv, b);
}

static sx_status op_attention(sx_device *d, sx_stream *st, const sx_tensor *out, const sx_tensor *q, const sx_kv *kv, const sx_batch *b,
                              const sx_attention_desc *a) {
  mat o, m;
  BEGIN(d, st);
  if (!a) return fail(d, SX_INVALID, "the attention description is missing");
  CHECK(view(d, "out", out, &o));
  CHECK(view(d, "q", q, &m));
  OWNED(d, "the kv cache", kv);
  OWNED(d, "the batch", b);
  CHECK(check_place(d, kv, (sx_batch *)b, a->layer));
  CHECK(check_heads(d, m.cols, kv));
  CHECK(same_shape(d, "out", o, "q", m));
  if (a->heads != m.cols / kv->d.head_dim || m.rows != b->tokens || a->window < 0)
    return fail(d, SX_INVALID, "q is " DIMS ", want %" PRId64 " tokens of %" PRId32 " heads of %" PRId32 "; window %" PRId32, SHAPE(&m),
                b->tokens, a->heads, kv->d.head_dim, a->window);
  CHECK(disjoint(d, o, m, "q"));
  return k_attention(d, o, m, kv, b, a);
}

/* Checks the targets and gives where those of each row begin, [rows + 1], for the caller to free. */
static sx_status target_starts(sx_device *d, const sx_targets *t, mat x, int64_t vocab, int64_t **out) {
  int64_t n = t ? t->n : 0, at = 0;
  if (t && (n < 0 || (n > 0 && !t->ids) || (!t->rows && n != x.rows)))
    return fail(d, SX_INVALID, "%" PRId64 " targets%s for %" PRId64 " rows", n, t->ids ? "" : ", but no array", x.rows);
  if (t) CHECK(check_ids(d, "targets", t->ids, n, vocab));
  if (t && t->rows) CHECK(check_ids(d, "target rows", t->rows, n, x.rows));
  for (int64_t j = 1; t && t->rows && j < n; j++)
    if (t->rows[j] < t->rows[j - 1])
      return fail(d, SX_INVALID, "target rows[%" PRId64 "] = %" PRId32 " after %" PRId32 ": they must not decrease", j, t->rows[j], t->rows[j - 1]);
  int64_t *start = calloc((size_t)x.rows + 1, sizeof *start);
  if (!start) return fail(d, SX_NOMEM, "no memory for the targets of %" PRId64 " rows", x.rows);
  for (int64_t r = 0; r < x.rows; r++) {
    while (at < n && (t->rows ? t->rows[at] : at) <= r) at++;
    start[r + 1] = at;
  }
  *out = start;
  return SX_OK;
}

static sx_status op_logprob(sx_device *d, sx_stream *st, const sx_tensor *x, const sx_weight *w, const sx_targets *targets, double *lse,
                            float *target, int32_t *best, float *best_logit) {
  mat m;
  int64_t *start;
  BEGIN_UNRECORDED(d, st);
  CHECK(view(d, "x", x, &m));
  OWNED(d, "w", w);
  if (m.cols != w->cols) return fail(d, SX_INVALID, "x is " DIMS ", w is " DIMS, SHAPE(&m), SHAPE(w));
  if (k_layout()[0] && !w->packed) return fail(d, SX_INVALID, "w is a weight for embed alone");
  if (m.rows == 0 && (!targets || targets->n == 0)) return SX_OK;
  if (w->rows == 0 || !lse || !targets != !target)
    return fail(d, SX_INVALID, "x is " DIMS ", w is " DIMS ": %s", SHAPE(&m), SHAPE(w), w->rows ? "lse, targets or their outputs are missing" : "no logits");
  CHECK(target_starts(d, targets, m, w->rows, &start));
  sx_status s = k_logprob(d, m, w, (logprob_in){targets ? targets->ids : NULL, start}, (logprob_out){lse, target, best, best_logit});
  free(start);
  return s;
}

static sx_status op_sample(sx_device *d, sx_stream *st, const sx_tensor *logits, const sx_sample_desc *desc, const double *u, int32_t *ids) {
  mat m;
  BEGIN_UNRECORDED(d, st);
  CHECK(view(d, "logits", logits, &m));
  if (m.rows == 0) return SX_OK;
  if (m.cols == 0 || !desc || !u || !ids) return fail(d, SX_INVALID, "logits are " DIMS ": %s", SHAPE(&m), m.cols ? "an array is missing" : "no tokens");
  for (int64_t i = 0; i < m.rows; i++)
    if (!(u[i] >= 0 && u[i] < 1) || desc[i].temperature != desc[i].temperature || desc[i].top_k < 0 || !(desc[i].top_p > 0))
      return fail(d, SX_INVALID, "row %" PRId64 ": u %g, temperature %g, top_k %" PRId32 ", top_p %g: want u in [0,1), top_k >= 0, top_p > 0", i, u[i],
                  (double)desc[i].temperature, desc[i].top_k, (double)desc[i].top_p);
  return k_sample(d, m, desc, u, ids);
}

#include "quantize.h"

#define HOST_TABLE(label)                                                                                                              \
  {                                                                                                                                    \
    .abi = SX_ABI, .size = sizeof(sx_ops), .name = label, .open = op_open, .close = op_close, .message = op_message, .info = op_info,  \
    .stream_new = op_stream_new, .stream_free = op_stream_free, .stream_sync = op_stream_sync, .buffer_new = op_buffer_new,            \
    .buffer_free = op_buffer_free, .upload = op_upload, .download = op_download, .copy = op_copy, .weight_new = op_weight_new,         \
    .pack_size = op_pack_size, .pack = op_pack, .weight_put = op_weight_put, .weight_free = op_weight_free, .kv_new = op_kv_new,       \
    .kv_free = op_kv_free, .kv_copy = op_kv_copy, .batch_new = op_batch_new, .batch_set = op_batch_set, .batch_free = op_batch_free,   \
    .graph_begin = op_graph_begin, .graph_end = op_graph_end, .graph_run = op_graph_run, .graph_free = op_graph_free,                  \
    .embed = op_embed, .embed_batch = op_embed_batch, .colstats = op_colstats, .hessian = op_hessian, .round = op_round,               \
    .gather = op_gather, .matmul = op_matmul, .rmsnorm = op_rmsnorm, .add = op_add,                                                    \
    .rope_kv = op_rope_kv, .attention = op_attention, .swiglu = op_swiglu, .logprob = op_logprob, .sample = op_sample,                 \
  }

#endif
