// lanes.cuh: how matmul cuts sums over K, and how it stores them. A sum is that of cu_lanes lanes, each of lane_width(K) inputs one after
// another, whose sums are added in order: by K alone, so that it may be shared out among warps in any way and keeps its bits.
#ifndef SEXTANT_LANES_CUH
#define SEXTANT_LANES_CUH
#include "device.cuh"

enum { cu_lanes = 8, cu_lane_unit = 128 }; // a lane begins where a step of any kernel does, and a line of memory

static inline int64_t lane_width(int64_t k) {
  const int64_t each = (k + cu_lanes - 1) / cu_lanes;
  return (each + cu_lane_unit - 1) / cu_lane_unit * cu_lane_unit;
}

__device__ __forceinline__ void store_f32(const cu_mat &out, int64_t m, int64_t n, float v) {
  if (out.dtype == SX_F32) row_to<float>(out, m)[n] = v;
  else if (out.dtype == SX_BF16) row_to<bf16>(out, m)[n] = from_f32<bf16>(v);
  else row_to<f16>(out, m)[n] = from_f32<f16>(v);
}

// Two neighbours, n even, with the bias: at once where they lie so.
__device__ __forceinline__ void store_pair(const cu_mat &out, int64_t m, int64_t n, float v, float next, const float *bias) {
  if (n >= out.cols) return;
  const bool two = n + 1 < out.cols;
  if (bias) v += bias[n], next += two ? bias[n + 1] : 0;
  const int64_t at = m * out.stride + n, bytes = out.dtype == SX_F32 ? 4 : 2;
  uint8_t *to = (uint8_t *)out.p + at * bytes;
  if (two && (uintptr_t)to % (2 * bytes) == 0) {
    if (out.dtype == SX_F32) *(float2 *)to = make_float2(v, next);
    else *(uint32_t *)to = out.dtype == SX_BF16 ? pack2<bf16>(v, next) : pack2<f16>(v, next);
    return;
  }
  store_f32(out, m, n, v);
  if (two) store_f32(out, m, n + 1, next);
}

// Whether the rows of a matrix begin at multiples of 16 bytes. By the stride even where there is one row: the same for a row in any company.
static inline bool rows_aligned(const void *p, int64_t stride_bytes) { return (uintptr_t)p % 16 == 0 && stride_bytes % 16 == 0; }

#endif
