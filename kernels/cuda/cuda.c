/* cuda.c: the table of the cuda backend: front.h's checks, then the functions of cuda.h. No CUDA in it: rt.cu, memory.cu and the kernels have that.
 *
 * A device belongs to one thread at a time, but not always the same; the runtime's current device is each thread's own. So every hook begins with
 * rt_begin, which also sets the stream: that of the operation, or, where there is none (weights), the device's own. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "../host/front.h"

#include "cuda.h"

typedef struct cuda_device {
  cu_ctx c;
} cuda_device;

/* The arrays of a batch, in one piece as host.h lays them out: q_start, kv_len, seq_of, pages, ids. */
typedef struct cuda_batch {
  rt_block arrays;
  cu_batch b;
} cuda_batch;

static cu_ctx *ctx(sx_device *d) { return &((cuda_device *)d->impl)->c; }

static sx_status begin(sx_device *d, bool launches) { return rt_begin(ctx(d), d->stream->impl, launches); }

/* Operations begin by this. */
#define LAUNCHES(d) CHECK(begin(d, true))

static cu_mat matrix(mat m) { return (cu_mat){m.p, m.rows, m.cols, m.stride, m.dtype}; }

static cu_weight weight(const sx_weight *w) { return (cu_weight){w->data, w->scales, w->zeros, w->rows, w->cols, w->dtype, w->group}; }

static cu_kv cache(const sx_kv *kv) {
  const sx_kv_desc *k = &kv->d;
  return (cu_kv){kv->data, kv->layer_bytes, kv->page_bytes, k->layers, k->pages, k->kv_heads, k->page_size, k->head_dim, k->dtype};
}

/* The batch as kernels see it, when its last write is before what follows on the stream. */
static sx_status batch_of(sx_device *d, const sx_batch *b, const cu_batch **out) {
  const cuda_batch *own = b->impl;
  *out = &own->b;
  return rt_block_wait(ctx(d), &own->arrays);
}

static sx_status k_open(sx_device *d, const sx_open_opts *opts) {
  cuda_device *own = calloc(1, sizeof *own);
  if (!own) return fail(d, SX_NOMEM, "no memory for a device");
  own->c.message = d->message;
  sx_status s = rt_open(&own->c, opts->device);
  if (s != SX_OK) {
    free(own);
    return s;
  }
  d->impl = own;
  return SX_OK;
}

static void k_close(sx_device *d) {
  rt_close(ctx(d));
  free(d->impl);
}

static void k_machine(sx_device *d, sx_info *out) {
  if (rt_begin(ctx(d), NULL, false) == SX_OK)
    rt_describe(ctx(d), out->name, sizeof out->name, out->features, sizeof out->features, &out->memory_bytes, &out->free_bytes);
}

static void k_info(sx_device *d, sx_info *out) {
  out->compute_capability = ctx(d)->cc;
  out->few = CU_FEW;
}

static bool k_takes(sx_dtype t) { return t == SX_F32 || t == SX_BF16 || t == SX_F16; }

static bool k_caches(sx_dtype t) { return k_takes(t); }

static sx_status k_alloc(sx_device *d, int64_t bytes, bool zero, uint8_t **data, void **raw) {
  sx_status s = rt_alloc(ctx(d), bytes, zero, raw);
  *data = *raw;
  return s;
}

static void k_free(sx_device *d, void *raw) { rt_free(ctx(d), raw); }

static sx_status k_put(sx_device *d, void *dst, const void *src, int64_t bytes) {
  CHECK(begin(d, false));
  return rt_put(ctx(d), dst, src, bytes);
}

static sx_status k_get(sx_device *d, void *dst, const void *src, int64_t bytes) {
  CHECK(begin(d, false));
  return rt_get(ctx(d), dst, src, bytes);
}

static sx_status k_copy(sx_device *d, void *dst, sx_device *owner, const void *src, int64_t bytes) {
  CHECK(begin(d, false));
  return rt_copy(ctx(d), dst, ctx(owner)->ordinal, src, bytes); /* of the other device nothing but its number, which stays: its thread is another */
}

static sx_status k_stream_new(sx_device *d, sx_stream *st) { return rt_stream_new(ctx(d), &st->impl); }

