// exact.cu: attention in f32: for f32 queries or caches, and for sizes of heads that have no tiles on tensor cores. Products and weights are not
// rounded to 16 bits. The order of sums is that of attention.cuh with blocks of 32 positions.
//
// A thread block: one kv head and 16 rows (tokens times the heads that read it), four a warp. Scores: a lane has one position for four
// rows, from pieces of 64 dims of 32 keys in shared memory as f32. Values: a lane has dims lane + 32 i of the four rows, from pieces of 64 dims
// of the 32 values; the four rows' weights of a position come as one read, the same for all lanes. Keys' rows are 68 floats apart, so that
// 16-byte reads of 8 lanes hit all banks.
// Where there are few rows each chunk has blocks of its own, as in decode.cu, else a block goes through all of them.
//
// Shared memory: q 64 B a dim, keys 8.5 KiB, values 8 KiB, weights 2 KiB. Heads of more than 256 dims: blocks for each 256 dims of the result.
#include "attention.cuh"

enum { exact_rows = 16, exact_block = 32, exact_piece = 64, exact_stride = exact_piece + 4, each_warp = 4 };

struct exact_shape {
  int places, keys, values, weights, bytes, dims; // where they begin in shared memory; dims: of a head, rounded up to pieces
};
__host__ __device__ static inline exact_shape exact_shape_of(int head_dim) {
  exact_shape s;
  s.dims = (head_dim + exact_piece - 1) / exact_piece * exact_piece;
  s.places = exact_rows * s.dims * 4;
  s.keys = s.places + exact_block * 8;
  s.values = s.keys + exact_block * exact_stride * 4;
  s.weights = s.values + exact_block * exact_piece * 4;
  s.bytes = s.weights + exact_rows * exact_block * 4;
  return s;
}

__device__ __forceinline__ float load_any(const cu_mat &m, int64_t row, int64_t col) {
  if (m.dtype == SX_F32) return row_of<float>(m, row)[col];
  return m.dtype == SX_BF16 ? to_f32(row_of<bf16>(m, row)[col]) : to_f32(row_of<f16>(m, row)[col]);
}

// Brings dims [d0, d0 + 64) of the 32 rows at `from` plus their places, `stride` floats apart; 0 where there is none.
template <class C>
__device__ __forceinline__ void bring(const shared_array<float> &to, int stride, const uint8_t *from, const shared_array<int64_t> &places, int d0,
                                      int head_dim) {
#pragma unroll 4
  for (int i = (int)threadIdx.x; i < exact_block * exact_piece; i += att_threads) {
    int64_t at = places.get(i / exact_piece);
    int d = d0 + i % exact_piece;
    to.put(i / exact_piece * stride + i % exact_piece, at >= 0 && d < head_dim ? to_f32(((const C *)(from + at))[d]) : 0.0f);
  }
}

template <int D> struct exact_sums { // of a warp's rows; a lane has D of the dims
  float o[each_warp][D], max[each_warp], sum[each_warp];
  __device__ __forceinline__ void clear() {
#pragma unroll
    for (int r = 0; r < each_warp; r++) {
      max[r] = -INFINITY;
      sum[r] = 0;
#pragma unroll
      for (int i = 0; i < D; i++) o[r][i] = 0;
    }
  }
};

// The positions of a block that each of the warp's rows sees.
struct exact_sight {
  int from[each_warp], to[each_warp];
};

// Scores of the lane's position become weights.
template <int D> __device__ __forceinline__ void exact_soften(exact_sums<D> &u, float s[each_warp], const exact_sight &see, float scale, int lane) {
#pragma unroll
  for (int r = 0; r < each_warp; r++) {
    float x = lane >= see.from[r] && lane < see.to[r] ? fmaf(s[r], scale, 0.0f) : -INFINITY;
    float m = fmaxf(u.max[r], warp_max(x)), base = m == -INFINITY ? 0 : m, keep = exp2f(u.max[r] - base);
    s[r] = exp2f(x - base);
    u.max[r] = m;
    u.sum[r] = fmaf(u.sum[r], keep, warp_sum(s[r]));
#pragma unroll
    for (int i = 0; i < D; i++) u.o[r][i] *= keep;
  }
}

