// attention_mma.cuh: the part of attention on tensor cores, for 16-bit queries and caches: one warp with 16 rows and a block of 64 positions.
// prefill.cu and decode.cu do all arithmetic through these functions, which is why they give equal bits.
#ifndef SEXTANT_ATTENTION_MMA_CUH
#define SEXTANT_ATTENTION_MMA_CUH
#include "attention.cuh"

// Rows of HD values in shared memory, in pieces of 16 bytes. ldmatrix reads the same piece of 8 rows at once: these must lie in different
// banks. Either a row is longer by a piece, which makes pieces an odd number: then an address is one for a lane plus what the compiler knows,
// which saves registers. Or pieces change places (TURNS), which saves memory; for HD a multiple of 64.
template <int HD, bool TURNS> struct att_tile {
  static_assert(!TURNS || HD % 64 == 0, "pieces change places within eight");
  static constexpr int dims = HD, pieces = HD / 8, wide = TURNS ? HD : HD + 8;
  __device__ static __forceinline__ int at(int row, int piece) { return row * wide + (TURNS ? piece ^ (row & 7) : piece) * 8; }
  static constexpr int bytes(int rows) { return rows * wide * 2; }
};

// What bits of 16-bit numbers tell that they are infinite or NaN: after adding `carry` to those under `mask`, the top bit.
template <class T> struct att_bits;
template <> struct att_bits<bf16> {
  static constexpr uint32_t mask = 0x7f807f80, carry = 0x00800080, one = 0x3f80, many = 0x4300, most = 0x4680; // 1, 128, 16384
};
template <> struct att_bits<f16> {
  static constexpr uint32_t mask = 0x7c007c00, carry = 0x04000400, one = 0x3c00, many = 0x5800, most = 0x7400;
};
template <class T> __device__ __forceinline__ uint32_t att_infinite(uint32_t two) {
  return ((two & att_bits<T>::mask) + att_bits<T>::carry) & 0x80008000u;
}

// s[tile of 16 rows][8 columns each][4] = q k^T for the M tiles of rows from row0 of q and the 64 positions of k. Keys that are loaded serve
// all M tiles.
template <class T, class L, int M>
__device__ __forceinline__ void att_scores(float s[M][8][4], const shared_array<T> &q, int row0, const shared_array<T> &k, int lane) {
#pragma unroll
  for (int m = 0; m < M; m++)
#pragma unroll
    for (int n = 0; n < 8; n++) s[m][n][0] = s[m][n][1] = s[m][n][2] = s[m][n][3] = 0;
#pragma unroll
  for (int d = 0; d < L::dims / 16; d++) {
    uint32_t x[M][4];
#pragma unroll
    for (int m = 0; m < M; m++) load_matrix_x4(x[m], q, L::at(row0 + m * 16 + lane % 16, 2 * d + lane / 16));
#pragma unroll
    for (int n = 0; n < 4; n++) {
      uint32_t y[4];
      load_matrix_x4(y, k, L::at(n * 16 + lane / 16 * 8 + lane % 8, 2 * d + lane / 8 % 2));
#pragma unroll
      for (int m = 0; m < M; m++) {
        mma_16x8x16<T>(s[m][2 * n], x[m], y);
        mma_16x8x16<T>(s[m][2 * n + 1], x[m], y + 2);
      }
    }
  }
}

// The positions of a block that a row sees: [from, to), counted from the block's first.
struct att_sight {
  int from[2], to[2];
};
__device__ __forceinline__ bool att_sees(const att_sight &v, int h, int at) { return at >= v.from[h] && at < v.to[h]; }

// What a row does not see gets no weight.
__device__ __forceinline__ void att_hide(float s[8][4], const att_sight &v, int lane) {
#pragma unroll
  for (int n = 0; n < 8; n++)
#pragma unroll
    for (int e = 0; e < 4; e++)
      if (!att_sees(v, e / 2, n * 8 + lane % 4 * 2 + e % 2)) s[n][e] = -INFINITY;
}

// Scores become weights. max: of the row, in the chunk so far; sum: of this lane's columns alone. keep: what earlier sums are to be taken times.
__device__ __forceinline__ void att_soften(float s[8][4], float max[2], float sum[2], float keep[2], float scale) {
#pragma unroll
  for (int h = 0; h < 2; h++) {
    float m = max[h];
#pragma unroll
    for (int n = 0; n < 8; n++) m = fmaxf(m, fmaxf(s[n][2 * h], s[n][2 * h + 1]));
    m = fmaxf(m, shfl_xor(m, 1));
    m = fmaxf(m, shfl_xor(m, 2));
    float base = m == -INFINITY ? 0 : m, scaled = base * scale, pair[8];
    keep[h] = exp2_fast((max[h] - base) * scale); // exactly 1 where the greatest is the same
    max[h] = m;
#pragma unroll
    for (int n = 0; n < 8; n++) {
      s[n][2 * h] = exp2_fast(fmaf(s[n][2 * h], scale, -scaled));
      s[n][2 * h + 1] = exp2_fast(fmaf(s[n][2 * h + 1], scale, -scaled));
      pair[n] = s[n][2 * h] + s[n][2 * h + 1];
    }
    sum[h] = fmaf(sum[h], keep[h], ((pair[0] + pair[1]) + (pair[2] + pair[3])) + ((pair[4] + pair[5]) + (pair[6] + pair[7])));
  }
}