static void k_stream_free(sx_device *d, sx_stream *st) { rt_stream_free(ctx(d), st->impl); }

static sx_status k_sync(sx_device *d) {
  CHECK(begin(d, false));
  return rt_sync(ctx(d));
}

/* Weights lie on the device as they come, one piece of memory for data, scales and zeros. One for embed alone too: reading rows of the host's
 * memory over the bus would cost each pass more than the gigabyte that the largest tables take. */

static bool k_pieces(void) { return true; }

static bool k_rounds_kv(void) { return false; }

static const char *k_layout(void) { return ""; }

static bool k_pack_bytes(const sx_weight *w, int64_t *bytes) { return (void)w, *bytes = 0, false; }

static void k_pack(sx_device *d, const sx_weight *w, uint8_t *to) { (void)d, (void)w, (void)to; }

/* The one scale of all rows of a part of f8 as one for each, which is how kernels read them: parts may have scales of their own. */
static sx_status put_scale(sx_device *d, float *to, float scale, int64_t rows) {
  float *all = malloc((size_t)rows * 4 + 4);
  if (!all) return fail(d, SX_NOMEM, "no memory for the scales of %" PRId64 " rows", rows);
  for (int64_t i = 0; i < rows; i++) all[i] = scale;
  sx_status s = rt_put(ctx(d), to, all, rows * 4);
  free(all);
  return s;
}

/* Puts what `part` has, from its row `row` on, into w. */
static sx_status put_rows(sx_device *d, sx_weight *w, int64_t row, const sx_weight *part) {
  cu_ctx *c = ctx(d);
  CHECK(rt_begin(c, NULL, true));
  bool f8 = w->dtype == SX_F8, one = f8 && !part->row_scales && part->scales;
  int64_t width = w->cols * half_bytes_of(w->dtype) / 2, groups = w->dtype == SX_I4 ? w->cols / w->group : w->dtype == SX_I8 || f8;
  if (one && part->rows > 0) CHECK(put_scale(d, (float *)(uintptr_t)w->scales + row, part->scales[0], part->rows));
  const struct {
    const void *to, *from;
    int64_t at, bytes;
  } piece[3] = {{w->data, part->data, row * width, part->rows * width},
                {w->scales, part->scales, row * groups * 4, one ? 0 : part->rows * groups * 4},
                {w->zeros, part->zeros, row * groups * 4, w->dtype == SX_I4 ? part->rows * groups * 4 : 0}};
  for (int i = 0; i < 3; i++)
    if (piece[i].bytes > 0 && piece[i].from) CHECK(rt_put(c, (uint8_t *)(uintptr_t)piece[i].to + piece[i].at, piece[i].from, piece[i].bytes));
  return c->recording ? rt_sync(c) : SX_OK; /* then later launches do not wait by themselves */
}

static sx_status k_weight_new(sx_device *d, sx_weight *w, const sx_weight_desc *desc, const int64_t bytes[3]) {
  const int64_t sizes[3] = {bytes[0], w->dtype == SX_F8 ? 4 * w->rows : bytes[1], bytes[2]};
  int64_t at[4] = {0};
  sx_weight from = *w;
  bool later = !from.data && !from.scales && !from.zeros;
  for (int i = 0; i < 3; i++)
    if (__builtin_add_overflow(at[i], sizes[i], &at[i + 1]) || __builtin_add_overflow(at[i + 1], 255, &at[i + 1]))
      return fail(d, SX_INVALID, "a weight [%" PRId64 ", %" PRId64 "] is too large", w->rows, w->cols);
    else
      at[i + 1] &= ~(int64_t)255;
  sx_status s = rt_alloc(ctx(d), at[3], later, &w->own[0]);
  if (s != SX_OK)
    return unmade(d, s, "a weight [%" PRId64 ", %" PRId64 "] of dtype %" PRId32 ", %" PRId64 " bytes", desc->rows, desc->cols, desc->dtype, at[3]);
  uint8_t *p = w->own[0];
  w->data = p;
  w->scales = sizes[1] > 0 ? (const float *)(const void *)(p + at[1]) : NULL;
  w->zeros = sizes[2] > 0 ? (const float *)(const void *)(p + at[2]) : NULL;
  return later ? SX_OK : put_rows(d, w, 0, &from);
}

