/* kernels.h: the one C ABI between the worker and a kernel backend (ref, cpu, cuda).
 *
 * A backend is one table of functions (sx_ops) got from one exported function. Every backend gives every function, with
 * the same meaning; a backend that cannot do a case answers SX_UNSUPPORTED. Nothing here aborts, prints or throws.
 *
 * Conventions
 *  - Every function returns a status. On anything but SX_OK the reason, in words and with the shapes, is in the device's
 *    message (ops->message), valid until the next call on that device. A device is used by one thread at a time.
 *  - Sizes are int64_t counts of elements unless a name says bytes. Matrices are row-major; a tensor is a view
 *    (buffer, byte offset, rows, cols, row stride in elements). Rows of size 0 are legal everywhere and do nothing.
 *  - Activations are f32 tensors, on devices whose info says `narrow` bf16 and f16 ones too, also mixed in one call; sums are made in f32
 *    and rounded once, when they are stored. Weights are opaque sx_weight, made once from host memory.
 *  - Host arrays (const int32_t * and the like) are read before the call returns. Work on tensors is in stream order;
 *    results are on the host only after download, logprob and sample, which wait.
 *  - ROW INVARIANCE: what is computed for one row (token) depends on that row alone, bit for bit: never on the number of rows
 *    in the call, its place among them, the page numbers of its keys or the thread count. Scores rely on it; the suite tests it.
 *    A device whose info gives `few` > 0 has two orders of sums in matmul: one for calls of up to `few` rows, one for more.
 *  - No output overlaps an input except where a comment says "in place". Views of other columns of the same rows do not overlap.
 *  - NaN and infinities go where arithmetic takes them. Where a best value is sought NaN is less than every number.
 */
#ifndef SEXTANT_KERNELS_H
#define SEXTANT_KERNELS_H
#include <stddef.h>
#include <stdint.h>

#define SX_ABI 5 /* raised whenever a struct or the meaning of a function changes */

typedef int32_t sx_status;
enum { SX_OK = 0, SX_INVALID = 1, SX_NOMEM = 2, SX_UNSUPPORTED = 3, SX_DEVICE = 4 };

/* Number formats. F8 is e4m3fn, with one f32 scale, or one a row. I8: one f32 scale a row. I4: two codes a byte, low nibble first, unsigned, with an
 * f32 scale and an f32 zero for each group of `group` inputs: w = (q - zero) * scale. */
typedef int32_t sx_dtype;
enum { SX_F32 = 0, SX_BF16 = 1, SX_F16 = 2, SX_I8 = 3, SX_I4 = 4, SX_F8 = 5 };

typedef struct sx_device sx_device;
typedef struct sx_stream sx_stream;
typedef struct sx_buffer sx_buffer;
typedef struct sx_weight sx_weight;
typedef struct sx_kv sx_kv;
typedef struct sx_batch sx_batch;
typedef struct sx_graph sx_graph;

typedef struct sx_open_opts {
  int32_t device;  /* ordinal among visible devices; ignored by cpu and ref */
  int32_t threads; /* cpu: worker threads, 0 = all this process may run on */
} sx_open_opts;

typedef struct sx_info {
  char name[64];        /* "AMD EPYC ..." or "NVIDIA H200" */
  char features[128];   /* what was chosen, e.g. "avx2 fma, 2 threads" */
  int64_t memory_bytes; /* total, 0 when unknown */
  int64_t free_bytes;   /* free now, 0 when unknown */
  int32_t threads;
  int32_t compute_capability; /* 90 for sm_90, 0 on CPUs */
  char layout[16]; /* names the form that pack gives weights; "" where there is none */
  int32_t narrow;  /* 1: activations and caches may be bf16 or f16 */
  int32_t pieces;  /* 1: a weight may be made without data, for weight_put */
  int32_t few;     /* rows up to which matmul sums in another order than beyond, as logprob always does; 0: one order */
  int32_t rounds_kv; /* 1: a cache may round what is written into it */
} sx_info;

typedef struct sx_tensor {
  sx_buffer *buf;
  int64_t offset_bytes;
  int64_t rows, cols;
  int64_t stride; /* elements from one row to the next, >= cols */
  sx_dtype dtype;
} sx_tensor;

/* What a weight is for. One for embed alone stays as it is: of a mapped file only the rows that are asked for come to memory. */
enum { SX_USE_ANY = 0, SX_USE_EMBED = 1 };

