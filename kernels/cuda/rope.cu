// rope.cu: rotary positions (RoFormer, arXiv 2104.09864) for q in place and for k on its way into the paged cache, beside v; and the copy of
// a page's first slots. A block has one token: its page is looked up once, and its 200 to 1000 pieces of work, of eight values or eight pairs
// each, are dealt out to the threads. Bound by memory.
#include "eight.cuh"

namespace {

struct rope_shape {
  side q, k, v, table;
  side cache; // row: one of (K or V, head, slot) of the token's page; p is set by the kernel
  uint8_t *data; // of the layer
  int64_t page_bytes;
  int32_t q_heads, kv_heads, head_dim, half, page_size, max_pages, interleaved;
  int32_t pairs;  // pieces of a head that is rotated
  int32_t rest;   // pieces of a head of k behind what is rotated
  int32_t pieces; // pieces of a head of v
};

// Rotates piece j of the head at column `at` of row `row` of x to row `to_row`, column `to_at` of `to`.
__device__ __forceinline__ void rotate(const rope_shape &s, int64_t pos, int j, const side &x, int64_t row, int64_t at, const side &to,
                                       int64_t to_row, int64_t to_at) {
  int half = s.half;
  if (s.interleaved) { // values 8j to 8j+7: four pairs
    int i = j * 8, n = min(8, 2 * half - i);
    eight v = load8(x, row, at + i, n), out = v;
#pragma unroll
    for (int p = 0; p < 4; p++)
      if (2 * p < n) {
        const float *angle = (const float *)(s.table.p + pos * s.table.stride) + i / 2 + p;
        float c = angle[0], d = angle[half];
        out.v[2 * p] = v.v[2 * p] * c - v.v[2 * p + 1] * d;
        out.v[2 * p + 1] = v.v[2 * p + 1] * c + v.v[2 * p] * d;
      }
    store8(to, to_row, to_at + i, n, out);
    return;
  }
  int i = j * 8, n = min(8, half - i);
  eight a = load8(x, row, at + i, n), b = load8(x, row, at + half + i, n);
  eight c = load8(s.table, pos, i, n), d = load8(s.table, pos, half + i, n), lo, hi;
#pragma unroll
  for (int k = 0; k < 8; k++) {
    lo.v[k] = a.v[k] * c.v[k] - b.v[k] * d.v[k];
    hi.v[k] = b.v[k] * c.v[k] + a.v[k] * d.v[k];
  }
  store8(to, to_row, to_at + i, n, lo);
  store8(to, to_row, to_at + half + i, n, hi);
}

__global__ void rope_kernel(rope_shape s, cu_batch b) {
  int64_t t = blockIdx.x;
  int32_t seq = b.seq_of[t];
  int64_t pos = (int64_t)b.kv_len[seq] - b.q_start[seq + 1] + t;
  int64_t page = b.pages[(int64_t)seq * s.max_pages + pos / s.page_size];
  side cache = s.cache;
  cache.p = s.data + page * s.page_bytes;
  int slot = (int)(pos % s.page_size);
  int of_q = s.q_heads * s.pairs, of_k = s.kv_heads * (s.pairs + s.rest), of_v = s.kv_heads * s.pieces;
  for (int i = (int)threadIdx.x; i < of_q + of_k + of_v; i += (int)blockDim.x) {
    int j = i;
    if (j < of_q) {
      int64_t at = (int64_t)(j / s.pairs) * s.head_dim;
      rotate(s, pos, j % s.pairs, s.q, t, at, s.q, t, at);
      continue;
    }
    j -= of_q;
    bool key = j < of_k;
    int each = key ? s.pairs + s.rest : s.pieces;
    if (!key) j -= of_k;
    int head = j / each;
    j %= each;
    int64_t at = (int64_t)head * s.head_dim, row = ((int64_t)(key ? 0 : s.kv_heads) + head) * s.page_size + slot;
    if (key && j < s.pairs) {
      rotate(s, pos, j, s.k, t, at, cache, row, 0);
      continue;
    }
    int from = key ? 2 * s.half + 8 * (j - s.pairs) : 8 * j;
    const side &x = key ? s.k : s.v;
    int n = min(8, s.head_dim - from);
    store8(cache, row, from, n, load8(x, t, at + from, n));
  }
}

// Block (x, y): K or V of head x of layer y; `bytes` from the beginning of its slots, in units of V.
template <class V> __global__ void copy_kernel(uint8_t *to, const uint8_t *from, int64_t layer_bytes, int64_t head_bytes, int64_t bytes) {
  int64_t at = blockIdx.y * layer_bytes + blockIdx.x * head_bytes;
  for (int64_t i = threadIdx.x; i < bytes / (int64_t)sizeof(V); i += blockDim.x) ((V *)(to + at))[i] = ((const V *)(from + at))[i];
}

} // namespace