// Weights (of a position those of the four rows beside one another) times 64 dims of the values, into o[at] and o[at + 1]. Positions that a row
// does not see are passed over: they may be NaN.
template <int D>
__device__ __forceinline__ void exact_values(exact_sums<D> &u, const shared_array<float> &weights, const exact_sight &see,
                                             const shared_array<float> &v, int at, int lane) {
#pragma unroll 4
  for (int p = 0; p < exact_block; p++) {
    float x = v.get(p * exact_piece + lane), y = v.get(p * exact_piece + lane + 32);
    float4 four = weights.get_as<float4>(p * each_warp);
    const float w[each_warp] = {four.x, four.y, four.z, four.w};
#pragma unroll
    for (int r = 0; r < each_warp; r++) {
      bool sees = p >= see.from[r] && p < see.to[r];
      u.o[r][at] = sees ? fmaf(w[r], x, u.o[r][at]) : u.o[r][at];
      u.o[r][at + 1] = sees ? fmaf(w[r], y, u.o[r][at + 1]) : u.o[r][at + 1];
    }
  }
}

template <int D> __device__ __forceinline__ void exact_join(exact_sums<D> &all, const exact_sums<D> &part) {
#pragma unroll
  for (int r = 0; r < each_warp; r++) {
    att_scales f = att_fold(all.max[r], part.max[r], 1);
#pragma unroll
    for (int i = 0; i < D; i++) all.o[r][i] = att_folded(f, all.o[r][i], part.o[r][i]);
    all.sum[r] = att_folded(f, all.sum[r], part.sum[r]);
    all.max[r] = f.max;
  }
}

// One block of positions, from position b0 on.
template <class C, int D>
__device__ __forceinline__ void exact_step(const att_args &a, const att_rows &r, const exact_shape &shape, exact_sums<D> &u, int b0, int dim0) {
  const int tid = (int)threadIdx.x, warp = tid / 32, lane = tid % 32, kv_head = (int)blockIdx.y;
  shared_array<float> q(0, exact_rows * shape.dims), k(shape.keys, exact_block * exact_stride), v(shape.values, exact_block * exact_piece);
  shared_array<float> weights(shape.weights + warp * each_warp * exact_block * 4, each_warp * exact_block);
  shared_array<int64_t> places(shape.places, exact_block);
  float s[each_warp] = {};
  __syncthreads(); // all are done with the block before
  if (tid < exact_block) places.put(tid, att_place(a, r.seq, kv_head, b0 + tid, r.lo, r.hi, (int)sizeof(C)));
  for (int d0 = 0; d0 < shape.dims; d0 += exact_piece) {
    __syncthreads();
    bring<C>(k, exact_stride, a.kv, places, d0, a.head_dim);
    __syncthreads();
#pragma unroll 4
    for (int d = 0; d < exact_piece; d += 4) {
      float4 y = k.get_as<float4>(lane * exact_stride + d);
#pragma unroll
      for (int i = 0; i < each_warp; i++) {
        float4 x = q.get_as<float4>((warp * each_warp + i) * shape.dims + d0 + d);
        s[i] = fmaf(x.w, y.w, fmaf(x.z, y.z, fmaf(x.y, y.y, fmaf(x.x, y.x, s[i]))));
      }
    }
  }
  exact_sight see;
#pragma unroll
  for (int i = 0; i < each_warp; i++) {
    int row = warp * each_warp + i, position = r.past + (r.first + row) / a.group;
    see.to[i] = row < r.n ? position + 1 - b0 : 0;
    see.from[i] = a.window ? position + 1 - a.window - b0 : 0;
  }
  exact_soften<D>(u, s, see, a.scale, lane);
  weights.put_as<float4>(lane * each_warp, make_float4(s[0], s[1], s[2], s[3])); // read behind the barrier below
#pragma unroll
  for (int i = 0; i < D; i += 2) {
    int d0 = dim0 + i * 32;
    if (d0 >= a.head_dim) break;
    if (i) __syncthreads();
    bring<C>(v, exact_piece, a.kv + a.v_offset, places, d0, a.head_dim);
    __syncthreads();
    exact_values<D>(u, weights, see, v, i, lane);
  }
}

// slot: where partial sums go; NULL: results.
template <int D>
__device__ __forceinline__ void exact_put(const att_args &a, const att_rows &r, const exact_sums<D> &u, float *slot, int rows, int dim0) {
  const int warp = (int)threadIdx.x / 32, lane = (int)threadIdx.x % 32;
#pragma unroll
  for (int i = 0; i < each_warp; i++) {
    int row = warp * each_warp + i, n = r.first + row;
    if (row >= r.n) continue;
    int64_t token = (int64_t)a.q_start[r.seq] + n / a.group, col = (int64_t)((int)blockIdx.y * a.group + n % a.group) * a.head_dim;
    float one_by = 1.0f / u.sum[i];
#pragma unroll
    for (int j = 0; j < D; j++) {
      int d = dim0 + j * 32 + lane;
      if (d >= a.head_dim) continue;
      if (slot)
        slot[(int64_t)row * a.head_dim + d] = u.o[i][j];
      else
        att_put(a.out, token, col + d, att_result(u.o[i][j], one_by));
    }
    if (slot && lane == 0 && dim0 == 0) {
      slot[(int64_t)rows * a.head_dim + row * 2] = u.max[i];
      slot[(int64_t)rows * a.head_dim + row * 2 + 1] = u.sum[i];
    }
  }
}