/* A weight matrix [rows = outputs, cols = inputs] in host memory. */
typedef struct sx_weight_desc {
  sx_dtype dtype;
  int32_t group;        /* I4: inputs a scale covers, divides cols; else 0 */
  int64_t rows, cols;
  const void *data;     /* rows*cols values (I4: rows*cols/2 bytes, cols even); NULL where info has pieces: weight_put brings them */
  const float *scales;  /* I8: [rows]; I4: [rows, cols/group]; F8: [1], or [rows] with row_scales; else NULL */
  const float *zeros;   /* I4: [rows, cols/group]; else NULL */
  int32_t borrow;       /* 1: data, scales and zeros outlive the weight, a backend may read them in place (mmap) */
  int32_t use;          /* SX_USE_* */
  int32_t packed;       /* 1: data is what pack wrote for a device of the same layout; scales and zeros are in it */
  int32_t row_scales;   /* F8: 1: a scale a row; 0: one for all rows. Else 0. Of no meaning for what is packed or has no data yet */
} sx_weight_desc;

/* A paged KV cache for `layers` layers. A page holds page_size positions of every layer; its layout is the backend's own.
 * `round` is how rope_kv rounds keys, once they are rotated, and values before they are stored in dtype, as the operation of that name does:
 * F32: not at all; I8: each head's vector of a token by its own scale; F8: with the scale 1. Others than F32 are SX_UNSUPPORTED where info
 * has no rounds_kv. Of a vector with a NaN or an infinity I8 makes NaN, as of any row. */
typedef struct sx_kv_desc {
  int32_t layers, kv_heads, head_dim, page_size, pages;
  sx_dtype dtype; /* F32 or BF16, where info says narrow F16 too */
  sx_dtype round; /* F32, I8 or F8 */
} sx_kv_desc;

/* How the operation round does: to I8 or F8 (e4m3fn), with the one scale if it is > 0, whatever the group; for scale 0 with a scale for each
 * `group` inputs of a row, the last of which may be fewer; group 0: for the whole row. */
typedef struct sx_round_desc {
  sx_dtype to;
  float scale;
  int64_t group;
} sx_round_desc;

/* The sequences of one forward pass. Tokens of all sequences lie behind one another without padding. Sequence s has new tokens
 * [q_start[s], q_start[s+1]) and, with them, kv_len[s] positions in all; token i of it is at position
 * kv_len[s] - (q_start[s+1]-q_start[s]) + i. Position p lives in page pages[s*max_pages + p/page_size], slot p%page_size.
 * Sequences may share pages that none of them writes in this pass; a page that is written and also named elsewhere is SX_INVALID. The
 * pages are checked when the batch is first used with a cache. */
typedef struct sx_batch_desc {
  int32_t seqs, max_pages;
  const int32_t *q_start; /* [seqs+1], q_start[0] = 0, not decreasing */
  const int32_t *kv_len;  /* [seqs] */
  const int32_t *pages;   /* [seqs, max_pages] */
  const int32_t *tokens;  /* [q_start[seqs]] ids, for embed_batch; NULL: none */
} sx_batch_desc;

/* How q and k are rotated (RoFormer, arXiv 2104.09864). table: f32 tensor [positions, dims]: cos of the dims/2 angles, then sin. Only
 * the first `dims` of a head are rotated, an even number in (0, head_dim]; dims = head_dim for all families so far. */
typedef struct sx_rope_desc {
  sx_tensor table;
  int32_t dims;
  int32_t interleaved; /* 0: pairs (i, i+dims/2), as HF stores them; 1: pairs (2i, 2i+1), as Meta does */
} sx_rope_desc;

typedef struct sx_attention_desc {
  int32_t layer, heads;
  int32_t window;   /* 0: all earlier positions; else position p sees (p-window, p] */
  float scale;      /* usually 1/sqrt(head_dim) */
} sx_attention_desc;

typedef struct sx_sample_desc {
  float temperature; /* <= 0: argmax */
  int32_t top_k;     /* 0: off */
  float top_p;       /* >= 1: off */
} sx_sample_desc;

/* Single logits that are wanted, any number of a row. */
typedef struct sx_targets {
  int64_t n;
  const int32_t *rows; /* [n], not decreasing; NULL: one a row */
  const int32_t *ids;  /* [n] */
} sx_targets;

