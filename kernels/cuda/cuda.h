/* cuda.h: what the host side of the cuda backend (cuda.c, in C) and its kernels (*.cu) know of each other. All pointers named d_ or lying in
 * a cu_mat, cu_weight or cu_kv are the device's. Every function gives a status of kernels.h; the reason of a failure is in c->message.
 * Launches are in the order of c->stream and are not waited for. */
#ifndef SEXTANT_CUDA_H
#define SEXTANT_CUDA_H
#include <stdint.h>

#include "kernels.h"

#ifdef __cplusplus
extern "C" {
#endif

/* The device as its kernels see it. */
typedef struct cu_ctx {
  char *message; /* of 512 bytes */
  void *stream;  /* cudaStream_t of the operation in hand */
  int32_t ordinal, sms, cc; /* cc: 90 for sm_90 */
  int32_t shared_limit;     /* bytes of shared memory that a block may ask for */
  int32_t recording;        /* 1: a graph is being recorded: nothing may be allocated or waited for */
  void *work;               /* scratch of a call: what a launch left there, the next call may overwrite */
  int64_t work_bytes;       /* fixed when the device is opened, so that recorded graphs stay good */
  struct cu_blas *blas;     /* blas.cu's; NULL: cuBLASLt is not there */
  char blas_text[160];      /* "cuBLASLt 12.4.5", or why there is none */
  struct cu_rt *rt;         /* rt.cu's and memory.cu's */
} cu_ctx;

typedef struct cu_mat { /* [rows, cols] with `stride` elements from row to row; F32, BF16 or F16 */
  void *p;
  int64_t rows, cols, stride;
  sx_dtype dtype;
} cu_mat;

/* [rows = outputs, cols = inputs] as kernels.h lays out sx_weight_desc, but that F8 has a scale a row, always. data is aligned to 256 bytes; rows follow one another without gaps. */
typedef struct cu_weight {
  const void *data;
  const float *scales, *zeros;
  int64_t rows, cols;
  sx_dtype dtype;
  int32_t group;
} cu_weight;

/* data: [layers][pages][K, V][kv_heads][page_size][head_dim]. A page of a layer is page_bytes, aligned to 16. */
typedef struct cu_kv {
  uint8_t *data;
  int64_t layer_bytes, page_bytes;
  int32_t layers, pages, kv_heads, page_size, head_dim;
  sx_dtype dtype;
} cu_kv;

typedef struct cu_batch {
  const int32_t *q_start, *kv_len, *pages, *seq_of, *ids; /* on the device; ids NULL: none */
  const int32_t *host_q_start, *host_kv_len, *host_pages; /* the same on the host */
  int32_t seqs, max_pages;
  int64_t tokens;
  int32_t longest_new; /* the most new tokens of a sequence */
  int32_t longest;     /* the most positions of a sequence */
} cu_batch;

/* rt.cu: devices, streams, failures, graphs */
sx_status rt_open(cu_ctx *c, int32_t ordinal); /* fills all but message; leaves nothing behind on failure */
void rt_close(cu_ctx *c);
void rt_describe(cu_ctx *c, char *name, int32_t name_bytes, char *features, int32_t features_bytes, int64_t *total, int64_t *free);
/* The beginning of an operation, on any thread: makes the device its current one, and `stream` that of what follows; NULL: the device's own.
 * With `launches` it waits, on the device, for those of other streams, since all use c->work. */
sx_status rt_begin(cu_ctx *c, void *stream, int32_t launches);
sx_status rt_stream_new(cu_ctx *c, void **stream);
void rt_stream_free(cu_ctx *c, void *stream);
sx_status rt_sync(cu_ctx *c); /* waits for c->stream, and tells what failed on it */
sx_status rt_graph_begin(cu_ctx *c);
sx_status rt_graph_end(cu_ctx *c, void **graph);
sx_status rt_graph_run(cu_ctx *c, void *graph);
void rt_graph_free(cu_ctx *c, void *graph);

/* memory.cu: allocation and copies */
sx_status rt_alloc(cu_ctx *c, int64_t bytes, int zero, void **out); /* aligned to 256 bytes. SX_NOMEM says how much there is */
void rt_free(cu_ctx *c, void *p);                                  /* when all that was given to the device so far is done */
void rt_memory(cu_ctx *c, int64_t *total, int64_t *free);
sx_status rt_put(cu_ctx *c, void *d_dst, const void *src, int64_t bytes); /* src is read before it returns; through pinned memory */
sx_status rt_get(cu_ctx *c, void *dst, const void *d_src, int64_t bytes); /* waits */
sx_status rt_copy(cu_ctx *c, void *d_dst, int32_t owner, const void *d_src, int64_t bytes); /* d_src is the device `owner`'s; waits */
/* Memory that is written from the host again and again, from whatever stream, and read by launches on others: the arrays of a batch. */
typedef struct rt_block {
  void *p; /* NULL: none yet */
  void *stream, *written; /* the last write, and its event */
} rt_block;
sx_status rt_block_put(cu_ctx *c, rt_block *b, const void *src, int64_t bytes); /* always of the same size; after the launches so far */
sx_status rt_block_wait(cu_ctx *c, const rt_block *b);                          /* what follows on c->stream sees the last write */
void rt_block_free(cu_ctx *c, rt_block *b);                                     /* after the launches so far; does not wait for them */

/* blas.cu: cuBLASLt, opened at run time. out[M,N] = x[M,K] w^T + bias, f32 sums, for w of BF16, F16, F32 with x of the same format. One algorithm for each (N, K, formats, alignment), whatever M: the same order of sums for every row. SX_UNSUPPORTED,
 * also whatever M, where cuBLASLt has none. It uses no c->work. A bias is rounded to out's format before it is added. */
sx_status blas_open(cu_ctx *c); /* its absence is SX_UNSUPPORTED with a reason, and no failure of the device */
void blas_close(cu_ctx *c);
sx_status blas_matmul(cu_ctx *c, cu_mat out, cu_mat x, const cu_weight *w, const float *d_bias);

/* matmul.cu chooses among simt.cu (any formats, exact f32 products, one order of sums), few.cu (x of 16 bits, up to CU_FEW rows, any w) and
 * wide.cu (x of 16 bits, more rows: cuBLASLt, or our own where there is none; w of fewer bits written out in x's format before). */
enum { CU_FEW = 64 };
sx_status cu_matmul(cu_ctx *c, cu_mat out, cu_mat x, const cu_weight *w, const float *d_bias);
sx_status cu_matmul_simt(cu_ctx *c, cu_mat out, cu_mat x, const cu_weight *w, const float *d_bias);
sx_status cu_matmul_few(cu_ctx *c, cu_mat out, cu_mat x, const cu_weight *w, const float *d_bias);
sx_status cu_matmul_wide(cu_ctx *c, cu_mat out, cu_mat x, const cu_weight *w, const float *d_bias);
/* d_to[rows, cols] in format `as` = rows [row, row + rows) of w. */
sx_status cu_write_out(cu_ctx *c, void *d_to, sx_dtype as, const cu_weight *w, int64_t row, int64_t rows);

/* rows.cu */
sx_status cu_embed(cu_ctx *c, cu_mat out, const cu_weight *w, const int32_t *d_ids);
sx_status cu_gather(cu_ctx *c, cu_mat out, cu_mat x, const int32_t *d_rows);
sx_status cu_add(cu_ctx *c, cu_mat x, cu_mat add);
sx_status cu_rmsnorm(cu_ctx *c, cu_mat out, cu_mat x, const cu_mat *add, const float *d_w, float eps);
sx_status cu_swiglu(cu_ctx *c, cu_mat out, cu_mat gate, cu_mat up);
/* rope.cu */
typedef struct cu_rope {
  cu_mat q, k, v, table;
  int32_t dims, interleaved, layer;
} cu_rope;
sx_status cu_rope_kv(cu_ctx *c, const cu_rope *a, const cu_kv *kv, const cu_batch *b);
sx_status cu_kv_copy(cu_ctx *c, const cu_kv *kv, int32_t dst, int32_t src, int32_t positions);
/* attention.cu chooses between prefill.cu and decode.cu, and for f32 takes exact.cu */
sx_status cu_attention(cu_ctx *c, cu_mat out, cu_mat q, const cu_kv *kv, const cu_batch *b, const sx_attention_desc *a);
/* logprob.cu, sample.cu. starts [rows + 1], ids: of the targets, on the host. Outputs on the host; both wait. */
sx_status cu_logprob(cu_ctx *c, cu_mat x, const cu_weight *w, const int32_t *ids, const int64_t *starts, double *lse, float *target, int32_t *best,
                     float *best_logit);
sx_status cu_sample(cu_ctx *c, cu_mat logits, const sx_sample_desc *desc, const double *u, int32_t *ids);
/* stats.cu */
sx_status cu_colstats(cu_ctx *c, float *d_max, float *d_sum, float *d_square, cu_mat x);
sx_status cu_hessian(cu_ctx *c, cu_mat h, cu_mat x);
/* round.cu */
sx_status cu_round(cu_ctx *c, cu_mat out, cu_mat x, const sx_round_desc *r);

/* cuda.c: the one symbol of the library. */
__attribute__((visibility("default"))) const sx_ops *sx_cuda_ops(void);

#ifdef __cplusplus
}
#endif
#endif
