// attention.cuh: what the kernels of attention share: the order of their sums, pieces of tiles, the launchers' arguments.
//
// The sums of a row (a token and a head) are FlashAttention-2's (arXiv 2307.08691), in an order that absolute positions alone decide:
//
//   position   0        64       128                512                    1024
//   blocks     |--------|--------|-- ... ---|--------|---- ... ------|------|
//   chunks     |----------------------------|-------------------------|------
//
//   - Scores of 64 positions at a time give weights 2^(s - max) against the greatest score of the chunk so far; what came before in the
//     chunk is rescaled (att_soften), and the weights, rounded to 16 bits, multiply the values (att_values).
//   - A chunk of 512 positions begins anew, with max = -inf and sums of 0. Chunks are put together in ascending order (att_fold).
//   - A block or chunk of which a row sees nothing changes no bit of its sums: 2^0 = 1, and weights of 0.
//
// So it makes no difference which rows lie in a tile, from how many sequences, whether one thread block goes through all chunks (prefill.cu)
// or each has one (decode.cu), or where pages lie and how long they are. All that is left is that an element of mma's result depends on its
// own row and column, and that products with a weight of 0 leave a sum as it is. The latter fails where a value is infinite or NaN: a position
// that a row does not see would show. att_values_apart is for blocks where that may be.
//
// Fragments of mma m16n8k16 (PTX ISA): lane l of a warp holds rows l/4 and l/4 + 8 (h = 0, 1) of columns 2 (l % 4) and the next, of each 8.
#ifndef SEXTANT_ATTENTION_CUH
#define SEXTANT_ATTENTION_CUH
#include "device.cuh"

enum { att_block = 64, att_chunk = 512, att_per_chunk = att_chunk / att_block, att_threads = 128 };

// A call, as kernels see it.
struct att_args {
  cu_mat out, q;
  const uint8_t *kv; // of the layer
  int64_t page_bytes, v_offset;
  const int32_t *q_start, *kv_len, *pages, *seq_of;
  int32_t seqs, max_pages, page_size, kv_heads, group, head_dim, window;
  float scale; // times log2(e)
  float *work;
};

// A tile of rows of one sequence: rows [first, first + n) of its tokens times `group` heads, token by token. Positions it sees: [lo, hi).
struct att_rows {
  int32_t seq, first, n;
  int32_t past, lo, hi; // past: positions before the new tokens
};

__device__ __forceinline__ att_rows att_rows_of(const att_args &a, int seq, int first, int most) {
  int n = a.q_start[seq + 1] - a.q_start[seq], past = a.kv_len[seq] - n, left = n * a.group - first;
  att_rows r;
  r.seq = seq;
  r.first = first;
  r.n = left < most ? left : most;
  r.past = past;
  int from = past + first / a.group;
  r.lo = a.window && from >= a.window ? from - a.window + 1 : 0;
  r.hi = r.n > 0 ? past + (first + r.n - 1) / a.group + 1 : r.lo;
  return r;
}

// The bytes from a layer's first on to the keys of a position, values of `size` bytes each; -1 outside [lo, hi).
__device__ __forceinline__ int64_t att_place(const att_args &a, int seq, int kv_head, int position, int lo, int hi, int size) {
  if (position < lo || position >= hi) return -1;
  int64_t page = a.pages[(int64_t)seq * a.max_pages + position / a.page_size];
  return page * a.page_bytes + ((int64_t)kv_head * a.page_size + position % a.page_size) * a.head_dim * size;
}

// Partial sums of a chunk, for decode.cu's merge: of each row of a tile head_dim sums, then max and sum of weights.
__device__ __forceinline__ float *att_slot(const att_args &a, int tile, int kv_head, int chunk, int chunks, int rows) {
  return a.work + (((int64_t)tile * a.kv_heads + kv_head) * chunks + chunk) * rows * (a.head_dim + 2);
}

// Puts the sums of a chunk behind those of the chunks before it: all = all * old + part * part_by.
struct att_scales {
  float max, old, part;
};
__device__ __forceinline__ att_scales att_fold(float all_max, float part_max, float scale) {
  float max = fmaxf(all_max, part_max), base = max == -INFINITY ? 0 : max;
  return {max, exp2f((all_max - base) * scale), exp2f((part_max - base) * scale)};
}
__device__ __forceinline__ float att_folded(att_scales f, float all, float part) { return fmaf(part, f.part, all * f.old); }
// The result of a row; a zero has no sign, since adding zeros may have changed it.
__device__ __forceinline__ float att_result(float sum, float one_by) { return fmaf(sum, one_by, 0.0f); }

// Two results beside one another.
template <class T> __device__ __forceinline__ void att_put2_as(const cu_mat &m, int64_t row, int64_t col, float x, float y) {
  T *p = row_to<T>(m, row) + col;
  if ((uintptr_t)p % (2 * sizeof(T)) == 0) {
    struct alignas(2 * sizeof(T)) pair {
      T x, y;
    };
    *(pair *)p = {from_f32<T>(x), from_f32<T>(y)};
    return;
  }
  p[0] = from_f32<T>(x);
  p[1] = from_f32<T>(y);
}
__device__ __forceinline__ void att_put(const cu_mat &m, int64_t row, int64_t col, float x) {
  if (m.dtype == SX_F32)
    row_to<float>(m, row)[col] = x;
  else if (m.dtype == SX_BF16)
    row_to<bf16>(m, row)[col] = from_f32<bf16>(x);
  else
    row_to<f16>(m, row)[col] = from_f32<f16>(x);
}

// How a call is cut where each chunk has thread blocks of its own: tiles of `rows` rows (16 at most), chunks a sequence, and the sequences whose
// partial sums fit the scratch together (0: not even one's).
struct att_cut {
  int rows, tiles, chunks, seqs;
};
static inline att_cut att_cut_of(const cu_ctx *c, const att_args &a, const cu_batch *b) {
  int64_t all = (int64_t)b->longest_new * a.group, reach = c->recording ? (int64_t)b->max_pages * a.page_size : b->longest;
  att_cut cut;
  cut.rows = all < 16 ? (int)all : 16;
  cut.tiles = (int)((all + 15) / 16);
  cut.chunks = reach > att_chunk ? (int)((reach + att_chunk - 1) / att_chunk) : 1;
  int64_t bytes = (int64_t)cut.tiles * a.kv_heads * cut.chunks * cut.rows * (a.head_dim + 2) * 4;
  int64_t fit = cut.chunks == 1 ? b->seqs : c->work_bytes / bytes, most = INT32_MAX / cut.tiles / cut.chunks;
  if (fit > most) fit = most;
  cut.seqs = (int)(fit < b->seqs ? fit : b->seqs);
  return cut;
}

// Launchers; a call has at least one token.
sx_status att_exact(cu_ctx *c, const att_args &a, const cu_kv *kv, const cu_batch *b);
// For q of the cache's format, of 16 bits. att_decode: each chunk by blocks of its own; needs att_cut_of to give sequences.
sx_status att_prefill(cu_ctx *c, const att_args &a, const cu_kv *kv, const cu_batch *b, int span);
sx_status att_decode(cu_ctx *c, const att_args &a, const cu_kv *kv, const cu_batch *b);
// Puts the chunks of sequences [seq0, seq0 + seqs) together.
sx_status att_merge(cu_ctx *c, const att_args &a, int seq0, int seqs, const att_cut &cut);

#endif