static sx_status k_weight_put(sx_device *d, sx_weight *w, int64_t row, const sx_weight *part) { return put_rows(d, w, row, part); }

/* [K, V][kv_heads][page_size][head_dim], up to the next 16 bytes. */
static bool k_page_bytes(const sx_kv_desc *k, int64_t *bytes) {
  return size_mul(2 * value_bytes(k->dtype), k->kv_heads, bytes) && size_mul(*bytes, k->page_size, bytes) && size_mul(*bytes, k->head_dim, bytes) &&
         !__builtin_add_overflow(*bytes, 15, bytes) && (*bytes &= ~(int64_t)15, true);
}

static sx_status k_kv_copy(sx_device *d, sx_kv *kv, int32_t dst, int32_t src, int32_t positions) {
  LAUNCHES(d);
  cu_kv k = cache(kv);
  return cu_kv_copy(ctx(d), &k, dst, src, positions);
}

static sx_status k_batch(sx_device *d, sx_batch *b) {
  int64_t seqs = b->seqs, pages = seqs * b->max_pages, words = 2 * seqs + 1 + b->tokens + pages + (b->ids ? b->tokens : 0);
  CHECK(begin(d, false));
  if (!b->impl) b->impl = calloc(1, sizeof(cuda_batch));
  cuda_batch *own = b->impl;
  if (!own) return fail(d, SX_NOMEM, "no memory for a batch");
  CHECK(rt_block_put(ctx(d), &own->arrays, b->q_start, words * 4));
  const int32_t *at = own->arrays.p;
  int32_t longest_new = 0;
  for (int32_t s = 0; s < b->seqs; s++)
    if (b->q_start[s + 1] - b->q_start[s] > longest_new) longest_new = b->q_start[s + 1] - b->q_start[s];
  own->b = (cu_batch){.q_start = at, .kv_len = at + (b->kv_len - b->q_start), .pages = at + (b->pages - b->q_start),
                      .seq_of = at + (b->seq_of - b->q_start), .ids = b->ids ? at + (b->ids - b->q_start) : NULL,
                      .host_q_start = b->q_start, .host_kv_len = b->kv_len, .host_pages = b->pages, .seqs = b->seqs,
                      .max_pages = b->max_pages, .tokens = b->tokens, .longest_new = longest_new, .longest = (int32_t)b->longest};
  return SX_OK;
}

static void k_batch_free(sx_device *d, sx_batch *b) {
  cuda_batch *own = b->impl;
  if (own) rt_block_free(ctx(d), &own->arrays);
  free(own);
  b->impl = NULL;
}

static sx_status k_graph_begin(sx_device *d) {
  LAUNCHES(d);
  return rt_graph_begin(ctx(d));
}

static sx_status k_graph_end(sx_device *d, sx_graph *g) {
  CHECK(begin(d, false));
  return rt_graph_end(ctx(d), &g->impl);
}

static sx_status k_graph_run(sx_device *d, sx_graph *g) {
  const cu_batch *b;
  LAUNCHES(d);
  for (int32_t i = 0; i < g->n_uses; i++) CHECK(batch_of(d, g->uses[i].batch, &b));
  return rt_graph_run(ctx(d), g->impl);
}

static void k_graph_free(sx_device *d, sx_graph *g) { rt_graph_free(ctx(d), g->impl); }

/* Brings n words to where c->work begins, in pieces that fit there; each is handed to f with the rows of the matrix that it is for. */
static sx_status by_words(sx_device *d, mat out, const int32_t *words, sx_status (*f)(cu_ctx *, cu_mat, const void *, const int32_t *),
                          const void *arg) {
  cu_ctx *c = ctx(d);
  LAUNCHES(d);
  int64_t most = c->work_bytes / 4;
  for (int64_t at = 0; at < out.rows; at += most) {
    cu_mat part = matrix(out);
    part.rows = out.rows - at < most ? out.rows - at : most;
    part.p = (uint8_t *)part.p + at * out.stride * value_bytes(out.dtype);
    CHECK(rt_put(c, c->work, words + at, part.rows * 4));
    CHECK(f(c, part, arg, c->work));
  }
  return SX_OK;
}

