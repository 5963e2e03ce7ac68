// simt.cu: out = x w^T + bias with f32 products and sums, for any formats: models of f32, and whatever the kernels on tensor cores do not take.
//
// Order of sums (lanes.cuh): within a lane of K one fmaf an input, in order, from 0; the lanes' sums in order, from 0. Both kernels keep to it, and
// values of weights are the same f32 numbers in both, so that which of them runs changes no bit.
//
// Many rows: a block has 128 threads and a tile of 64 rows of x by 128 outputs, a thread 8 x 8 of it. K goes by 16 inputs, in registers from memory
// while those before are used from shared memory, which holds two such slices of x and w, inputs by rows (25 KiB): for 64 fmaf a thread reads four
// times 16 bytes, the 8 rows of x as broadcasts.
// Few rows: simt_few.cuh.
#include "simt.cuh"

enum { rows_m = 64, rows_n = 128, slice = 16, pitch_m = rows_m + 4, pitch_n = rows_n + 4, slice_floats = slice * (pitch_m + pitch_n) };

struct slice_of { // a thread's part of the next slice
  float x[2][4], w[4][4];
};

template <int D> __device__ __forceinline__ void fetch(slice_of &s, const simt_args &a, int64_t m0, int64_t n0, int64_t k0) {
#pragma unroll
  for (int i = 0; i < 2; i++) {
    const int at = i * 128 + threadIdx.x;
    four_of_x(s.x[i], a, m0 + at / 4, k0 + at % 4 * 4);
  }
#pragma unroll
  for (int i = 0; i < 4; i++) {
    const int at = i * 128 + threadIdx.x;
    four_of_w<D>(s.w[i], a, n0 + at / 4, k0 + at % 4 * 4);
  }
}

__device__ __forceinline__ void keep(const slice_of &s, const shared_array<float> &to, int base) {
#pragma unroll
  for (int i = 0; i < 2; i++)
#pragma unroll
    for (int e = 0; e < 4; e++) {
      const int at = i * 128 + threadIdx.x;
      to.put(base + (at % 4 * 4 + e) * pitch_m + at / 4, s.x[i][e]);
    }
#pragma unroll
  for (int i = 0; i < 4; i++)
#pragma unroll
    for (int e = 0; e < 4; e++) {
      const int at = i * 128 + threadIdx.x;
      to.put(base + slice * pitch_m + (at % 4 * 4 + e) * pitch_n + at / 4, s.w[i][e]);
    }
}

__device__ __forceinline__ void multiply(float acc[8][8], const shared_array<float> &from, int base) {
  const int tx = threadIdx.x % 16, ty = threadIdx.x / 16;
#pragma unroll
  for (int k = 0; k < slice; k++) {
    const float4 x0 = from.get_as<float4>(base + k * pitch_m + 8 * ty), x1 = from.get_as<float4>(base + k * pitch_m + 8 * ty + 4);
    const int w = base + slice * pitch_m + k * pitch_n + 4 * tx;
    const float4 w0 = from.get_as<float4>(w), w1 = from.get_as<float4>(w + 64);
    const float xs[8] = {x0.x, x0.y, x0.z, x0.w, x1.x, x1.y, x1.z, x1.w}, ws[8] = {w0.x, w0.y, w0.z, w0.w, w1.x, w1.y, w1.z, w1.w};
#pragma unroll
    for (int i = 0; i < 8; i++)
#pragma unroll
      for (int j = 0; j < 8; j++) acc[i][j] = fmaf(xs[i], ws[j], acc[i][j]);
  }
}

template <int D> __global__ void __launch_bounds__(128, 2) simt_kernel(const simt_args a) {
  shared_array<float> slices(0, 2 * slice_floats);
  const int64_t tiles_m = (a.x.rows + rows_m - 1) / rows_m, m0 = blockIdx.x % tiles_m * rows_m, n0 = blockIdx.x / tiles_m * rows_n;
  const int64_t steps = (a.w.cols + slice - 1) / slice, each = a.width / slice;
  float acc[8][8] = {}, total[8][8] = {};
  slice_of next;
  if (steps > 0) {
    fetch<D>(next, a, m0, n0, 0);
    keep(next, slices, 0);
  }
  __syncthreads();
  int64_t left = each;
  for (int64_t step = 0; step < steps; step++) {
    const bool more = step + 1 < steps;
    if (more) fetch<D>(next, a, m0, n0, (step + 1) * slice);
    multiply(acc, slices, (int)(step % 2) * slice_floats);
    if (--left == 0 || !more) { // a lane ends
      left = each;
#pragma unroll
      for (int i = 0; i < 8; i++)
#pragma unroll
        for (int j = 0; j < 8; j++) total[i][j] += acc[i][j], acc[i][j] = 0;
    }
    if (more) keep(next, slices, (int)((step + 1) % 2) * slice_floats);
    __syncthreads();
  }
  const int tx = threadIdx.x % 16, ty = threadIdx.x / 16;
#pragma unroll
  for (int i = 0; i < 8; i++) {
    const int64_t m = m0 + 8 * ty + i;
    if (m >= a.x.rows) continue;
#pragma unroll
    for (int j = 0; j < 8; j += 2) store_pair(a.out, m, n0 + j / 4 * 64 + 4 * tx + j % 4, total[i][j], total[i][j + 1], a.bias);
  }
}

template <int D> static sx_status many(cu_ctx *c, const simt_args &a) {
  const int64_t blocks = (a.x.rows + rows_m - 1) / rows_m * ((a.w.rows + rows_n - 1) / rows_n);
  if (blocks > INT32_MAX) return cu_fail(c, SX_UNSUPPORTED, "a product of %lld x %lld is too large", (long long)a.x.rows, (long long)a.w.rows);
  return SX_LAUNCH(c, simt_kernel<D>, dim3((unsigned)blocks), dim3(128), 2 * slice_floats * 4, a);
}

sx_status cu_matmul_simt(cu_ctx *c, cu_mat out, cu_mat x, const cu_weight *w, const float *d_bias) {
  if (x.rows <= 0 || w->rows <= 0) return SX_OK;
  simt_args a = {out, x, *w, d_bias, lane_width(w->cols), 0, 0};
  const int64_t row_bytes = bytes_of_values(w->dtype, w->cols);
  a.x_fast = rows_aligned(x.p, bytes_of_values(x.dtype, x.stride));
  a.w_fast = w->cols % 4 == 0 && ((uintptr_t)w->data | (uintptr_t)row_bytes) % (uintptr_t)bytes_of_values(w->dtype, 4) == 0 &&
             (w->dtype != SX_I4 || w->group % 4 == 0);
  const bool whole = rows_aligned(w->data, row_bytes) && (w->dtype != SX_I4 || w->group % 32 == 0); // 16 bytes are of one row and group
  if (x.rows <= simt_few_rows && w->cols > 0 && whole) return simt_few(c, &a);
  switch (w->dtype) {
    case SX_F32: return many<SX_F32>(c, a);
    case SX_BF16: return many<SX_BF16>(c, a);
    case SX_F16: return many<SX_F16>(c, a);
    case SX_I8: return many<SX_I8>(c, a);
    case SX_I4: return many<SX_I4>(c, a);
    default: return many<SX_F8>(c, a);
  }
}
