// few.cuh: out = x w^T + bias for up to CU_FEW rows of x of 16 bits: the weights are read once, as fast as memory gives them, straight into the
// registers of tensor cores. few.cu has the table, few16.cu, few8.cu and few4.cu the kernels by the bits of a weight.
//
// Order of sums. K is cut into cu_lanes lanes of lane_width(K) inputs. A lane's sum begins at 0 and takes its inputs in steps of 4 V, each of
// V / 4 products m16n8k16 in order (for I4 a step has a sum of its own, which is added times the scale of its group); the lanes' sums are
// added in order; then the scale of I8 and F8 and the bias, in one fmaf. Nothing of it depends on M, on N or on the shape of a tile.
//
// A block: 8 warps, each with one lane of K for the same 16 R outputs and 8 NT rows of x. w is the operand A (16 outputs x 16 inputs), x is B
// (16 inputs x 8 rows). A sum may take its inputs in any order, so thread t of a quad has inputs [V t, V t + V) of a step: 16 bytes of a row of
// w as they lie (V = 8 values of 16 bits, 16 of 8, 32 codes of 4), pair i of them being pair i of its slots of A; and the same inputs of a row
// of x, as they lie, too. So neither w nor x passes through shared memory: within a block a value of either is one warp's alone. Shared memory
// takes the sums of the lanes: 8 lanes x 8 NT rows x (16 R + 4) f32, 4 more so that a warp's 32 writes go to 32 banks.
//
// In flight: a warp asks for U steps (2 R U x 512 bytes) before it uses the first. At one row R = 1, U = 4: 4 KiB a warp, 64 KiB an SM with
// two blocks.
#ifndef SEXTANT_FEW_CUH
#define SEXTANT_FEW_CUH
#include "codes.cuh"
#include "lanes.cuh"

struct few_args {
  cu_mat out, x;
  cu_weight w;
  const float *bias; // NULL: none
  int64_t width;     // of a lane
  int32_t groups, shift; // I4: groups in a row; log2 of a group's inputs, or -1
};

// What a thread loads of a row in a step, and how it becomes V values of T in pairs.
template <class T> struct few_16 {
  typedef uint4 raw;
  static constexpr int inputs = 8, bits = 16;
  static __device__ __forceinline__ void pairs(const raw &v, uint32_t, uint32_t h[4]) { h[0] = v.x, h[1] = v.y, h[2] = v.z, h[3] = v.w; }
};
template <class T> struct few_i8 {
  typedef uint4 raw;
  static constexpr int inputs = 16, bits = 8;
  static __device__ __forceinline__ void pairs(const raw &v, uint32_t, uint32_t h[8]) {
#pragma unroll
    for (int i = 0; i < 4; i++) pairs_of_i8<T>(word(v, i), h + 2 * i);
  }
};
template <class T> struct few_f8 {
  typedef uint4 raw;
  static constexpr int inputs = 16, bits = 8;
  static __device__ __forceinline__ void pairs(const raw &v, uint32_t, uint32_t h[8]) {
#pragma unroll
    for (int i = 0; i < 4; i++) pairs_of_f8<T>(word(v, i), h + 2 * i);
  }
};
// A step is within one group: V = uint4 for groups of a multiple of 128 inputs, uint2 of 64, uint32_t of 32.
template <class T, class V> struct few_i4 {
  typedef V raw;
  static constexpr int inputs = 2 * sizeof(V), bits = 4;
  static __device__ __forceinline__ void pairs(const raw &v, uint32_t base, uint32_t *h) {
#pragma unroll
    for (int i = 0; i < (int)sizeof(V) / 4; i++) pairs_of_i4<T>(word(v, i), base, h + 4 * i);
  }
};
template <class W> struct few_is_f8 { static constexpr bool value = false; };
template <class T> struct few_is_f8<few_f8<T>> { static constexpr bool value = true; };

// A group's scale and its zero as integer + fraction: the integer is taken off the codes, which leaves them exact, the fraction off the sum.
struct few_group {
  float scale, fraction;
  uint32_t base;
};
template <class T> __device__ __forceinline__ few_group few_group_of(float scale, float zero) {
  float whole = fminf(fmaxf(rintf(zero), -128.0f), 128.0f);
  return few_group{scale, zero - whole, (uint32_t)from_f32<T>(code_base<T>() + whole).bits * 0x10001u};
}