// The sum of a row's weights: of the four lanes that have its columns.
__device__ __forceinline__ float att_row_sum(float sum) {
  sum += shfl_xor(sum, 1);
  return sum + shfl_xor(sum, 2);
}

// Weights as the left side of mma: for each 16 positions.
template <class T> __device__ __forceinline__ void att_pack(uint32_t p[4][4], const float s[8][4]) {
#pragma unroll
  for (int k = 0; k < 4; k++)
#pragma unroll
    for (int e = 0; e < 4; e++) p[k][e] = pack2<T>(s[2 * k + e / 2][e % 2 * 2], s[2 * k + e / 2][e % 2 * 2 + 1]);
}

template <class T, class L>
__device__ __forceinline__ void att_load_values(uint32_t y[4], const shared_array<T> &v, int k, int d, int lane) {
  load_matrix_x4_trans(y, v, L::at(k * 16 + lane % 16, 2 * d + lane / 16));
}

template <int N> __device__ __forceinline__ void att_rescale(float o[N][4], const float keep[2]) {
#pragma unroll
  for (int n = 0; n < N; n++)
#pragma unroll
    for (int e = 0; e < 4; e++) o[n][e] *= keep[e / 2];
}

// o += weights times values, for M tiles of rows and the N times 8 dims from 16 * d0 on.
template <class T, class L, int M, int N>
__device__ __forceinline__ void att_values(float o[M][N][4], const uint32_t p[M][4][4], const shared_array<T> &v, int d0, int lane) {
#pragma unroll
  for (int k = 0; k < 4; k++)
#pragma unroll
    for (int d = 0; d < N / 2; d++) {
      uint32_t y[4];
      att_load_values<T, L>(y, v, k, d0 + d, lane);
#pragma unroll
      for (int m = 0; m < M; m++) {
        mma_16x8x16<T>(o[m][2 * d], p[m][k], y);
        mma_16x8x16<T>(o[m][2 * d + 1], p[m][k], y + 2);
      }
    }
}

// Two values: the finite as they are, others 0; code: others by what they are, +inf 1, -inf 128, NaN 16384; any: others 1. Sums over 64
// positions of a code are exact, and tell how often each was there.
template <class T> __device__ __forceinline__ uint32_t att_finite(uint32_t two, uint32_t &code, uint32_t &any) {
  uint32_t keep = 0;
  code = any = 0;
#pragma unroll
  for (int i = 0; i < 32; i += 16) {
    uint32_t v = two >> i & 0xffff, top = att_bits<T>::mask & 0xffff;
    if ((v & top) != top) {
      keep |= v << i;
      continue;
    }
    any |= att_bits<T>::one << i;
    code |= ((v & 0x7fff) != top ? att_bits<T>::most : v >> 15 ? att_bits<T>::many : att_bits<T>::one) << i;
  }
  return keep;
}

// Which of two weights are not zero (1 or 0 each), and which are zero of positions that are seen.
template <class T> __device__ __forceinline__ void att_some(uint32_t two, bool sees0, bool sees1, uint32_t &some, uint32_t &none) {
  const uint32_t one = att_bits<T>::one;
  bool a = (two & 0x7fff) != 0, b = (two >> 16 & 0x7fff) != 0;
  some = (a ? one : 0) | (b ? one << 16 : 0);
  none = (!a && sees0 ? one : 0) | (!b && sees1 ? one << 16 : 0);
}

// What arithmetic makes of infinities and NaN that were counted.
__device__ __forceinline__ float att_marks(float counts, float zeros) {
  int n = (int)counts;
  if (zeros != 0 || n >> 14) return NAN;
  return (n & 127 ? INFINITY : 0.0f) + (n >> 7 & 127 ? -INFINITY : 0.0f);
}

// The same as att_values where values are infinite or NaN and not all rows see them: these count only for rows that do.
template <class T, class L, int N>
__device__ __attribute__((noinline)) void att_values_apart_call(float o[N][4], const uint32_t p[4][4], shared_array<T> v, int d0, att_sight sight,
                                                                int lane) {
#pragma unroll
  for (int d = 0; d < N / 2; d++) {
    float counts[2][4] = {}, zeros[2][4] = {};
#pragma unroll
    for (int k = 0; k < 4; k++) {
      uint32_t y[4], code[4], any[4], some[4], none[4];
      att_load_values<T, L>(y, v, k, d0 + d, lane);
#pragma unroll
      for (int e = 0; e < 4; e++) {
        int at = k * 16 + e / 2 * 8 + lane % 4 * 2;
        y[e] = att_finite<T>(y[e], code[e], any[e]);
        att_some<T>(p[k][e], att_sees(sight, e % 2, at), att_sees(sight, e % 2, at + 1), some[e], none[e]);
      }
#pragma unroll
      for (int i = 0; i < 2; i++) {
        mma_16x8x16<T>(o[2 * d + i], p[k], y + 2 * i);
        mma_16x8x16<T>(counts[i], some, code + 2 * i);
        mma_16x8x16<T>(zeros[i], none, any + 2 * i);
      }
    }
#pragma unroll
    for (int i = 0; i < 2; i++)
#pragma unroll
      for (int e = 0; e < 4; e++) {
        float mark = att_marks(counts[i][e], zeros[i][e]);
        if (mark != 0) o[2 * d + i][e] += mark; // NaN is not 0
      }
  }
}

