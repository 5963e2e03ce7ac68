/* shim.h: one C function for each entry of the table, for the Go binding. Descriptions that hold pointers are put together here, so that
 * Go never passes a pointer to memory that holds Go pointers. */
#ifndef SEXTANT_SHIM_H
#define SEXTANT_SHIM_H
#include "kernels.h"

typedef struct { /* what every operation needs */
  const sx_ops *ops;
  sx_device *dev;
  sx_stream *stream;
} shim;

static inline sx_status shim_open(const sx_ops *o, int32_t device, int32_t threads, sx_device **out, char *why, size_t n) {
  sx_open_opts opts = {.device = device, .threads = threads};
  return o->open(&opts, out, why, n);
}
static inline void shim_close(const sx_ops *o, sx_device *d) { o->close(d); }
static inline const char *shim_message(const sx_ops *o, sx_device *d) { return o->message(d); }
static inline sx_status shim_info(shim s, sx_info *out) { return s.ops->info(s.dev, out); }
static inline sx_status shim_stream_new(shim s, sx_stream **out) { return s.ops->stream_new(s.dev, out); }
static inline void shim_stream_free(shim s, sx_stream *p) { s.ops->stream_free(s.dev, p); }
static inline sx_status shim_stream_sync(shim s) { return s.ops->stream_sync(s.dev, s.stream); }
static inline sx_status shim_buffer_new(shim s, int64_t bytes, sx_buffer **out) { return s.ops->buffer_new(s.dev, bytes, out); }
static inline void shim_buffer_free(shim s, sx_buffer *p) { s.ops->buffer_free(s.dev, p); }
static inline sx_status shim_upload(shim s, sx_buffer *dst, int64_t at, const uint8_t *src, int64_t n) {
  return s.ops->upload(s.dev, s.stream, dst, at, src, n);
}
static inline sx_status shim_download(shim s, uint8_t *dst, const sx_buffer *src, int64_t at, int64_t n) {
  return s.ops->download(s.dev, s.stream, dst, src, at, n);
}
static inline sx_status shim_copy(shim s, sx_buffer *dst, int64_t at, const sx_buffer *src, int64_t from, int64_t n) {
  return s.ops->copy(s.dev, s.stream, dst, at, src, from, n);
}

typedef struct {
  int32_t dtype, group, borrow, use, packed, row_scales;
  int64_t rows, cols;
} shim_weight;
static inline sx_status shim_weight_new(shim s, shim_weight w, const uint8_t *data, const float *scales, const float *zeros, sx_weight **out) {
  sx_weight_desc d = {w.dtype, w.group, w.rows, w.cols, data, scales, zeros, w.borrow, w.use, w.packed, w.row_scales};
  return s.ops->weight_new(s.dev, &d, out);
}
static inline sx_status shim_pack_size(shim s, shim_weight w, const uint8_t *data, const float *scales, const float *zeros, int64_t *bytes) {
  sx_weight_desc d = {w.dtype, w.group, w.rows, w.cols, data, scales, zeros, w.borrow, w.use, w.packed, w.row_scales};
  return s.ops->pack_size(s.dev, &d, bytes);
}
static inline sx_status shim_pack(shim s, shim_weight w, const uint8_t *data, const float *scales, const float *zeros, uint8_t *dst) {
  sx_weight_desc d = {w.dtype, w.group, w.rows, w.cols, data, scales, zeros, w.borrow, w.use, w.packed, w.row_scales};
  return s.ops->pack(s.dev, &d, dst);
}
static inline sx_status shim_weight_put(shim s, sx_weight *to, int64_t row, shim_weight w, const uint8_t *data, const float *scales, const float *zeros) {
  sx_weight_desc d = {w.dtype, w.group, w.rows, w.cols, data, scales, zeros, w.borrow, w.use, w.packed, w.row_scales};
  return s.ops->weight_put(s.dev, to, row, &d);
}
static inline void shim_weight_free(shim s, sx_weight *p) { s.ops->weight_free(s.dev, p); }
static inline sx_status shim_kv_new(shim s, sx_kv_desc d, sx_kv **out) { return s.ops->kv_new(s.dev, &d, out); }
static inline void shim_kv_free(shim s, sx_kv *p) { s.ops->kv_free(s.dev, p); }
static inline sx_status shim_kv_copy(shim s, sx_kv *kv, int32_t dst, int32_t src, int32_t n) {
  return s.ops->kv_copy(s.dev, s.stream, kv, dst, src, n);
}
static inline sx_status shim_batch_new(shim s, int32_t seqs, int32_t max_pages, const int32_t *q_start, const int32_t *kv_len,
                                       const int32_t *pages, const int32_t *tokens, sx_batch **out) {
  sx_batch_desc d = {seqs, max_pages, q_start, kv_len, pages, tokens};
  return s.ops->batch_new(s.dev, s.stream, &d, out);
}
static inline sx_status shim_batch_set(shim s, sx_batch *b, int32_t seqs, int32_t max_pages, const int32_t *q_start, const int32_t *kv_len,
                                       const int32_t *pages, const int32_t *tokens) {
  sx_batch_desc d = {seqs, max_pages, q_start, kv_len, pages, tokens};
  return s.ops->batch_set(s.dev, s.stream, b, &d);
}
static inline void shim_batch_free(shim s, sx_batch *p) { s.ops->batch_free(s.dev, p); }