// An output of I4 by its definition: where a fraction's share of the sum is not finite, taking it off has no meaning.
template <class T> __device__ float few_by_definition(const few_args &a, int64_t m, int64_t n) {
  float sum = 0;
  for (int64_t k = 0; k < a.w.cols; k++) sum = fmaf(to_f32(row_of<T>(a.x, m)[k]), weight_at(a.w, n, k), sum);
  return sum;
}

// One step of 4 V inputs for 8 rows of x (tile j) and all outputs of the warp. sum[r]: its 16 x 8 outputs.
template <class T, class W, int R>
__device__ __forceinline__ void few_multiply(float sum[R][4], const uint32_t h[R][2][W::inputs / 2], const uint32_t x[W::inputs / 2]) {
#pragma unroll
  for (int i = 0; i < W::inputs / 4; i++) {
    const uint32_t b[2] = {x[2 * i], x[2 * i + 1]};
#pragma unroll
    for (int r = 0; r < R; r++) {
      const uint32_t q[4] = {h[r][0][2 * i], h[r][1][2 * i], h[r][0][2 * i + 1], h[r][1][2 * i + 1]};
      mma_16x8x16<T>(sum[r], q, b);
    }
  }
}

// The sums of x itself over the step, for its 8 rows: as a product with ones, they lie where the sums do.
template <class T, int V> __device__ __forceinline__ void few_sum_x(float sum[4], const uint32_t x[V / 2]) {
  const uint32_t one = (uint32_t)from_f32<T>(1.0f).bits * 0x10001u, ones[4] = {one, one, one, one};
  sum[0] = sum[1] = sum[2] = sum[3] = 0;
#pragma unroll
  for (int i = 0; i < V / 4; i++) {
    const uint32_t b[2] = {x[2 * i], x[2 * i + 1]};
    mma_16x8x16<T>(sum, ones, b);
  }
}

// Adds the lanes' sums, and stores.
template <class T, class W, int NT, int R> __device__ __forceinline__ void few_finish(const few_args &a, const float (&acc)[NT][R][4]) {
  constexpr int pitch = 16 * R + 4, lane_floats = 8 * NT * pitch;
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32, g = lane / 4, t = lane % 4;
  shared_array<float> sums(0, cu_lanes * lane_floats);
#pragma unroll
  for (int j = 0; j < NT; j++)
#pragma unroll
    for (int r = 0; r < R; r++)
#pragma unroll
      for (int e = 0; e < 4; e++) sums.put(warp * lane_floats + (8 * j + 2 * t + e % 2) * pitch + 16 * r + g + e / 2 * 8, acc[j][r][e]);
  __syncthreads();
  const int64_t n0 = (int64_t)blockIdx.x * 16 * R;
  for (int i = threadIdx.x; i < (int)a.x.rows * 16 * R; i += 32 * cu_lanes) {
    const int m = i / (16 * R), o = i % (16 * R);
    const int64_t n = n0 + o;
    if (n >= a.w.rows) continue;
    float v = 0;
#pragma unroll
    for (int s = 0; s < cu_lanes; s++) v += sums.get(s * lane_floats + m * pitch + o);
    if (W::bits == 4 && !(fabsf(v) <= FLT_MAX)) v = few_by_definition<T>(a, m, n);
    const float scale = W::bits == 8 ? a.w.scales[n] : 1.0f;
    store_f32(a.out, m, n, fmaf(v, scale, a.bias ? a.bias[n] : 0.0f));
  }
}

// What a warp asks memory for before it uses any: U steps of its rows of w, for I4 with their scales and zeros.
template <class W, int R, int U> struct few_fetched {
  typename W::raw raw[U][R][2];
  float scale[U][R][2], zero[U][R][2];
};
// Row e of pair r is the row of A that a thread has at g or g + 8 of the 16. at: the thread's first input; beyond the lane all is 0.
template <class W, int R, int U>
__device__ __forceinline__ void few_fetch(few_fetched<W, R, U> &f, int u, const few_args &a, const int64_t row[R][2], int64_t at, bool in) {
  const int32_t of = W::bits != 4 ? 0 : a.shift >= 0 ? (int32_t)at >> a.shift : (int32_t)at / a.w.group;
#pragma unroll
  for (int r = 0; r < R; r++)
#pragma unroll
    for (int e = 0; e < 2; e++) {
      const uint8_t *from = (const uint8_t *)a.w.data + (row[r][e] * a.w.cols + at) * W::bits / 8;
      f.raw[u][r][e] = in ? load_once((const typename W::raw *)from) : no_bits<typename W::raw>();
      if (W::bits != 4) continue;
      f.scale[u][r][e] = in ? a.w.scales[row[r][e] * a.groups + of] : 0.0f;
      f.zero[u][r][e] = in ? a.w.zeros[row[r][e] * a.groups + of] : 0.0f;
    }
}

