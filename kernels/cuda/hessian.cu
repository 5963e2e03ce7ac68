// hessian.cu: h += x^T x over the rows of x (GPTQ, arXiv 2210.17323). Blocks have tiles of h on and above the diagonal and write both triangles.
// Sums over 128 rows are made in one set of f32 registers and then added to a second, so that neither many small terms nor the truncation of
// matrix units add up over thousands of rows.
//
// x of 16 bits: tiles of 128 x 128, 8 warps of 64 x 32 as 4 x 4 products of 16 x 8 x 16 (mma.sync). x lies row by row, which is transposed for
// both operands: ldmatrix.trans gives fragments of either. Rows come 32 at a time through three buffers (cp.async), each 32 x 136 values
// for the tile's rows and as many for its columns; the pitch of 272 bytes puts the 8 rows that ldmatrix reads at once into different banks.
// 3 x 17408 bytes of shared memory. All else: tiles of 64 x 64, 16 of each per thread, products of f32.
#include "eight.cuh"

namespace {

enum { tile = 128, depth = 32, pitch = tile + 8, stages = 3, together = 128, stage_values = 2 * depth * pitch };

// h[a, b] += v, and h[b, a] where it is another tile's.
__device__ __forceinline__ void add_to(const cu_mat &h, int64_t a, int64_t b, float v, bool both) {
  if (a >= h.rows || b >= h.rows) return;
  float *p = (float *)h.p;
  p[a * h.stride + b] += v;
  if (both) p[b * h.stride + a] += v;
}

// Rows [first, first + depth) of the two strips to buffer `stage`: 2 x 32 x 16 vectors, four a thread; zeros beyond x.
template <class T> __device__ __forceinline__ void fetch(const cu_mat &x, int stage, int64_t first, int64_t a0, int64_t b0) {
  shared_array<T> s(stage * stage_values * 2, stage_values);
#pragma unroll
  for (int i = 0; i < 4; i++) {
    int at = i * 256 + (int)threadIdx.x, strip = at / 512, row = at / 16 % depth, col = at % 16 * 8;
    int64_t from = (strip ? b0 : a0) + col;
    bool there = first + row < x.rows && from < x.cols;
    copy_async16(s, (strip * depth + row) * pitch + col, there ? row_of<T>(x, first + row) + from : (const T *)x.p, there);
  }
  copy_commit();
}

// The products of one buffer, 16 rows at a time.
template <class T> __device__ __forceinline__ void multiply(int stage, int wa, int wb, float acc[4][4][4]) {
  shared_array<T> s(stage * stage_values * 2, stage_values);
  int lane = threadIdx.x & 31;
#pragma unroll
  for (int k = 0; k < depth; k += 16) {
    uint32_t a[4][4], b[2][4];
    // Of the four 8 x 8 matrices, a's come as (columns 0, rows 0), (columns 8, rows 0), (0, 8), (8, 8) of the 16 x 16 of x; b's as (rows 0,
    // columns 0), (rows 8, columns 0), (0, 8), (8, 8): two fragments.
    int row_a = k + lane % 8 + lane / 16 * 8, col_a = lane / 8 % 2 * 8, row_b = k + lane % 8 + lane / 8 % 2 * 8, col_b = lane / 16 * 8;
#pragma unroll
    for (int i = 0; i < 4; i++) load_matrix_x4_trans(a[i], s, row_a * pitch + wa + i * 16 + col_a);
#pragma unroll
    for (int j = 0; j < 2; j++) load_matrix_x4_trans(b[j], s, (depth + row_b) * pitch + wb + j * 16 + col_b);
#pragma unroll
    for (int i = 0; i < 4; i++)
#pragma unroll
      for (int j = 0; j < 4; j++) mma_16x8x16<T>(acc[i][j], a[i], b[j / 2] + j % 2 * 2);
  }
}

template <class T> __global__ void __launch_bounds__(256) mma_kernel(cu_mat h, cu_mat x) {
  if (blockIdx.y < blockIdx.x) return;
  int64_t a0 = (int64_t)blockIdx.x * tile, b0 = (int64_t)blockIdx.y * tile;
  int warp = threadIdx.x / 32, lane = threadIdx.x & 31, wa = warp % 2 * 64, wb = warp / 2 * 32;
  float sum[4][4][4], acc[4][4][4];
#pragma unroll
  for (int i = 0; i < 64; i++) sum[i / 16][i / 4 % 4][i % 4] = acc[i / 16][i / 4 % 4][i % 4] = 0;
  int64_t chunks = (x.rows + depth - 1) / depth;
  for (int i = 0; i < stages - 1; i++) fetch<T>(x, i, i * depth, a0, b0);
  for (int64_t n = 0; n < chunks; n++) {
    copy_wait<stages - 2>();
    __syncthreads();
    fetch<T>(x, (int)((n + stages - 1) % stages), (n + stages - 1) * depth, a0, b0); // which was read before the barrier
    multiply<T>((int)(n % stages), wa, wb, acc);
    if ((n + 1) % (together / depth) == 0 || n + 1 == chunks) {
#pragma unroll
      for (int i = 0; i < 64; i++) {
        sum[i / 16][i / 4 % 4][i % 4] += acc[i / 16][i / 4 % 4][i % 4];
        acc[i / 16][i / 4 % 4][i % 4] = 0;
      }
    }
  }
  copy_wait<0>();
#pragma unroll
  for (int i = 0; i < 4; i++)
#pragma unroll
    for (int j = 0; j < 4; j++)
#pragma unroll
      for (int e = 0; e < 4; e++) // values 0, 1: row lane / 4 of the fragment; 2, 3: eight below
        add_to(h, a0 + wa + i * 16 + lane / 4 + e / 2 * 8, b0 + wb + j * 8 + lane % 4 * 2 + e % 2, sum[i][j][e], a0 != b0);
}

enum { small = 64, small_depth = 16 };

// 16 rows of both strips lie in shared memory as f32; thread (i, j) has h's rows i, i + 16, ... and columns j, j + 16, ... of the tile.
template <class T> __global__ void __launch_bounds__(256) plain_kernel(cu_mat h, cu_mat x) {
  shared_array<float> s(0, 2 * small_depth * small);
  if (blockIdx.y < blockIdx.x) return;
  int64_t a0 = (int64_t)blockIdx.x * small, b0 = (int64_t)blockIdx.y * small;
  int ti = threadIdx.x / 16, tj = threadIdx.x % 16;
  float sum[4][4] = {}, acc[4][4] = {};
  for (int64_t first = 0; first < x.rows; first += small_depth) {
    __syncthreads();
#pragma unroll
    for (int i = 0; i < 8; i++) {
      int at = i * 256 + (int)threadIdx.x, row = at / small % small_depth;
      int64_t col = (at / small / small_depth ? b0 : a0) + at % small;
      s.put(at, first + row < x.rows && col < x.cols ? to_f32(row_of<T>(x, first + row)[col]) : 0.0f);
    }
    __syncthreads();
#pragma unroll 4
    for (int k = 0; k < small_depth; k++) {
      float b[4];
#pragma unroll
      for (int j = 0; j < 4; j++) b[j] = s.get((small_depth + k) * small + tj + j * 16);
#pragma unroll
      for (int i = 0; i < 4; i++) {
        float a = s.get(k * small + ti + i * 16);
#pragma unroll
        for (int j = 0; j < 4; j++) acc[i][j] = fmaf(a, b[j], acc[i][j]);
      }
    }
    if ((first / small_depth + 1) % (together / small_depth) == 0 || first + small_depth >= x.rows) {
#pragma unroll
      for (int i = 0; i < 16; i++) {
        sum[i / 4][i % 4] += acc[i / 4][i % 4];
        acc[i / 4][i % 4] = 0;
      }
    }
  }
#pragma unroll
  for (int i = 0; i < 4; i++)
#pragma unroll
    for (int j = 0; j < 4; j++) add_to(h, a0 + ti + i * 16, b0 + tj + j * 16, sum[i][j], a0 != b0);
}

dim3 tiles_of(int64_t n, int64_t side) {
  unsigned t = (unsigned)((n + side - 1) / side);
  return dim3(t, t);
}

template <class T> sx_status launch_plain(cu_ctx *c, cu_mat h, cu_mat x) {
  return SX_LAUNCH(c, plain_kernel<T>, tiles_of(h.rows, small), 256, 2 * small_depth * small * 4, h, x);
}

template <class T> sx_status launch_mma(cu_ctx *c, cu_mat h, cu_mat x) {
  return SX_LAUNCH(c, mma_kernel<T>, tiles_of(h.rows, tile), 256, stages * stage_values * 2, h, x);
}

} // namespace

sx_status cu_hessian(cu_ctx *c, cu_mat h, cu_mat x) {
  if (x.rows == 0 || x.cols == 0) return SX_OK;
  bool vectors = x.dtype != SX_F32 && x.cols % 8 == 0 && side_of(x).fast;
  if (!vectors) return CU_BY_DTYPE(x.dtype, launch_plain, c, h, x);
  return x.dtype == SX_BF16 ? launch_mma<bf16>(c, h, x) : launch_mma<f16>(c, h, x);
}