sx_status cu_rope_kv(cu_ctx *c, const cu_rope *a, const cu_kv *kv, const cu_batch *b) {
  if (b->tokens == 0) return SX_OK;
  int64_t size = bytes_of_values(kv->dtype, 1);
  rope_shape s = {side_of(a->q), side_of(a->k), side_of(a->v), side_of(a->table)};
  s.cache = side{NULL, kv->head_dim * size, kv->dtype, kv->head_dim * size % 16 == 0};
  s.data = kv->data + a->layer * kv->layer_bytes;
  s.page_bytes = kv->page_bytes;
  s.q_heads = (int32_t)(a->q.cols / kv->head_dim);
  s.kv_heads = kv->kv_heads;
  s.head_dim = kv->head_dim;
  s.half = a->dims / 2;
  s.page_size = kv->page_size;
  s.max_pages = b->max_pages;
  s.interleaved = a->interleaved;
  s.pairs = a->interleaved ? (a->dims + 7) / 8 : (s.half + 7) / 8;
  s.rest = (kv->head_dim - a->dims + 7) / 8;
  s.pieces = (kv->head_dim + 7) / 8;
  if (kv->head_dim % 8 || s.half % 8) // eights would not begin at multiples of eight
    s.q.fast = s.k.fast = s.v.fast = s.table.fast = s.cache.fast = 0;
  int64_t work = (int64_t)s.q_heads * s.pairs + (int64_t)s.kv_heads * (s.pairs + s.rest + s.pieces);
  if (work > INT32_MAX) return cu_fail(c, SX_UNSUPPORTED, "%lld pieces of a token's heads are too many", (long long)work);
  return SX_LAUNCH(c, rope_kernel, (unsigned)b->tokens, work > 128 ? 256 : 64, 0, s, *b);
}

sx_status cu_kv_copy(cu_ctx *c, const cu_kv *kv, int32_t dst, int32_t src, int32_t positions) {
  int64_t slot = bytes_of_values(kv->dtype, kv->head_dim), head = slot * kv->page_size, bytes = slot * positions;
  if (bytes == 0 || dst == src) return SX_OK;
  uint8_t *to = kv->data + dst * kv->page_bytes;
  const uint8_t *from = kv->data + src * kv->page_bytes;
  for (int32_t l = 0; l < kv->layers; l += 65535) { // of a grid's second dimension
    int64_t skip = l * kv->layer_bytes;
    dim3 grid((unsigned)(2 * kv->kv_heads), (unsigned)(kv->layers - l < 65535 ? kv->layers - l : 65535));
    if ((slot | head | kv->layer_bytes | kv->page_bytes) % 16 == 0)
      CU_CHECK(SX_LAUNCH(c, copy_kernel<uint4>, grid, 128, 0, to + skip, from + skip, kv->layer_bytes, head, bytes));
    else
      CU_CHECK(SX_LAUNCH(c, copy_kernel<uint16_t>, grid, 128, 0, to + skip, from + skip, kv->layer_bytes, head, bytes));
  }
  return SX_OK;
}