// A step's fragments of A.
template <class T, class W, int R> struct few_step {
  uint32_t h[R][2][W::inputs / 2];
  few_group group[R][2]; // of I4
  bool fractions;        // some zero of the warp's is no integer
};
template <class T, class W, int R, int U>
__device__ __forceinline__ void few_unpack(few_step<T, W, R> &s, const few_fetched<W, R, U> &f, int u, uint32_t bad[R][2]) {
  s.fractions = false;
#pragma unroll
  for (int r = 0; r < R; r++)
#pragma unroll
    for (int e = 0; e < 2; e++) {
      s.group[r][e] = few_group{0, 0, 0};
      if (W::bits == 4) {
        s.group[r][e] = few_group_of<T>(f.scale[u][r][e], f.zero[u][r][e]);
        s.fractions |= s.group[r][e].fraction != 0;
      }
      if (few_is_f8<W>::value)
#pragma unroll
        for (int i = 0; i < 4; i++) bad[r][e] |= nan_of_f8(word(f.raw[u][r][e], i));
      W::pairs(f.raw[u][r][e], s.group[r][e].base, s.h[r][e]);
    }
  if (W::bits == 4) s.fractions = warp_any(s.fractions);
}

// The V inputs of a row of x at x.
template <class T, int V> __device__ __forceinline__ void few_fetch_x(uint32_t xs[V / 2], const T *x, bool in) {
#pragma unroll
  for (int i = 0; i < V / 8; i++) {
    const uint4 v = in ? *(const uint4 *)(x + 8 * i) : no_bits<uint4>();
    xs[4 * i] = v.x, xs[4 * i + 1] = v.y, xs[4 * i + 2] = v.z, xs[4 * i + 3] = v.w;
  }
}

// The products of a step with 8 rows of x.
template <class T, class W, int R> __device__ __forceinline__ void few_tile(float acc[R][4], const few_step<T, W, R> &s, uint32_t xs[W::inputs / 2]) {
  constexpr int V = W::inputs;
#pragma unroll
  for (int i = 0; W::bits == 4 && i < V / 8; i++) order_of_i4(xs + 4 * i);
  if (W::bits != 4) {
    few_multiply<T, W, R>(acc, s.h, xs);
    return;
  }
  float part[R][4] = {}, sum_x[4];
  few_multiply<T, W, R>(part, s.h, xs);
  if (s.fractions) few_sum_x<T, V>(sum_x, xs);
#pragma unroll
  for (int r = 0; r < R; r++)
#pragma unroll
    for (int e = 0; e < 4; e++) {
      const few_group &of = s.group[r][e / 2];
      if (s.fractions && of.fraction != 0) part[r][e] = fmaf(-of.fraction, sum_x[e], part[r][e]);
      acc[r][e] = fmaf(of.scale, part[r][e], acc[r][e]);
    }
}

// A NaN of F8 in a row of w spoils all its outputs: bad has the thread's share of each row.
template <int NT, int R> __device__ __forceinline__ void few_spoil(float (&acc)[NT][R][4], const uint32_t bad[R][2]) {
#pragma unroll
  for (int r = 0; r < R; r++)
#pragma unroll
    for (int e = 0; e < 2; e++) {
      int any = (int)bad[r][e];
      any |= shfl_xor(any, 1);
      any |= shfl_xor(any, 2);
#pragma unroll
      for (int j = 0; j < NT; j++)
        if (any) acc[j][r][2 * e] = acc[j][r][2 * e + 1] = bits_to_f32(0x7fc00000);
    }
}