static sx_status embed_part(cu_ctx *c, cu_mat out, const void *w, const int32_t *d_ids) { return cu_embed(c, out, w, d_ids); }

static sx_status gather_part(cu_ctx *c, cu_mat out, const void *x, const int32_t *d_rows) { return cu_gather(c, out, *(const cu_mat *)x, d_rows); }

static sx_status k_embed(sx_device *d, mat out, const sx_weight *w, const int32_t *ids) {
  cu_weight from = weight(w);
  return by_words(d, out, ids, embed_part, &from);
}

static sx_status k_gather(sx_device *d, mat out, mat x, const int32_t *rows) {
  cu_mat from = matrix(x);
  return by_words(d, out, rows, gather_part, &from);
}

static sx_status k_embed_batch(sx_device *d, mat out, const sx_weight *w, const sx_batch *b) {
  const cu_batch *batch;
  cu_weight from = weight(w);
  LAUNCHES(d);
  CHECK(batch_of(d, b, &batch));
  return cu_embed(ctx(d), matrix(out), &from, batch->ids);
}

static sx_status k_matmul(sx_device *d, mat out, mat x, const sx_weight *w, const float *bias) {
  cu_weight from = weight(w);
  LAUNCHES(d);
  return cu_matmul(ctx(d), matrix(out), matrix(x), &from, bias);
}

static sx_status k_rmsnorm(sx_device *d, mat out, mat x, const mat *add, const float *w, float eps) {
  cu_mat a = add ? matrix(*add) : (cu_mat){0};
  LAUNCHES(d);
  return cu_rmsnorm(ctx(d), matrix(out), matrix(x), add ? &a : NULL, w, eps);
}

static sx_status k_add(sx_device *d, mat x, mat add) {
  LAUNCHES(d);
  return cu_add(ctx(d), matrix(x), matrix(add));
}

static sx_status k_swiglu(sx_device *d, mat out, mat gate, mat up) {
  LAUNCHES(d);
  return cu_swiglu(ctx(d), matrix(out), matrix(gate), matrix(up));
}

static sx_status k_rope_kv(sx_device *d, const rope_args *a, sx_kv *kv, const sx_batch *b) {
  const cu_batch *batch;
  cu_kv k = cache(kv);
  cu_rope r = {matrix(a->q), matrix(a->k), matrix(a->v), matrix(a->table), a->dims, a->interleaved, a->layer};
  LAUNCHES(d);
  CHECK(batch_of(d, b, &batch));
  return cu_rope_kv(ctx(d), &r, &k, batch);
}

static sx_status k_attention(sx_device *d, mat out, mat q, const sx_kv *kv, const sx_batch *b, const sx_attention_desc *a) {
  const cu_batch *batch;
  cu_kv k = cache(kv);
  LAUNCHES(d);
  CHECK(batch_of(d, b, &batch));
  return cu_attention(ctx(d), matrix(out), matrix(q), &k, batch, a);
}

static sx_status k_logprob(sx_device *d, mat x, const sx_weight *w, logprob_in in, logprob_out out) {
  cu_weight from = weight(w);
  LAUNCHES(d);
  return cu_logprob(ctx(d), matrix(x), &from, in.ids, in.start, out.lse, out.target, out.best, out.best_logit);
}

static sx_status k_sample(sx_device *d, mat logits, const sx_sample_desc *desc, const double *u, int32_t *ids) {
  LAUNCHES(d);
  return cu_sample(ctx(d), matrix(logits), desc, u, ids);
}

static sx_status k_colstats(sx_device *d, float *max, float *sum, float *square, mat x) {
  LAUNCHES(d);
  return cu_colstats(ctx(d), max, sum, square, matrix(x));
}

static sx_status k_hessian(sx_device *d, mat h, mat x) {
  LAUNCHES(d);
  return cu_hessian(ctx(d), matrix(h), matrix(x));
}

static sx_status k_round(sx_device *d, mat out, mat x, const sx_round_desc *r) {
  LAUNCHES(d);
  return cu_round(ctx(d), matrix(out), matrix(x), r);
}

const sx_ops *sx_cuda_ops(void) {
  static const sx_ops ops = HOST_TABLE("cuda");
  return &ops;
}
