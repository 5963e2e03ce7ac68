// device.cuh: the one header that kernels see of CUDA. Everything that only a GPU has goes through it, so that the same .cu files also run on
// the emulator (emu/, -DSX_EMULATED, compiled as C++): threads, blocks and barriers are written as CUDA writes them; shared memory, asynchronous
// copies, matrix fragments, number formats and launches by the names here.
//
//   SX_LAUNCH(c, kernel, grid, block, shared_bytes, arguments...)    launches on c's stream and returns SX_OK or the failure
//   shared_array<T> s(byte_offset, count)    a piece of the dynamic shared memory, 16-byte aligned; checked for bounds and races when emulated
//   s.get(i), s.put(i, v)                    one element
//   s.get_as<V>(i), s.put_as<V>(i, v)        sizeof(V) bytes from element i on, aligned to sizeof(V)
//   s.atomic_add(i, v)                       adds to an element of 4 or 8 bytes, as many threads at once as like; gives what was there
//   copy_async16(s, i, global, valid)        16 bytes to element i on (cp.async; zeros where !valid); copy_commit(), copy_wait<N>()
//   load_matrix_x4(r, s, i)                  ldmatrix.x4: lane's row address is element i; _trans too; load_matrix_x2
//   mma_16x8x16<T>(d, a, b)                  mma.sync m16n8k16, T bf16 or f16, f32 sums: d += a b
//   shfl_xor, shfl, shfl_down(v, n)          of the whole warp, of numbers of 4 or 8 bytes; warp_sum, warp_max
//
// No kernel uses static __shared__, warp primitives by CUDA's own names, or a warp that has partly returned. The emulator also stops on a
// barrier that part of a block does not reach.
#ifndef SEXTANT_DEVICE_CUH
#define SEXTANT_DEVICE_CUH
#include <float.h>
#include <math.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>

#include "cuda.h"

#ifdef SX_EMULATED
#include "emu/emu.h"
inline float exp2_fast(float x) { return x < -126 ? 0 : exp2f(x); }
#else
#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_runtime.h>

// Number formats of 16 bits, by their bits.
struct bf16 {
  uint16_t bits;
};
struct f16 {
  uint16_t bits;
};
__device__ __forceinline__ float to_f32(float v) { return v; }
__device__ __forceinline__ float to_f32(bf16 v) { return __uint_as_float((uint32_t)v.bits << 16); }
__device__ __forceinline__ float to_f32(f16 v) { return __half2float(__ushort_as_half(v.bits)); }
template <class T> __device__ __forceinline__ T from_f32(float v);
template <> __device__ __forceinline__ float from_f32<float>(float v) { return v; }
template <> __device__ __forceinline__ bf16 from_f32<bf16>(float v) { return bf16{__bfloat16_as_ushort(__float2bfloat16_rn(v))}; }
template <> __device__ __forceinline__ f16 from_f32<f16>(float v) { return f16{__half_as_ushort(__float2half_rn(v))}; }

extern __shared__ __align__(16) uint8_t sx_shared[];

template <class T> struct shared_array {
  T *p;
  __device__ __forceinline__ shared_array(int byte_offset, int) : p((T *)(sx_shared + byte_offset)) {}
  __device__ __forceinline__ T get(int i) const { return p[i]; }
  __device__ __forceinline__ void put(int i, T v) const { p[i] = v; }
  template <class V> __device__ __forceinline__ V get_as(int i) const { return *(const V *)(p + i); }
  template <class V> __device__ __forceinline__ void put_as(int i, V v) const { *(V *)(p + i) = v; }
  __device__ __forceinline__ T atomic_add(int i, T v) const { return atomicAdd(p + i, v); }
  __device__ __forceinline__ uint32_t address(int i) const { return (uint32_t)__cvta_generic_to_shared(p + i); }
};

template <class T> __device__ __forceinline__ void copy_async16(const shared_array<T> &s, int i, const void *global, bool valid) {
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;\n" ::"r"(s.address(i)), "l"(global), "r"(valid ? 16 : 0) : "memory");
}
__device__ __forceinline__ void copy_commit() { asm volatile("cp.async.commit_group;\n" ::: "memory"); }
template <int N> __device__ __forceinline__ void copy_wait() { asm volatile("cp.async.wait_group %0;\n" ::"n"(N) : "memory"); }

template <class T> __device__ __forceinline__ void load_matrix_x4(uint32_t r[4], const shared_array<T> &s, int i) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];\n"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3]) : "r"(s.address(i)) : "memory");
}
template <class T> __device__ __forceinline__ void load_matrix_x4_trans(uint32_t r[4], const shared_array<T> &s, int i) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];\n"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3]) : "r"(s.address(i)) : "memory");
}
template <class T> __device__ __forceinline__ void load_matrix_x2(uint32_t r[2], const shared_array<T> &s, int i) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x2.shared.b16 {%0,%1}, [%2];\n" : "=r"(r[0]), "=r"(r[1]) : "r"(s.address(i)) : "memory");
}

template <class T> __device__ __forceinline__ void mma_16x8x16(float d[4], const uint32_t a[4], const uint32_t b[2]);
template <> __device__ __forceinline__ void mma_16x8x16<bf16>(float d[4], const uint32_t a[4], const uint32_t b[2]) {
  asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};\n"
               : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3]) : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}
template <> __device__ __forceinline__ void mma_16x8x16<f16>(float d[4], const uint32_t a[4], const uint32_t b[2]) {
  asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};\n"
               : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3]) : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}