template <class W> struct few_ahead { static constexpr int value = 32 / W::inputs; }; // tiles of x that are asked for before they are used
template <class W, int NT> struct few_blocks { static constexpr int value = NT < (W::bits == 4 ? 4 : 8) ? 2 : 1; }; // on an SM at once, at least

template <class T, class W, int NT, int R, int U>
__global__ void __launch_bounds__(32 * cu_lanes, few_blocks<W, NT>::value) few_kernel(const few_args a) {
  constexpr int V = W::inputs, step = 4 * V, ahead = U * NT < few_ahead<W>::value ? U * NT : few_ahead<W>::value;
  const int lane = threadIdx.x % 32, g = lane / 4, t = lane % 4;
  const int64_t k0 = threadIdx.x / 32 * a.width, end = k0 + a.width < a.w.cols ? k0 + a.width : a.w.cols;
  int64_t row[R][2];
#pragma unroll
  for (int i = 0; i < 2 * R; i++) {
    const int64_t n = (int64_t)blockIdx.x * 16 * R + 8 * i + g;
    row[i / 2][i % 2] = n < a.w.rows ? n : a.w.rows - 1; // what is beyond is not stored
  }
  const T *x = row_of<T>(a.x, g);
  float acc[NT][R][4] = {};
  uint32_t bad[R][2] = {};
  for (int64_t k = k0; k < end; k += U * step) {
    few_fetched<W, R, U> f;
#pragma unroll
    for (int u = 0; u < U; u++) few_fetch<W, R, U>(f, u, a, row, k + u * step + t * V, k + u * step + t * V < end);
    uint32_t xs[ahead + 1][V / 2]; // tile i, of U NT, at i mod (ahead + 1)
    auto fetch_x = [&](int i) {
      const int64_t at = k + i / NT * step + t * V;
      few_fetch_x<T, V>(xs[i % (ahead + 1)], x + 8 * (i % NT) * a.x.stride + at, at < end && 8 * (i % NT) + g < a.x.rows);
    };
#pragma unroll
    for (int i = 0; i < ahead; i++) fetch_x(i);
#pragma unroll
    for (int u = 0; u < U; u++) {
      if (k + u * step >= end) break;
      few_step<T, W, R> s;
      few_unpack<T, W, R, U>(s, f, u, bad);
#pragma unroll
      for (int j = 0; j < NT; j++) {
        const int i = u * NT + j;
        if (i + ahead < U * NT) fetch_x(i + ahead);
        few_tile<T, W, R>(acc[j], s, xs[i % (ahead + 1)]);
      }
    }
  }
  if (few_is_f8<W>::value) few_spoil<NT, R>(acc, bad);
  few_finish<T, W, NT, R>(a, acc);
}

template <class T, class W, int NT, int R, int U> static sx_status few_launch(cu_ctx *c, const few_args &a) {
  const int64_t blocks = (a.w.rows + 16 * R - 1) / (16 * R);
  if (blocks > INT32_MAX) return cu_fail(c, SX_UNSUPPORTED, "a matrix of %lld rows is too tall", (long long)a.w.rows);
  return SX_LAUNCH(c, (few_kernel<T, W, NT, R, U>), dim3((unsigned)blocks), dim3(32 * cu_lanes), cu_lanes * 8 * NT * (16 * R + 4) * 4, a);
}

// The smallest tile that holds the rows. With more rows than 16 a warp takes 32 outputs, so that x is read half as often.
template <class T, class W> static sx_status few_by_rows(cu_ctx *c, const few_args &a) {
  constexpr int deep = W::bits == 4 && sizeof(typename W::raw) == 4 ? 2 : 1; // short loads, more of them
  if (a.x.rows <= 8) return few_launch<T, W, 1, 1, 4 * deep>(c, a);
  if (a.x.rows <= 16) return few_launch<T, W, 2, 1, (W::bits == 4 ? 2 : 4) * deep>(c, a);
  if (a.x.rows <= 32) return few_launch<T, W, 4, 2, W::bits == 16 ? 2 : 1>(c, a);
  return few_launch<T, W, 8, 2, W::bits == 16 ? 2 : 1>(c, a);
}

sx_status few_of_16(cu_ctx *c, const few_args *a); // w in x's format
sx_status few_of_8(cu_ctx *c, const few_args *a);
sx_status few_of_4(cu_ctx *c, const few_args *a);

#endif
