/* isa.h: what each build of the generic source (avx512, avx2, scalar) gives to cpu.c. The functions do a part of an operation on one
 * thread and cannot fail: memory is given to them. */
#ifndef SEXTANT_ISA_H
#define SEXTANT_ISA_H
#include "host.h"

enum {
  lanes = 16, /* of every sum, whatever the machine's vectors: the order of a sum is part of the result */
  mat_rows = 128, mat_depth = 512, mat_cols = 8, /* a block of matmul: rows of x, inputs, columns of w */
  vocab_chunk = 256,                             /* columns of logits summed together by logprob */
  attn_block = 64,                               /* positions between two rescalings, at multiples of it */
  attn_unit_rows = 32,                           /* (token, head) pairs in hand at once */
  mat_scratch = (mat_rows + mat_cols) * mat_depth, /* floats */
  logprob_scratch = mat_scratch + mat_rows * vocab_chunk,
};

typedef struct matmul_job {
  mat out, x;
  const sx_weight *w;
  const float *bias;
  int64_t first; /* the row of w that column 0 of out is for */
  int64_t step;  /* columns of an item */
} matmul_job;

typedef struct norm_job {
  mat out, x;
  const mat *add;
  const float *w;
  float eps;
} norm_job;

typedef struct gate_job {
  mat out, gate, up;
} gate_job;

typedef struct rope_job {
  mat q, k, v, table;
  int32_t dims, interleaved, layer;
  sx_kv *kv;
  const sx_batch *batch;
} rope_job;

typedef struct embed_job {
  mat out;
  const sx_weight *w;
  const int32_t *ids;
} embed_job;

typedef struct attn_job {
  mat out, q;
  const sx_kv *kv;
  const sx_batch *batch;
  sx_attention_desc d;
  int64_t tile; /* tokens of an item */
} attn_job;

typedef struct part { /* of a row's logits, those of one vocab_chunk */
  double sum;         /* of exp(l - max); the number of l = max when max is infinite */
  float max;
  int32_t best;
} part;

typedef struct logprob_job {
  mat x;
  const sx_weight *w;
  const int32_t *targets; /* may be NULL, as target may */
  float *target;
  part *parts; /* [rows][chunks] */
  int64_t chunks;
} logprob_job;

typedef struct isa {
  const char *name, *features;
  bool fused; /* sums use fused multiply-add: bits equal between all builds that do */
  void (*matmul)(const matmul_job *, int64_t n0, int64_t n1, float *scratch); /* columns [n0, n1) of out; scratch: mat_scratch */
  void (*embed)(const embed_job *, int64_t from, int64_t to);                 /* rows */
  void (*rmsnorm)(const norm_job *, int64_t from, int64_t to);                /* rows */
  void (*swiglu)(const gate_job *, int64_t from, int64_t to);                 /* rows */
  void (*rope_kv)(const rope_job *, int64_t from, int64_t to);                /* tokens */
  void (*attention)(const attn_job *, int64_t from, int64_t to, int64_t kv_head, float *scratch); /* tokens of one kv head; attn_scratch */
  void (*logprob)(const logprob_job *, int64_t chunk, float *scratch); /* scratch: logprob_scratch */
  void (*exp)(float *x, int64_t n);                                    /* in place; for the tests */
  float (*fma)(int64_t rounds);                                        /* peak.h: fma_flop operations a round */
  int32_t fma_flop;
  uint32_t (*read)(const uint8_t *, int64_t bytes); /* peak.h */
} isa;

const isa *sx_cpu_build(const char *name); /* NULL: there is none, or it does not run here */
int32_t sx_cpu_threads(void);              /* the CPUs this process may run on */

extern const isa sx_isa_scalar;
#if defined(__x86_64__)
extern const isa sx_isa_avx2, sx_isa_avx512, sx_isa_wide;
#endif

/* The cpu backend's pages: for each kv head the keys as [page_size/16 rounded up][head_dim][16], so that 16 positions lie beside one
 * another, then the values as [page_size][head_dim rounded up to 16]. All in elements. */
typedef struct kv_shape {
  int64_t k_size, v_row, head_size;
} kv_shape;

static inline int64_t round16(int64_t n) { return (n + 15) & ~(int64_t)15; }

static inline kv_shape kv_shape_of(const sx_kv_desc *d) {
  kv_shape s = {round16(d->page_size) * d->head_dim, round16(d->head_dim), 0};
  s.head_size = s.k_size + s.v_row * d->page_size;
  return s;
}

static inline int64_t key_index(const sx_kv_desc *d, int64_t slot, int64_t dim) { return (slot / 16 * d->head_dim + dim) * 16 + slot % 16; }

/* Floats of scratch that `rows` (token, head) pairs of attention need: accumulators and scores. */
static inline int64_t attn_scratch(int64_t rows, int64_t head_dim) { return rows * (round16(head_dim) + attn_block); }

#endif
