// eight.cuh: eight values of a row at a time, of any of the three formats: what kernels that move rows through registers are made of. The
// format is looked at when the kernel runs: one branch for eight values, the same for all threads, costs nothing beside the memory, and a
// kernel of three operands would have 27 forms.
#ifndef SEXTANT_EIGHT_CUH
#define SEXTANT_EIGHT_CUH
#include "device.cuh"

struct eight {
  float v[8];
};

// A matrix as such a kernel gets it.
struct side {
  uint8_t *p;
  int64_t stride; // bytes from one row to the next
  sx_dtype dtype;
  int32_t fast; // rows begin at multiples of 16 bytes: eight values from a multiple of eight on move as vectors
};

static inline side side_of(const cu_mat &m) {
  int64_t stride = bytes_of_values(m.dtype, m.stride);
  return side{(uint8_t *)m.p, stride, m.dtype, ((uintptr_t)m.p | (uintptr_t)stride) % 16 == 0};
}
// A vector of f32 as a matrix of one row.
static inline side side_of(const float *p) { return side{(uint8_t *)p, 0, SX_F32, (uintptr_t)p % 16 == 0}; }

template <class T> __device__ __forceinline__ void unpack8(eight &r, const uint4 &u) {
  unpack2<T>(u.x, r.v[0], r.v[1]);
  unpack2<T>(u.y, r.v[2], r.v[3]);
  unpack2<T>(u.z, r.v[4], r.v[5]);
  unpack2<T>(u.w, r.v[6], r.v[7]);
}
template <class T> __device__ __forceinline__ uint4 pack8(const eight &r) {
  return make_uint4(pack2<T>(r.v[0], r.v[1]), pack2<T>(r.v[2], r.v[3]), pack2<T>(r.v[4], r.v[5]), pack2<T>(r.v[6], r.v[7]));
}
__device__ __forceinline__ float half_value(sx_dtype t, uint16_t bits) { return t == SX_BF16 ? to_f32(bf16{bits}) : to_f32(f16{bits}); }

// Values [col, col + n) of a row, n from 0 to 8, the rest 0. A full eight begins at a multiple of eight where s is fast.
__device__ __forceinline__ eight load8(const side &s, int64_t row, int64_t col, int n) {
  eight r;
  const uint8_t *p = s.p + row * s.stride + col * (s.dtype == SX_F32 ? 4 : 2);
  if (s.fast && n == 8) {
    if (s.dtype == SX_F32) {
      float4 a = ((const float4 *)p)[0], b = ((const float4 *)p)[1];
      r.v[0] = a.x, r.v[1] = a.y, r.v[2] = a.z, r.v[3] = a.w;
      r.v[4] = b.x, r.v[5] = b.y, r.v[6] = b.z, r.v[7] = b.w;
    } else if (s.dtype == SX_BF16) {
      unpack8<bf16>(r, *(const uint4 *)p);
    } else {
      unpack8<f16>(r, *(const uint4 *)p);
    }
    return r;
  }
#pragma unroll
  for (int k = 0; k < 8; k++) {
    r.v[k] = 0;
    if (k < n) r.v[k] = s.dtype == SX_F32 ? ((const float *)p)[k] : half_value(s.dtype, ((const uint16_t *)p)[k]);
  }
  return r;
}

__device__ __forceinline__ void store8(const side &s, int64_t row, int64_t col, int n, const eight &r) {
  uint8_t *p = s.p + row * s.stride + col * (s.dtype == SX_F32 ? 4 : 2);
  if (s.fast && n == 8) {
    if (s.dtype == SX_F32) {
      ((float4 *)p)[0] = make_float4(r.v[0], r.v[1], r.v[2], r.v[3]);
      ((float4 *)p)[1] = make_float4(r.v[4], r.v[5], r.v[6], r.v[7]);
    } else {
      *(uint4 *)p = s.dtype == SX_BF16 ? pack8<bf16>(r) : pack8<f16>(r);
    }
    return;
  }
#pragma unroll
  for (int k = 0; k < 8; k++)
    if (k < n) {
      if (s.dtype == SX_F32)
        ((float *)p)[k] = r.v[k];
      else
        ((uint16_t *)p)[k] = s.dtype == SX_BF16 ? from_f32<bf16>(r.v[k]).bits : from_f32<f16>(r.v[k]).bits;
    }
}

// How threads of a block of 256 lie over rows and eights: 2^shift beside each other in a row, which is as many as it takes, and rows below.
// A grid of ceil(rows / (256 >> shift)) by ceil(eights / 2^shift) blocks. Depends on the number of columns alone.
struct spread {
  int64_t rows, cols;
  int shift;
};
struct spot {
  int64_t row, col;
  int n; // values from col on, 0: none
};
static inline spread spread_of(int64_t rows, int64_t cols) {
  int shift = 0;
  while (shift < 8 && (int64_t)8 << shift < cols) shift++;
  return spread{rows, cols, shift};
}
static inline dim3 grid_of(const spread &s) {
  int64_t below = 256 >> s.shift, beside = (int64_t)8 << s.shift;
  return dim3((unsigned)((s.rows + below - 1) / below), (unsigned)((s.cols + beside - 1) / beside));
}
__device__ __forceinline__ spot spot_of(const spread &s) {
  int64_t row = (int64_t)blockIdx.x * (256 >> s.shift) + (threadIdx.x >> s.shift);
  int64_t col = ((int64_t)blockIdx.y << s.shift) + (threadIdx.x & ((1u << s.shift) - 1));
  col *= 8;
  int64_t left = row < s.rows ? s.cols - col : 0;
  return spot{row, col, (int)(left < 0 ? 0 : left < 8 ? left : 8)};
}

#endif