typedef struct sx_ops {
  uint32_t abi;  /* SX_ABI */
  uint32_t size; /* sizeof(sx_ops) */
  const char *name;

  sx_status (*open)(const sx_open_opts *opts, sx_device **out, char *why, size_t why_bytes); /* why: reason on failure */
  void (*close)(sx_device *);
  const char *(*message)(const sx_device *);
  sx_status (*info)(sx_device *, sx_info *out);

  sx_status (*stream_new)(sx_device *, sx_stream **out);
  void (*stream_free)(sx_device *, sx_stream *);
  sx_status (*stream_sync)(sx_device *, sx_stream *);

  sx_status (*buffer_new)(sx_device *, int64_t bytes, sx_buffer **out); /* zeroed, aligned to 256 bytes */
  void (*buffer_free)(sx_device *, sx_buffer *);
  sx_status (*upload)(sx_device *, sx_stream *, sx_buffer *dst, int64_t offset_bytes, const void *src, int64_t bytes);
  sx_status (*download)(sx_device *, sx_stream *, void *dst, const sx_buffer *src, int64_t offset_bytes, int64_t bytes);
  /* dst's bytes from `at` on = those of src from `from` on. src may be another device's of the same backend: then straight from one to the
   * other where the machine has a way between them, else as the driver does it. It waits, as download does; so what writes to another
   * device's src must have been waited for, and once the call returns either side may be written again. */
  sx_status (*copy)(sx_device *, sx_stream *, sx_buffer *dst, int64_t at, const sx_buffer *src, int64_t from, int64_t bytes);

  sx_status (*weight_new)(sx_device *, const sx_weight_desc *, sx_weight **out); /* packs what is not */
  /* The form that matmul reads, apart from making a weight of it, so that it may lie in memory that processes share. The packed forms of
   * matrices of equal dtype, group and cols whose rows are a multiple of 16 make, one behind another, that of the matrix of all their
   * rows. dst is aligned to 64 bytes. SX_UNSUPPORTED where info gives no layout, or for SX_USE_EMBED. */
  sx_status (*pack_size)(sx_device *, const sx_weight_desc *, int64_t *bytes);
  sx_status (*pack)(sx_device *, const sx_weight_desc *, void *dst);
  /* Fills the rows from `row` on of a weight that was made without data with those of part: the same dtype, group and cols. F8: each part
   * has one scale for its rows, or one a row. SX_UNSUPPORTED where info has no pieces. */
  sx_status (*weight_put)(sx_device *, sx_weight *, int64_t row, const sx_weight_desc *part);
  void (*weight_free)(sx_device *, sx_weight *);

  sx_status (*kv_new)(sx_device *, const sx_kv_desc *, sx_kv **out);
  void (*kv_free)(sx_device *, sx_kv *);
  sx_status (*kv_copy)(sx_device *, sx_stream *, sx_kv *, int32_t dst_page, int32_t src_page, int32_t positions); /* first n slots, all layers */

  sx_status (*batch_new)(sx_device *, sx_stream *, const sx_batch_desc *, sx_batch **out); /* copies the arrays */
  /* Other values for a batch: the same seqs, max_pages and q_start, tokens where there were some. */
  sx_status (*batch_set)(sx_device *, sx_stream *, sx_batch *, const sx_batch_desc *);
  void (*batch_free)(sx_device *, sx_batch *);

  /* What is given to the stream between begin and end is not carried out but recorded, for graph_run to carry out as often as wanted: the
   * same tensors, weights, caches and batches, which must live as long as the graph; their values may change. Only operations that give
   * the host nothing, and none that takes an array of the host's, can be recorded. After an error in between, end and free it all the
   * same. SX_UNSUPPORTED where a launch costs nothing that could be saved. */
  sx_status (*graph_begin)(sx_device *, sx_stream *);
  sx_status (*graph_end)(sx_device *, sx_stream *, sx_graph **out);
  sx_status (*graph_run)(sx_device *, sx_stream *, sx_graph *);
  void (*graph_free)(sx_device *, sx_graph *);

  /* out[i,:] = w[ids[i],:]; an id outside [0, rows) is SX_INVALID. */
  sx_status (*embed)(sx_device *, sx_stream *, const sx_tensor *out, const sx_weight *w, const int32_t *ids, int64_t n);
  /* The same with the batch's tokens. */
  sx_status (*embed_batch)(sx_device *, sx_stream *, const sx_tensor *out, const sx_weight *w, const sx_batch *);
  /* out[i,:] = x[rows[i],:]. */
  sx_status (*gather)(sx_device *, sx_stream *, const sx_tensor *out, const sx_tensor *x, const int32_t *rows, int64_t n);
  /* out[M,N] = x[M,K] w^T (+ bias[N] if not NULL, an F32 weight of 1 x N). A device may be opened so that it rounds x to bf16 where w is
   * bf16 or I8 (cpu: builds amx-bf16, avx512-bf16): then within 2^-9 of the sum of |x||w|, else within f32's rounding of it. Where x is
   * bf16 or f16, a device may round the values of w to x's format. */
  sx_status (*matmul)(sx_device *, sx_stream *, const sx_tensor *out, const sx_tensor *x, const sx_weight *w, const sx_weight *bias);
  /* If add: x += add, in place. Then out = x / sqrt(mean(x^2) + eps) * w (RMSNorm, arXiv 1910.07467); w: 1 x cols.
   * out may be x itself when add is NULL. */
  sx_status (*rmsnorm)(sx_device *, sx_stream *, const sx_tensor *out, const sx_tensor *x, const sx_tensor *add, const sx_weight *w, float eps);
  /* x += add, in place. */
  sx_status (*add)(sx_device *, sx_stream *, const sx_tensor *x, const sx_tensor *add);
  /* Rotates q [T, heads*head_dim] in place, and k [T, kv_heads*head_dim] on its way into the cache beside v, at the batch's positions. */
  sx_status (*rope_kv)(sx_device *, sx_stream *, const sx_tensor *q, const sx_tensor *k, const sx_tensor *v, const sx_rope_desc *,
                       sx_kv *, const sx_batch *, int32_t layer);
  /* Causal attention of each token over its sequence's cached positions; out, q [T, heads*head_dim]; head h reads kv head
   * h / (heads/kv_heads). */
  sx_status (*attention)(sx_device *, sx_stream *, const sx_tensor *out, const sx_tensor *q, const sx_kv *, const sx_batch *,
                         const sx_attention_desc *);
  /* out = silu(gate) * up; out may be gate or up (GLU Variants, arXiv 2002.05202). */
  sx_status (*swiglu)(sx_device *, sx_stream *, const sx_tensor *out, const sx_tensor *gate, const sx_tensor *up);
  /* For each row i of x [R, D], with logits l = x[i] w^T over the V rows of w: lse[i] = log sum exp l; best[i] = the first argmax;
   * best_logit[i] = its logit. For each j of the targets: target[j] = the logit of ids[j] in row rows[j]. Host outputs; lse is [R]; targets
   * and target may be NULL together, best and best_logit each. The R x V logits need never exist; they are bit for bit those of matmul,
   * where info gives `few` in the order for more rows than that, however many there are.
   * Sums in double or in a compensated order. A target outside [0,V) or a row outside [0,R) is SX_INVALID. Logits of NaN make lse NaN and
   * are never the best; a row of them alone has best 0. */
  sx_status (*logprob)(sx_device *, sx_stream *, const sx_tensor *x, const sx_weight *w, const sx_targets *targets, double *lse,
                       float *target, int32_t *best, float *best_logit);
  /* One token a row of logits [R, V]: softmax at the temperature over the top_k, then the smallest set of probability top_p, drawn by
   * inversion with u[i] in [0,1) over descending probability (ties: lower id first). ids [R] on the host. desc[R]: one a row. Logits of
   * NaN have no probability; infinite ones share all of it. */
  sx_status (*sample)(sx_device *, sx_stream *, const sx_tensor *logits, const sx_sample_desc *desc, const double *u, int32_t *ids);
  /* Statistics of calibration over the rows of x [M,K], f32 tensors 1 x K in place: max = the greatest of max and |x|, sum += |x|,
   * square += x^2 (AWQ, arXiv 2306.00978; SmoothQuant, arXiv 2211.10438). A NaN in a column makes all three of it NaN. */
  sx_status (*colstats)(sx_device *, sx_stream *, const sx_tensor *max, const sx_tensor *sum, const sx_tensor *square, const sx_tensor *x);
  /* h[K,K] += x^T x, f32, in place (GPTQ, arXiv 2210.17323, without its factor 2). What is added is symmetric to the bit, and does not depend
   * on the thread count. It is summed in f32 over the rows of the call, in an order of the backend's own, so that rows cut into calls
   * otherwise may give other last bits; the cpu's are the same for all cuts at multiples of 512 rows. */
  sx_status (*hessian)(sx_device *, sx_stream *, const sx_tensor *h, const sx_tensor *x);
  /* out = x [M,K] rounded to what 8 bits hold, symmetrically (fake quantization of activations); out may be x. Where the scale is not given
   * s = a/127 for I8 and a/448 for F8, a the greatest |x| of the row or group. I8: out = q s, where q is x/s rounded to the nearest integer,
   * ties to even, in [-127, 127]. F8: the same with q the nearest number of e4m3fn, ties to even, in [-448, 448]. Each of a/127, x/s and q s is
   * rounded to f32, so that all backends give the same bits; where out is bf16 or f16 it is rounded once more when it is stored.
   * s = 0, as it is where all x are 0 or too small for a scale, gives zeros. A NaN or an infinity makes all of its row or group NaN; with a
   * given scale NaN stays what it is, alone, and infinities become the greatest q s. */
  sx_status (*round)(sx_device *, sx_stream *, const sx_tensor *out, const sx_tensor *x, const sx_round_desc *);
} sx_ops;

/* Entry points. The cuda library exports sx_cuda_ops and is opened with dlopen; its absence is a message, not a crash. */
const sx_ops *sx_ref_ops(void);
const sx_ops *sx_cpu_ops(void);

#endif