static inline sx_status shim_graph_begin(shim s) { return s.ops->graph_begin(s.dev, s.stream); }
static inline sx_status shim_graph_end(shim s, sx_graph **out) { return s.ops->graph_end(s.dev, s.stream, out); }
static inline sx_status shim_graph_run(shim s, sx_graph *g) { return s.ops->graph_run(s.dev, s.stream, g); }
static inline void shim_graph_free(shim s, sx_graph *g) { s.ops->graph_free(s.dev, g); }

static inline sx_status shim_embed(shim s, sx_tensor out, const sx_weight *w, const int32_t *ids, int64_t n) {
  return s.ops->embed(s.dev, s.stream, &out, w, ids, n);
}
static inline sx_status shim_embed_batch(shim s, sx_tensor out, const sx_weight *w, const sx_batch *b) {
  return s.ops->embed_batch(s.dev, s.stream, &out, w, b);
}
static inline sx_status shim_gather(shim s, sx_tensor out, sx_tensor x, const int32_t *rows, int64_t n) {
  return s.ops->gather(s.dev, s.stream, &out, &x, rows, n);
}
static inline sx_status shim_matmul(shim s, sx_tensor out, sx_tensor x, const sx_weight *w, const sx_weight *bias) {
  return s.ops->matmul(s.dev, s.stream, &out, &x, w, bias);
}
static inline sx_status shim_rmsnorm(shim s, sx_tensor out, sx_tensor x, sx_tensor add, int has_add, const sx_weight *w, float eps) {
  return s.ops->rmsnorm(s.dev, s.stream, &out, &x, has_add ? &add : NULL, w, eps);
}
static inline sx_status shim_add(shim s, sx_tensor x, sx_tensor add) { return s.ops->add(s.dev, s.stream, &x, &add); }
static inline sx_status shim_swiglu(shim s, sx_tensor out, sx_tensor gate, sx_tensor up) {
  return s.ops->swiglu(s.dev, s.stream, &out, &gate, &up);
}
static inline sx_status shim_rope_kv(shim s, sx_tensor q, sx_tensor k, sx_tensor v, sx_rope_desc r, sx_kv *kv, const sx_batch *b, int32_t layer) {
  return s.ops->rope_kv(s.dev, s.stream, &q, &k, &v, &r, kv, b, layer);
}
static inline sx_status shim_attention(shim s, sx_tensor out, sx_tensor q, const sx_kv *kv, const sx_batch *b, sx_attention_desc a) {
  return s.ops->attention(s.dev, s.stream, &out, &q, kv, b, &a);
}
static inline sx_status shim_logprob(shim s, sx_tensor x, const sx_weight *w, int64_t n, const int32_t *rows, const int32_t *ids, double *lse,
                                     float *target, int32_t *best, float *best_logit) {
  sx_targets t = {n, rows, ids};
  return s.ops->logprob(s.dev, s.stream, &x, w, target ? &t : NULL, lse, target, best, best_logit);
}
static inline sx_status shim_sample(shim s, sx_tensor logits, const sx_sample_desc *d, const double *u, int32_t *ids) {
  return s.ops->sample(s.dev, s.stream, &logits, d, u, ids);
}
static inline sx_status shim_colstats(shim s, sx_tensor max, sx_tensor sum, sx_tensor square, sx_tensor x) {
  return s.ops->colstats(s.dev, s.stream, &max, &sum, &square, &x);
}
static inline sx_status shim_round(shim s, sx_tensor out, sx_tensor x, sx_round_desc r) { return s.ops->round(s.dev, s.stream, &out, &x, &r); }
static inline sx_status shim_hessian(shim s, sx_tensor h, sx_tensor x) { return s.ops->hessian(s.dev, s.stream, &h, &x); }

#endif