template <class V> __device__ __forceinline__ V shfl_xor(V v, int mask) { return __shfl_xor_sync(~0u, v, mask); }
template <class V> __device__ __forceinline__ V shfl(V v, int lane) { return __shfl_sync(~0u, v, lane); }
template <class V> __device__ __forceinline__ V shfl_down(V v, int n) { return __shfl_down_sync(~0u, v, n); }
__device__ __forceinline__ void warp_barrier() { __syncwarp(); }

// 2^x within 2 ulp, exactly 1 for 0; 0 below 2^-126.
__device__ __forceinline__ float exp2_fast(float x) {
  float y;
  asm("ex2.approx.ftz.f32 %0, %1;\n" : "=f"(y) : "f"(x));
  return y;
}
__device__ __forceinline__ float bits_to_f32(uint32_t u) { return __uint_as_float(u); }
__device__ __forceinline__ uint32_t f32_to_bits(float f) { return __float_as_uint(f); }
// Loads that a kernel makes once: past the first cache.
template <class V> __device__ __forceinline__ V load_once(const V *p) { return __ldcs(p); }

#define SX_LAUNCH(c, kernel, grid, block, shared_bytes, ...)                                                                     \
  (cu_shared_bytes((c), (const void *)(kernel), (shared_bytes)) != SX_OK                                                         \
       ? SX_DEVICE                                                                                                               \
       : ((kernel)<<<(grid), (block), (size_t)(shared_bytes), (cudaStream_t)(c)->stream>>>(__VA_ARGS__), cu_check((c), #kernel)))
#endif

// The failure of an operation, in words. It gives `status`.
static inline sx_status cu_fail(cu_ctx *c, sx_status status, const char *format, ...) {
  va_list args;
  va_start(args, format);
  vsnprintf(c->message, 512, format, args);
  va_end(args);
  return status;
}

// rt.cu: what a launch left behind; raises a kernel's limit of dynamic shared memory where it wants more than 48 KiB.
sx_status cu_check(cu_ctx *c, const char *what);
sx_status cu_shared_bytes(cu_ctx *c, const void *kernel, int64_t bytes);

#define CU_CHECK(call)             \
  do {                             \
    sx_status s_ = (call);         \
    if (s_ != SX_OK) return s_;    \
  } while (0)

// Two values of 16 bits in a register, the first in the low half.
template <class T> __device__ __forceinline__ uint32_t pack2(float lo, float hi) {
  return (uint32_t)from_f32<T>(lo).bits | (uint32_t)from_f32<T>(hi).bits << 16;
}
template <class T> __device__ __forceinline__ void unpack2(uint32_t v, float &lo, float &hi) {
  lo = to_f32(T{(uint16_t)(v & 0xffff)});
  hi = to_f32(T{(uint16_t)(v >> 16)});
}

__device__ __forceinline__ float warp_sum(float v) {
#pragma unroll
  for (int m = 16; m > 0; m >>= 1) v += shfl_xor(v, m);
  return v;
}
__device__ __forceinline__ double warp_sum(double v) {
#pragma unroll
  for (int m = 16; m > 0; m >>= 1) v += shfl_xor(v, m);
  return v;
}
__device__ __forceinline__ float warp_max(float v) {
#pragma unroll
  for (int m = 16; m > 0; m >>= 1) v = fmaxf(v, shfl_xor(v, m));
  return v;
}

// One value of a weight in real numbers: row n, input k. For kernels that are not in a hurry, and for the tests of those that are.
__device__ __forceinline__ float f8_to_f32(uint8_t b) {
  uint32_t e = b >> 3 & 15, m = b & 7;
  float v = e ? bits_to_f32((e + 120) << 23 | m << 20) : (float)m * 0.001953125f;
  if (e == 15 && m == 7) v = bits_to_f32(0x7fc00000);
  return b & 0x80 ? -v : v;
}
__device__ __forceinline__ float weight_at(const cu_weight &w, int64_t n, int64_t k) {
  int64_t i = n * w.cols + k;
  switch (w.dtype) {
    case SX_F32: return ((const float *)w.data)[i];
    case SX_BF16: return to_f32(((const bf16 *)w.data)[i]);
    case SX_F16: return to_f32(((const f16 *)w.data)[i]);
    case SX_I8: return (float)((const int8_t *)w.data)[i] * w.scales[n];
    case SX_F8: return f8_to_f32(((const uint8_t *)w.data)[i]) * w.scales[n];
    default: break;
  }
  int q = ((const uint8_t *)w.data)[i / 2] >> (i % 2 ? 4 : 0) & 15;
  int64_t g = i / w.group;
  return ((float)q - w.zeros[g]) * w.scales[g];
}

// Elements of a matrix of any of the three formats, for kernels that are templates on it.
template <class T> __device__ __forceinline__ const T *row_of(const cu_mat &m, int64_t row) { return (const T *)m.p + row * m.stride; }
template <class T> __device__ __forceinline__ T *row_to(const cu_mat &m, int64_t row) { return (T *)m.p + row * m.stride; }

// The bytes of n values of an activation or a weight that lie together; of I4 n is even.
static inline int64_t bytes_of_values(sx_dtype t, int64_t n) {
  return t == SX_F32 ? 4 * n : t == SX_BF16 || t == SX_F16 ? 2 * n : t == SX_I4 ? n / 2 : n;
}

// Calls f<T>(args...) for the format of an activation.
#define CU_BY_DTYPE(dtype, f, ...)                                                                          \
  ((dtype) == SX_F32 ? f<float>(__VA_ARGS__) : (dtype) == SX_BF16 ? f<bf16>(__VA_ARGS__) : f<f16>(__VA_ARGS__))

#endif