// gridDim.x: (tiles of sequences from seq0 on) x chunks, or x 1 when a block goes through all; y: kv heads; z: 32 D dims of the result each.
template <class C, int D>
__global__ void __launch_bounds__(att_threads) exact_kernel(att_args a, int seq0, att_cut cut, int split) {
  const exact_shape shape = exact_shape_of(a.head_dim);
  const int place = (int)(blockIdx.x / (unsigned)(split ? cut.chunks : 1)), dim0 = (int)blockIdx.z * 32 * D;
  const att_rows r = att_rows_of(a, seq0 + place / cut.tiles, place % cut.tiles * exact_rows, exact_rows);
  if (r.n <= 0) return;
  int c0 = r.lo / att_chunk, c1 = (r.hi - 1) / att_chunk, only = c0 == c1;
  if (split) {
    int c = (int)(blockIdx.x % (unsigned)cut.chunks);
    if (c < c0 || c > c1) return;
    c0 = c1 = c;
  }
  shared_array<float> q(0, exact_rows * shape.dims);
  for (int i = (int)threadIdx.x; i < exact_rows * shape.dims; i += att_threads) {
    int row = i / shape.dims, d = i % shape.dims, n = r.first + row;
    q.put(i, row < r.n && d < a.head_dim ? load_any(a.q, (int64_t)a.q_start[r.seq] + n / a.group,
                                                    (int64_t)((int)blockIdx.y * a.group + n % a.group) * a.head_dim + d)
                                         : 0.0f);
  }
  exact_sums<D> all, part;
  all.clear();
  for (int c = c0; c <= c1; c++) {
    part.clear();
    int from = max(c * att_chunk, r.lo / exact_block * exact_block), to = min((c + 1) * att_chunk, r.hi);
    for (int b0 = from; b0 < to; b0 += exact_block) exact_step<C, D>(a, r, shape, part, b0, dim0);
    if (c == c0)
      all = part;
    else
      exact_join<D>(all, part);
  }
  bool results = !split || only;
  exact_put<D>(a, r, all, results ? nullptr : att_slot(a, place, (int)blockIdx.y, c0, cut.chunks, cut.rows), cut.rows, dim0);
}

template <class C, int D> static sx_status launch(cu_ctx *c, const att_args &a, const cu_batch *b) {
  const exact_shape shape = exact_shape_of(a.head_dim);
  att_cut cut = att_cut_of(c, a, b);
  const int64_t all = (int64_t)b->longest_new * a.group;
  const bool split = (b->longest_new == 1 || all <= exact_rows) && cut.seqs > 0;
  if (!split) {
    int64_t most = INT32_MAX / cut.tiles;
    cut.seqs = (int)(most < b->seqs ? most : b->seqs);
  }
  if (shape.bytes > c->shared_limit)
    return cu_fail(c, SX_UNSUPPORTED, "attention with heads of %d: %d bytes of shared memory, the device has %d", a.head_dim, shape.bytes,
                   c->shared_limit);
  auto kernel = exact_kernel<C, D>;
  for (int s = 0; s < b->seqs; s += cut.seqs) {
    int n = b->seqs - s < cut.seqs ? b->seqs - s : cut.seqs;
    dim3 grid((unsigned)n * (unsigned)cut.tiles * (unsigned)(split ? cut.chunks : 1), (unsigned)a.kv_heads,
              (unsigned)((a.head_dim + 32 * D - 1) / (32 * D)));
    CU_CHECK(SX_LAUNCH(c, kernel, grid, dim3(att_threads), shape.bytes, a, s, cut, (int)split));
    att_args log = a;
    log.scale = 1; // here the greatest scores are taken times the scale already
    if (split && cut.chunks > 1) CU_CHECK(att_merge(c, log, s, n, cut));
  }
  return SX_OK;
}

template <class C> static sx_status exact(cu_ctx *c, const att_args &a, const cu_batch *b) {
  if (a.head_dim <= 64) return launch<C, 2>(c, a, b);
  if (a.head_dim <= 128) return launch<C, 4>(c, a, b);
  return launch<C, 8>(c, a, b);
}

sx_status att_exact(cu_ctx *c, const att_args &a, const cu_kv *kv, const cu_batch *b) {
  if (b->longest_new == 0) return SX_OK;
  return kv->dtype == SX_F32 ? exact<float>(c, a, b) : kv->dtype == SX_BF16 ? exact<bf16>(c, a, b) : exact<f16>(c, a, b);
}
