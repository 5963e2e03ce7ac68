// gemm.cu: out = x w^T + bias for more than a few rows on tensor cores, x and w of one format of 16 bits: what runs where cuBLASLt is not, or
// does not take the case.
//
// A block: 4 warps, a tile of 128 rows of x by 128 outputs, each warp 64 x 64 of it (4 x 8 products m16n8k16 for 16 inputs: 128 sums a
// thread). K goes by 32 inputs a stage, 4 stages in shared memory by cp.async (Ampere's way: three on their way while one is used). A stage is 128
// rows of x and 128 of w, 64 bytes each: 16 KiB; 64 KiB in all, two blocks an SM from 164 KiB on. The 16-byte pieces c of row r lie at
// c ^ (r / 2 % 4), so that the eight rows of ldmatrix are in different banks, and so are cp.async's writes.
// Tiles go in columns of 8 x all, so that the blocks at work together share x and w in the second cache.
//
// Order of sums: 16 inputs after 16, from 0; K is not cut. Beyond K both are zero.
#include "lanes.cuh"
#include "matmul.cuh"

enum { tile = 128, depth = 32, stages = 4, stage_values = 2 * tile * depth };

struct gemm_args {
  cu_mat out, x;
  cu_weight w;
  const float *bias;
  int64_t tiles_m, tiles_n;
};

// Element of the stage where 8 values (piece c) of row r are; rows of w follow those of x.
__device__ __forceinline__ int piece(int r, int c) { return r * depth + 8 * (c ^ (r / 2 & 3)); }

template <class T>
__device__ __forceinline__ void fetch(const shared_array<T> &s, int stage, const gemm_args &a, int64_t m0, int64_t n0, int64_t k0) {
#pragma unroll
  for (int i = 0; i < 2 * tile * depth / 8 / 128; i++) {
    const int at = i * 128 + threadIdx.x, r = at / 4, c = at % 4;
    const bool of_x = r < tile;
    const int64_t k = k0 + 8 * c, row = of_x ? m0 + r : n0 + r - tile;
    const bool in = k < a.w.cols && row < (of_x ? a.x.rows : a.w.rows);
    const T *from = of_x ? (const T *)a.x.p + row * a.x.stride + k : (const T *)a.w.data + row * a.w.cols + k;
    copy_async16(s, stage * stage_values + piece(r, c), in ? from : (const T *)a.w.data, in);
  }
}

// The sums of 32 inputs of a stage.
template <class T> __device__ __forceinline__ void multiply(float acc[4][8][4], const shared_array<T> &s, int stage, int wm, int wn) {
  const int lane = threadIdx.x % 32, base = stage * stage_values;
#pragma unroll
  for (int half = 0; half < depth / 16; half++) {
    uint32_t x[4][4], w[4][4];
#pragma unroll
    for (int i = 0; i < 4; i++) // 16 rows x 16 inputs: matrices (rows 0-7, inputs 0-7), (8-15, 0-7), (0-7, 8-15), (8-15, 8-15)
      load_matrix_x4(x[i], s, base + piece(wm + 16 * i + lane % 16, 2 * half + lane / 16));
#pragma unroll
    for (int j = 0; j < 4; j++) // 16 outputs x 16 inputs: (0-7, 0-7), (0-7, 8-15), (8-15, 0-7), (8-15, 8-15)
      load_matrix_x4(w[j], s, base + piece(tile + wn + 16 * j + lane % 8 + lane / 16 * 8, 2 * half + lane / 8 % 2));
#pragma unroll
    for (int i = 0; i < 4; i++)
#pragma unroll
      for (int j = 0; j < 8; j++) mma_16x8x16<T>(acc[i][j], x[i], w[j / 2] + 2 * (j % 2));
  }
}

template <class T> __global__ void __launch_bounds__(128, 2) gemm_kernel(const gemm_args a) {
  shared_array<T> s(0, stages * stage_values);
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32, wm = warp / 2 * 64, wn = warp % 2 * 64;
  // Block b of a column of 8 tiles of outputs (the last may have fewer).
  const int64_t b = blockIdx.x, column = b / (8 * a.tiles_m), left = a.tiles_n - 8 * column, wide = left < 8 ? left : 8;
  const int64_t in = b - 8 * column * a.tiles_m;
  const int64_t m0 = in / wide * tile, n0 = (8 * column + in % wide) * tile, steps = (a.w.cols + depth - 1) / depth;
  float acc[4][8][4] = {};

#pragma unroll
  for (int i = 0; i < stages - 1; i++) {
    if (i < steps) fetch<T>(s, i, a, m0, n0, (int64_t)i * depth);
    copy_commit();
  }
  for (int64_t step = 0; step < steps; step++) {
    copy_wait<stages - 2>();
    __syncthreads(); // the stage is there for all, and none reads the one that is filled next
    const int64_t next = step + stages - 1;
    if (next < steps) fetch<T>(s, (int)(next % stages), a, m0, n0, next * depth);
    copy_commit();
    multiply<T>(acc, s, (int)(step % stages), wm, wn);
  }
  copy_wait<0>();

#pragma unroll
  for (int i = 0; i < 4; i++)
#pragma unroll
    for (int j = 0; j < 8; j++)
#pragma unroll
      for (int e = 0; e < 2; e++) {
        const int64_t m = m0 + wm + 16 * i + lane / 4 + 8 * e, n = n0 + wn + 8 * j + lane % 4 * 2;
        if (m < a.x.rows) store_pair(a.out, m, n, acc[i][j][2 * e], acc[i][j][2 * e + 1], a.bias);
      }
}

template <class T> static sx_status launch(cu_ctx *c, const gemm_args &a) {
  const int64_t blocks = a.tiles_m * a.tiles_n;
  if (blocks > INT32_MAX) return cu_fail(c, SX_UNSUPPORTED, "a product of %lld x %lld is too large", (long long)a.x.rows, (long long)a.w.rows);
  return SX_LAUNCH(c, gemm_kernel<T>, dim3((unsigned)blocks), dim3(128), stages * stage_values * 2, a);
}

sx_status gemm(cu_ctx *c, cu_mat out, cu_mat x, const cu_weight *w, const float *d_bias) {
  const gemm_args a = {out, x, *w, d_bias, (x.rows + tile - 1) / tile, (w->rows + tile - 1) / tile};
  return x.dtype == SX_BF16 ? launch<bf16>(c, a) : launch<f16>(c, a);
}
