/* host.h: what the backends share: objects, messages, number formats. front.h is their common table; a backend gives the arithmetic, and
 * memory.h the memory where it is the host's. Included by symbolic links beside the sources, so that go build sees every change. */
#ifndef SEXTANT_HOST_H
#define SEXTANT_HOST_H
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kernels.h"

struct sx_device {
  char message[512];
  int32_t threads;
  uint64_t serials; /* the last serial number given to an object */
  void *impl;       /* the backend's own */
  sx_stream *stream;   /* of the operation in hand */
  sx_graph *recording; /* NULL: none */
};

struct sx_stream {
  sx_device *dev;
  void *impl;
};

struct sx_buffer {
  sx_device *dev;
  int64_t bytes;
  uint8_t *data; /* on the device, as all that follows but the arrays of a batch */
  void *raw;     /* what k_free takes */
};

struct sx_weight {
  sx_device *dev;
  sx_dtype dtype;
  int32_t group;
  int64_t rows, cols;
  const uint8_t *data; /* of any alignment when borrowed; NULL: the packed form alone is there */
  const float *scales, *zeros;
  bool row_scales;       /* F8: a scale a row; on the host alone, cuda has one a row always */
  const uint8_t *packed; /* NULL where the backend packs nothing */
  void *own[4];          /* copies of data, scales, zeros, and the packed form; NULL when borrowed */
};

struct sx_kv {
  sx_device *dev;
  sx_kv_desc d;
  uint64_t serial;
  int64_t layer_bytes, page_bytes; /* data: [layers][pages][page_bytes] */
  uint8_t *data;
  void *raw;
};

struct sx_batch {
  sx_device *dev;
  int32_t seqs, max_pages;
  int64_t tokens, longest; /* q_start[seqs]; the greatest kv_len */
  int32_t *q_start, *kv_len, *pages;
  int32_t *seq_of;     /* [tokens]: the sequence of each token */
  int32_t *ids;        /* [tokens]; NULL: none */
  uint64_t checked_kv; /* serial of the cache whose pages this batch is known to fit; 0: none */
  void *impl;          /* the backend's own */
};

/* What is recorded reads a batch with a cache, or its tokens. */
typedef struct graph_use {
  const sx_kv *kv; /* NULL: a matrix with `vocab` rows */
  sx_batch *batch;
  int64_t vocab;
} graph_use;

struct sx_graph {
  sx_device *dev;
  sx_stream *stream;
  graph_use *uses;
  int32_t n_uses;
  void *impl;
};

/* Half the bytes of a weight's value: I4 has two in a byte. */
static inline int64_t half_bytes_of(sx_dtype t) { return t == SX_F32 ? 8 : t == SX_BF16 || t == SX_F16 ? 4 : t == SX_I4 ? 1 : 2; }

/* A checked matrix on the device: of f32, or, where the backend takes it, of another format at the same address. */
typedef struct mat {
  float *p;
  int64_t rows, cols, stride; /* in elements */
  sx_dtype dtype;
} mat;

/* The place of token t of a batch. */
typedef struct place {
  int32_t seq;
  int64_t pos;
} place;

static inline place host_place(const sx_batch *b, int64_t t) {
  int32_t s = b->seq_of[t];
  return (place){s, (int64_t)b->kv_len[s] - b->q_start[s + 1] + t};
}

static inline uint8_t *host_page(const sx_kv *kv, const sx_batch *b, int32_t layer, int32_t seq, int64_t pos) {
  int64_t page = b->pages[(int64_t)seq * b->max_pages + pos / kv->d.page_size];
  return kv->data + layer * kv->layer_bytes + page * kv->page_bytes;
}

#define fail(dev, status, ...) (snprintf((dev)->message, sizeof(dev)->message, __VA_ARGS__), (sx_status)(status))

/* *out = a * b; false when it does not fit, or one is negative. */
static inline bool size_mul(int64_t a, int64_t b, int64_t *out) { return a >= 0 && b >= 0 && !__builtin_mul_overflow(a, b, out); }

/* Zeroed memory aligned to 256 bytes; *raw is for free(). Never NULL for bytes = 0. Large blocks come from the kernel untouched. */
static inline void *host_zalloc(int64_t bytes, void **raw) {
  enum { align = 256, large = 1 << 20 };
  *raw = NULL;
  if (bytes < 0 || bytes > INT64_MAX - align) return NULL;
#ifndef __SANITIZE_ADDRESS__ /* there, the end of the block must be the end of the buffer */
  if (bytes >= large) {
    *raw = calloc(1, (size_t)bytes + align);
    return *raw ? (void *)(((uintptr_t)*raw + align - 1) & ~(uintptr_t)(align - 1)) : NULL;
  }
#endif
  if (posix_memalign(raw, align, bytes ? (size_t)bytes : 1)) {
    *raw = NULL;
    return NULL;
  }
  return memset(*raw, 0, bytes ? (size_t)bytes : 1);
}

/* The same without zeros. */
static inline void *host_alloc(int64_t bytes, void **raw) {
  *raw = NULL;
  if (bytes < 0 || posix_memalign(raw, 256, bytes ? (size_t)bytes : 1)) *raw = NULL;
  return *raw;
}

/* Number formats, one value at a time. */
static inline float f32_of_bits(uint32_t u) {
  float f;
  memcpy(&f, &u, 4);
  return f;
}

static inline uint32_t bits_of_f32(float f) {
  uint32_t u;
  memcpy(&u, &f, 4);
  return u;
}

static inline float f32_of_bf16(uint16_t h) { return f32_of_bits((uint32_t)h << 16); }

/* Round to nearest, ties to even; NaN stays NaN. */
static inline uint16_t bf16_of_f32(float f) {
  uint32_t u = bits_of_f32(f);
  if ((u & 0x7fffffff) > 0x7f800000) return (uint16_t)(u >> 16 | 0x40);
  return (uint16_t)((u + 0x7fff + (u >> 16 & 1)) >> 16);
}

#endif
