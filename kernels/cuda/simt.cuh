// simt.cuh: what simt.cu and simtfew.cu share: four values at a time, of x and of w, as f32.
#ifndef SEXTANT_SIMT_CUH
#define SEXTANT_SIMT_CUH
#include "lanes.cuh"
#include "values.cuh"

enum { simt_few_rows = 32 }; // up to which simt_few is asked; no bit hangs on it

struct simt_args {
  cu_mat out, x;
  cu_weight w;
  const float *bias;       // NULL: none
  int64_t width;           // of a lane
  int32_t x_fast, w_fast;  // four values of a row, from a multiple of four on, can be read at once
};

// Inputs [k, k + 4) of row m of x, zero beyond its ends. k is a multiple of 4.
__device__ __forceinline__ void four_of_x(float v[4], const simt_args &a, int64_t m, int64_t k) {
  const int64_t left = m < a.x.rows ? a.x.cols - k : 0;
  if (left >= 4 && a.x_fast) {
    if (a.x.dtype == SX_F32) {
      const float4 q = *(const float4 *)(row_of<float>(a.x, m) + k);
      v[0] = q.x, v[1] = q.y, v[2] = q.z, v[3] = q.w;
    } else {
      const uint2 q = *(const uint2 *)(row_of<uint16_t>(a.x, m) + k);
      if (a.x.dtype == SX_BF16) unpack2<bf16>(q.x, v[0], v[1]), unpack2<bf16>(q.y, v[2], v[3]);
      else unpack2<f16>(q.x, v[0], v[1]), unpack2<f16>(q.y, v[2], v[3]);
    }
    return;
  }
#pragma unroll
  for (int e = 0; e < 4; e++) {
    v[e] = 0;
    if (e >= left) continue;
    if (a.x.dtype == SX_F32) v[e] = row_of<float>(a.x, m)[k + e];
    else v[e] = a.x.dtype == SX_BF16 ? to_f32(row_of<bf16>(a.x, m)[k + e]) : to_f32(row_of<f16>(a.x, m)[k + e]);
  }
}

// The same of row n of w.
template <int D> __device__ __forceinline__ void four_of_w(float v[4], const simt_args &a, int64_t n, int64_t k) {
  const int64_t left = n < a.w.rows ? a.w.cols - k : 0, at = n * a.w.cols + k;
  if (left >= 4 && a.w_fast) {
    const float scale = D == SX_I8 || D == SX_F8 ? a.w.scales[n] : D == SX_I4 ? a.w.scales[at / a.w.group] : 1.0f;
    const float zero = D == SX_I4 ? a.w.zeros[at / a.w.group] : 0.0f;
    uint4 raw = no_bits<uint4>();
    if (D == SX_F32) raw = *(const uint4 *)((const float *)a.w.data + at);
    else if (D == SX_BF16 || D == SX_F16) {
      const uint2 two = *(const uint2 *)((const uint16_t *)a.w.data + at);
      raw.x = two.x, raw.y = two.y;
    } else if (D == SX_I4) raw.x = *(const uint16_t *)((const uint8_t *)a.w.data + at / 2);
    else raw.x = *(const uint32_t *)((const uint8_t *)a.w.data + at);
#pragma unroll
    for (int e = 0; e < 4; e++) v[e] = value_in<D>(raw, e, scale, zero);
    return;
  }
#pragma unroll
  for (int e = 0; e < 4; e++) {
    v[e] = 0;
    if (e < left) v[e] = weight_at(a.w, n, k + e);
  }
}

sx_status simt_few(cu_ctx *c, const simt_args *a); // rows of w aligned to 16 bytes; I4: groups of a multiple of 32

#endif