// A call, on copies: what is rare shall not take registers from what is not.
template <class T, class L, int N>
__device__ __forceinline__ void att_values_apart(float o[N][4], const uint32_t p[4][4], const shared_array<T> &v, int d0, const att_sight &sight,
                                                 int lane) {
  float sums[N][4];
  uint32_t weights[4][4];
#pragma unroll
  for (int i = 0; i < N * 4; i++) sums[i / 4][i % 4] = o[i / 4][i % 4];
#pragma unroll
  for (int i = 0; i < 16; i++) weights[i / 4][i % 4] = p[i / 4][i % 4];
  att_values_apart_call<T, L, N>(sums, weights, v, d0, sight, lane);
#pragma unroll
  for (int i = 0; i < N * 4; i++) o[i / 4][i % 4] = sums[i / 4][i % 4];
}

// Begins to copy 64 rows that begin at `from` plus their places (att_place). What nobody sees is 0: it may never have been written.
template <class T, class L, int THREADS>
__device__ __forceinline__ void att_fetch(const shared_array<T> &to, const uint8_t *from, const shared_array<int64_t> &place, int p0) {
  constexpr int all = att_block * L::pieces;
#pragma unroll
  for (int i = 0; i < (all + THREADS - 1) / THREADS; i++) {
    int n = i * THREADS + (int)threadIdx.x;
    if (all % THREADS && n >= all) break;
    int64_t at = place.get(p0 + n / L::pieces);
    copy_async16(to, L::at(n / L::pieces, n % L::pieces), from + (at < 0 ? 0 : at + n % L::pieces * 16), at >= 0);
  }
}

// Whether what this thread copied of a block of values, and has waited for, has an infinity or NaN.
template <class T, class L, int THREADS> __device__ __forceinline__ bool att_fetched_infinite(const shared_array<T> &v) {
  constexpr int all = att_block * L::pieces;
  uint32_t found = 0;
#pragma unroll
  for (int i = 0; i < (all + THREADS - 1) / THREADS; i++) {
    int n = i * THREADS + (int)threadIdx.x;
    if (all % THREADS && n >= all) break;
    uint4 w = v.template get_as<uint4>(L::at(n / L::pieces, n % L::pieces));
    found |= att_infinite<T>(w.x) | att_infinite<T>(w.y) | att_infinite<T>(w.z) | att_infinite<T>(w.w);
  }
  return found != 0;
}

__device__ __forceinline__ bool att_any(bool v) { // of a warp
  int n = v;
#pragma unroll
  for (int m = 16; m > 0; m >>= 1) n |= shfl_xor(n, m);
  return n != 0;
}

// 16 bytes of a row of q to their place; zeros where there is no row (from is NULL). Waited for with the other copies. base: anything that
// may be read; aligned: rows of q are, to 16 bytes.
template <class T, class L>
__device__ __forceinline__ void att_fetch_q(const shared_array<T> &to, int row, int piece, const T *from, const void *base, bool aligned) {
  int at = L::at(row, piece);
  if (aligned || !from) {
    copy_async16(to, at, from ? (const void *)(from + piece * 8) : base, from != nullptr);
    return;
  }
#pragma unroll
  for (int i = 0; i < 8; i++) to.put(at + i, from[piece * 8 + i]);
}
__device__ __forceinline__ bool att_aligned(const cu_mat &m) { return ((uintptr_t)m.p | (uint64_t)m.stride * 2) % 16 == 0; }

// A row's results: the N pairs of columns from col on, 8 columns apart.
template <class O, int N> __device__ __forceinline__ void att_put_row_as(const cu_mat &m, int64_t row, int64_t col, const float v[N][2]) {
#pragma unroll
  for (int n = 0; n < N; n++) att_put2_as<O>(m, row, col + n * 8, v[n][0], v[n][1]);
}
template <int N> __device__ __forceinline__ void att_put_row(const cu_mat &m, int64_t row, int64_t col, const float v[N][2]) {
  if (m.dtype == SX_F32)
    att_put_row_as<float, N>(m, row, col, v);
  else if (m.dtype == SX_BF16)
    att_put_row_as<bf16, N>(m, row, col, v);
  else
    att_put_row_as<f16, N>(m, row, col, v);
}

#endif
