/* isa.h: what each build of the generic source (avx512, avx2, scalar) gives to cpu.c. The functions do a part of an operation on one
 * thread and cannot fail: memory is given to them. */
#ifndef SEXTANT_ISA_H
#define SEXTANT_ISA_H
#include "host.h"

enum {
  lanes = 16, /* of every sum, whatever the machine's vectors: the order of a sum is part of the result */
  mat_depth = 256,    /* inputs of a block of matmul */
  mat_rows = 504,     /* rows of x in hand at once */
  vocab_chunk = 256,  /* columns of logits summed together by logprob: whole panels */
  logprob_rows = 288, /* rows of such a chunk in hand at once; a multiple of every build's tile_rows */
  attn_block = 64,                               /* positions between two rescalings, at multiples of it */
  attn_chunk = 512,                              /* positions whose sums are made apart from others', at multiples of it */
  attn_unit_rows = 48,                           /* (token, head) pairs in hand at once; a multiple of every build's tile */
  logprob_scratch = logprob_rows * vocab_chunk, /* floats */
};

typedef struct matmul_job {
  mat out, x; /* at most mat_rows rows */
  const sx_weight *w;
  const float *bias;
  const float *laid, *sums;         /* what lay_out made of x; laid is x itself where it needs none */
  int64_t first_row, first_panel; /* of x and w, that out begins with */
} matmul_job;

typedef struct span { /* rows of x, panels of w */
  int64_t r0, r1, p0, p1;
} span;

typedef struct norm_job {
  mat out, x;
  const mat *add;
  const float *w; /* NULL: only add */
  float eps;
} norm_job;

typedef struct gate_job {
  mat out, gate, up;
} gate_job;

typedef struct round_job {
  mat out, x;
  const sx_round_desc *d;
} round_job;

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
  int64_t tile;   /* tokens of an item */
  int64_t chunks; /* 0, or the attn_chunks of the longest sequence: each is an item of its own, whose sums go to partial */
  float *partial; /* [tokens][heads][chunks][attn_slot] */
} attn_job;

typedef struct part { /* of a row's logits, those of one vocab_chunk */
  double sum;         /* of exp(l - max); the number of l = max when max is infinite */
  float max;
  int32_t best;
} part;

typedef struct logprob_job {
  matmul_job mat;       /* without out */
  void (*matmul)(const matmul_job *, span); /* of the build */
  const int32_t *ids;   /* of the targets; those of row r from start[r] on */
  const int64_t *start; /* [rows + 1] */
  float *target;
  part *parts; /* [rows][chunks] */
  int64_t chunks;
} logprob_job;

typedef struct stats_job {
  mat x;
  float *max, *sum, *square; /* [x.cols] */
} stats_job;

enum {
  hessian_block = 192, /* columns of a block: a multiple of panel_rows and of the rows of every build's largest tile */
  hessian_depth = 512, /* rows in hand at once, whole mat_depths: the blocks of h are read and written once for so many */
};

typedef struct hessian_job {
  mat h, x; /* x: at most hessian_depth rows */
  float *panels, *tiles; /* its columns, up to a whole block of zeros, as stats.h lays them out */
} hessian_job;

typedef struct isa {
  const char *name, *features;
  bool fused; /* sums use fused multiply-add: bits equal between all builds that do, but for matmul by units for bf16 */
  bool (*works)(void); /* tried when a device is opened: whether products come out as they must; NULL: nothing to try */
  int64_t tile_rows; /* where matmul may be cut between rows: a multiple of every shape of tile */
  int64_t (*laid_floats)(const matmul_job *), (*sums_floats)(const matmul_job *);
  void (*lay_out)(const matmul_job *, int64_t from, int64_t to, float *laid, float *sums); /* rows; from: a multiple of tile_rows */
  void (*matmul)(const matmul_job *, span);
  void (*rmsnorm)(const norm_job *, int64_t from, int64_t to);                /* rows */
  void (*swiglu)(const gate_job *, int64_t from, int64_t to);                 /* rows */
  void (*rope_kv)(const rope_job *, int64_t from, int64_t to, float *scratch); /* tokens; scratch: head_dim */
  /* Tokens of one kv head, all their positions or, if the job has chunks, those of one; attn_scratch. Then the chunks put together. */
  void (*attention)(const attn_job *, int64_t from, int64_t to, int64_t kv_head, int64_t chunk, float *scratch);
  void (*attention_merge)(const attn_job *, int64_t from, int64_t to);
  void (*logprob)(const logprob_job *, int64_t chunk, float *scratch); /* scratch: logprob_scratch */
  void (*colstats)(const stats_job *, int64_t from, int64_t to);                       /* columns; from: a multiple of lanes */
  void (*hessian_lay)(const hessian_job *, int64_t block);                             /* a block of columns */
  void (*hessian)(const hessian_job *, int64_t rows, int64_t cols, float *to);         /* a block of columns by a block of columns */
  void (*round)(const round_job *, int64_t from, int64_t to);                          /* rows */
  void (*exp)(float *x, int64_t n);                                    /* in place; for the tests */
  float (*fma)(int64_t rounds);                                        /* peak.h: fma_flop operations a round */
  int32_t fma_flop;
  uint32_t (*read)(const uint8_t *, int64_t bytes); /* peak.h */
} isa;

const isa *sx_cpu_build(const char *name); /* NULL: there is none, or it does not run here */
/* The build for a device: the first of those that SEXTANT_CPU_ISA names, one or several between commas, that runs here and works; without
 * it, the best. note: what info should say of the choice, or "". */
sx_status sx_cpu_choose(sx_device *d, const isa **out, char *note, size_t note_bytes);
int32_t sx_cpu_threads(void);              /* the CPUs this process may run on */

extern const isa sx_isa_scalar;
#if defined(__x86_64__)
extern const isa sx_isa_avx2, sx_isa_avx512, sx_isa_wide;
extern const isa sx_isa_amx, sx_isa_amx_bf16, sx_isa_avx512_bf16, sx_isa_amx_model, sx_isa_amx_bf16_model, sx_isa_avx512_bf16_model;
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

/* Floats of scratch that a part of attention needs: sums, scores and q of its rows. */
static inline int64_t attn_scratch(int64_t head_dim) { return attn_unit_rows * (2 * round16(head_dim) + attn_block + head_dim); }

/* Floats that the sums of a chunk take: the values', the greatest score, and the weights' in double. */
static inline int64_t attn_slot(int64_t head_dim) { return round16(head_dim) + 16; }

#endif
