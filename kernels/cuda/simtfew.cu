// simtfew.cu: simt.cu's products for few rows of x, bound by the reading of w: the same fmaf in the same order, otherwise shared out.
//
// A block: 8 warps, each with one lane of K for the same 32 outputs, a thread one output with R rows of x. A warp reads 64 bytes of each of its 32
// rows of w at a time, by cp.async, into three places of its own in shared memory, two on their way while one is used: 2.5 KiB each, 60 KiB a block,
// 32 KiB a block in flight. Rows lie 80 bytes apart there, so that eight threads' reads of 16 bytes are in different banks. x comes by the first
// cache: all threads of a warp want the same.
#include "simt.cuh"

enum { piece = 64, row_pitch = 80, ring = 3, place_bytes = 32 * row_pitch };

template <int D, int R> __global__ void __launch_bounds__(32 * cu_lanes, 2) simt_few_kernel(const simt_args a) {
  constexpr int C = values_of<D>::count, inputs = 4 * C; // of 16 bytes; of a piece
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  const int64_t n0 = (int64_t)blockIdx.x * 32, m0 = (int64_t)blockIdx.y * R, K = a.w.cols, row_bytes = K * 16 / C;
  const int64_t k0 = warp * a.width, end = k0 + a.width < K ? k0 + a.width : K, n = n0 + lane < a.w.rows ? n0 + lane : a.w.rows - 1;
  shared_array<uint8_t> pieces(warp * ring * place_bytes, ring * place_bytes);
  const int64_t steps = k0 < end ? (end - k0 + inputs - 1) / inputs : 0;
  auto fetch = [&](int64_t step) {
#pragma unroll
    for (int i = 0; i < 4; i++) {
      const int at = i * 32 + lane, r = at / 4, p = at % 4;
      const int64_t k = k0 + step * inputs + p * C, row = n0 + r;
      const bool in = step < steps && k < end && row < a.w.rows;
      const uint8_t *from = (const uint8_t *)a.w.data + (in ? row * row_bytes + k * 16 / C : 0);
      copy_async16(pieces, (int)(step % ring) * place_bytes + r * row_pitch + 16 * p, from, in);
    }
    copy_commit();
  };
  float acc[R] = {}, scale = 1, zero = 0;
  if (D == SX_I8 || D == SX_F8) scale = a.w.scales[n];
  for (int i = 0; i < ring - 1; i++) fetch(i);
  for (int64_t step = 0; step < steps; step++) {
    copy_wait<ring - 2>();
    warp_barrier(); // the piece is there for the whole warp, and the one before is used up
    fetch(step + ring - 1);
#pragma unroll 1
    for (int p = 0; p < 4; p++) {
      const int64_t k = k0 + step * inputs + p * C;
      if (k >= end) break;
      if (D == SX_I4) scale = a.w.scales[n * (K / a.w.group) + k / a.w.group], zero = a.w.zeros[n * (K / a.w.group) + k / a.w.group];
      const uint4 raw = pieces.get_as<uint4>((int)(step % ring) * place_bytes + lane * row_pitch + 16 * p);
#pragma unroll
      for (int q = 0; q < C / 4; q++)
#pragma unroll
        for (int r = 0; r < R; r++) {
          float x[4];
          four_of_x(x, a, m0 + r, k + 4 * q);
#pragma unroll
          for (int e = 0; e < 4; e++) acc[r] = fmaf(x[e], value_in<D>(raw, 4 * q + e, scale, zero), acc[r]);
        }
    }
  }
  copy_wait<0>();
  __syncthreads();
  shared_array<float> sums(0, cu_lanes * R * 32);
#pragma unroll
  for (int r = 0; r < R; r++) sums.put((warp * R + r) * 32 + lane, acc[r]);
  __syncthreads();
  for (int r = warp; r < R; r += cu_lanes) {
    if (m0 + r >= a.x.rows || n0 + lane >= a.w.rows) continue;
    float v = 0;
#pragma unroll
    for (int s = 0; s < cu_lanes; s++) v += sums.get((s * R + r) * 32 + lane);
    store_f32(a.out, m0 + r, n, a.bias ? v + a.bias[n] : v);
  }
}

template <int D, int R> static sx_status launch(cu_ctx *c, const simt_args &a) {
  const int64_t blocks = (a.w.rows + 31) / 32;
  if (blocks > INT32_MAX) return cu_fail(c, SX_UNSUPPORTED, "a matrix of %lld rows is too tall", (long long)a.w.rows);
  return SX_LAUNCH(c, (simt_few_kernel<D, R>), dim3((unsigned)blocks, (unsigned)((a.x.rows + R - 1) / R)), dim3(32 * cu_lanes),
                   cu_lanes * ring * place_bytes, a);
}

template <int D> static sx_status by_rows(cu_ctx *c, const simt_args &a) {
  if (a.x.rows == 1) return launch<D, 1>(c, a);
  return a.x.rows <= 4 ? launch<D, 4>(c, a) : launch<D, 8>(c, a);
}

sx_status simt_few(cu_ctx *c, const simt_args *a) {
  switch (a->w.dtype) {
    case SX_F32: return by_rows<SX_F32>(c, *a);
    case SX_BF16: return by_rows<SX_BF16>(c, *a);
    case SX_F16: return by_rows<SX_F16>(c, *a);
    case SX_I8: return by_rows<SX_I8>(c, *a);
    case SX_I4: return by_rows<SX_I4>(c, *a);
    default: return by_rows<SX_F8>(c, *a);
  }
}
