// codes.cuh: weights as they lie in memory, made numbers of 16 bits in registers, without a loss: the values of I8 and F8 and the codes of I4
// less an integer are numbers of bf16 and of f16. Scales come after the sum.
//
// The ways: a code is set into the mantissa of a power of two, which is then taken off (Kim et al., "Who Says Elephants Can't Run",
// arXiv 2211.10017); F8 is moved into the bits of a wider format and its exponent put right by a product.
#ifndef SEXTANT_CODES_CUH
#define SEXTANT_CODES_CUH
#include "device.cuh"

// Bytes of a and b (0-3, 4-7) by the four nibbles of `which`; and of two numbers of 16 bits each: a - b, a * b. All three exact where they are used.
#ifdef SX_EMULATED
__device__ __forceinline__ uint32_t bytes_of(uint32_t a, uint32_t b, uint32_t which) {
  uint64_t both = (uint64_t)b << 32 | a;
  uint32_t r = 0;
  for (int i = 0; i < 4; i++) r |= (uint32_t)(both >> 8 * (which >> 4 * i & 7) & 255) << 8 * i;
  return r;
}
template <class T> __device__ __forceinline__ uint32_t sub2(uint32_t a, uint32_t b) {
  float a0, a1, b0, b1;
  unpack2<T>(a, a0, a1);
  unpack2<T>(b, b0, b1);
  return pack2<T>(a0 - b0, a1 - b1);
}
template <class T> __device__ __forceinline__ uint32_t mul2(uint32_t a, uint32_t b) {
  float a0, a1, b0, b1;
  unpack2<T>(a, a0, a1);
  unpack2<T>(b, b0, b1);
  return pack2<T>(a0 * b0, a1 * b1);
}
__device__ __forceinline__ bool warp_any(bool v) {
  int any = v;
  for (int m = 16; m > 0; m >>= 1) any |= shfl_xor(any, m);
  return any != 0;
}
#else
__device__ __forceinline__ uint32_t bytes_of(uint32_t a, uint32_t b, uint32_t which) { return __byte_perm(a, b, which); }
template <class T> __device__ __forceinline__ uint32_t sub2(uint32_t a, uint32_t b);
template <> __device__ __forceinline__ uint32_t sub2<bf16>(uint32_t a, uint32_t b) { // as a fused product: sm_80 has no other
  uint32_t r;
  asm("fma.rn.bf16x2 %0, %1, %2, %3;" : "=r"(r) : "r"(b), "r"(0xbf80bf80u), "r"(a));
  return r;
}
template <> __device__ __forceinline__ uint32_t sub2<f16>(uint32_t a, uint32_t b) {
  uint32_t r;
  asm("sub.rn.f16x2 %0, %1, %2;" : "=r"(r) : "r"(a), "r"(b));
  return r;
}
template <class T> __device__ __forceinline__ uint32_t mul2(uint32_t a, uint32_t b);
template <> __device__ __forceinline__ uint32_t mul2<bf16>(uint32_t a, uint32_t b) {
  uint32_t r;
  asm("fma.rn.bf16x2 %0, %1, %2, %3;" : "=r"(r) : "r"(a), "r"(b), "r"(0x80008000u));
  return r;
}
template <> __device__ __forceinline__ uint32_t mul2<f16>(uint32_t a, uint32_t b) {
  uint32_t r;
  asm("mul.rn.f16x2 %0, %1, %2;" : "=r"(r) : "r"(a), "r"(b));
  return r;
}
__device__ __forceinline__ bool warp_any(bool v) { return __any_sync(~0u, v) != 0; }
#endif

// The 32-bit words of what a thread loads at once.
__device__ __forceinline__ uint32_t word(const uint4 &v, int i) { return i == 0 ? v.x : i == 1 ? v.y : i == 2 ? v.z : v.w; }
__device__ __forceinline__ uint32_t word(const uint2 &v, int i) { return i == 0 ? v.x : v.y; }
__device__ __forceinline__ uint32_t word(const uint32_t &v, int) { return v; }
template <class V> __device__ __forceinline__ V no_bits();
template <> __device__ __forceinline__ uint4 no_bits<uint4>() { return make_uint4(0, 0, 0, 0); }
template <> __device__ __forceinline__ uint2 no_bits<uint2>() { return make_uint2(0, 0); }
template <> __device__ __forceinline__ uint32_t no_bits<uint32_t>() { return 0; }

// Four values of I8: two pairs, in their order.
template <class T> __device__ __forceinline__ void pairs_of_i8(uint32_t w, uint32_t h[2]);
// A byte 0b s mmmmmmm is m - 128 s. 128 + m is 0x4300 | m; 128 + 128 s is 0x4300 | s << 7, whose exponent the sign raises by one.
template <> __device__ __forceinline__ void pairs_of_i8<bf16>(uint32_t w, uint32_t h[2]) {
#pragma unroll
  for (int i = 0; i < 2; i++) {
    uint32_t v = bytes_of(w, 0, i ? 0x4342 : 0x4140);
    h[i] = sub2<bf16>((v & 0x007f007f) | 0x43004300, (v & 0x00800080) | 0x43004300);
  }
}
// The byte with its sign turned is v + 128, and 0x6400 over it is 1024 + 128 + v.
template <> __device__ __forceinline__ void pairs_of_i8<f16>(uint32_t w, uint32_t h[2]) {
  w ^= 0x80808080;
  h[0] = sub2<f16>(bytes_of(w, 0x64, 0x4140), 0x64806480);
  h[1] = sub2<f16>(bytes_of(w, 0x64, 0x4342), 0x64806480);
}

// Four values of e4m3: two pairs, in their order, as if there were no NaN; nan_of_f8 tells of one.
template <class T> __device__ __forceinline__ void pairs_of_f8(uint32_t w, uint32_t h[2]);
template <> __device__ __forceinline__ void pairs_of_f8<bf16>(uint32_t w, uint32_t h[2]) {
#pragma unroll
  for (int i = 0; i < 2; i++) {
    uint32_t v = bytes_of(w, 0, i ? 0x3424 : 0x1404);
    h[i] = mul2<bf16>((v >> 4 & 0x07f007f0) | (v & 0x80008000), 0x7b807b80); // 2^120
  }
}
template <> __device__ __forceinline__ void pairs_of_f8<f16>(uint32_t w, uint32_t h[2]) {
#pragma unroll
  for (int i = 0; i < 2; i++) {
    uint32_t v = bytes_of(w, 0, i ? 0x3424 : 0x1404);
    h[i] = mul2<f16>((v >> 1 & 0x3f803f80) | (v & 0x80008000), 0x5c005c00); // 2^8
  }
}
__device__ __forceinline__ uint32_t nan_of_f8(uint32_t w) { return ((w & 0x7f7f7f7f) + 0x01010101) & 0x80808080; }

// Eight codes of I4 less an integer: the pairs (0,4), (1,5), (2,6), (3,7). `base` is twice, in T, code_base<T>() + the integer.
template <class T> __device__ __forceinline__ float code_base();
template <> __device__ __forceinline__ float code_base<bf16>() { return 128; }
template <> __device__ __forceinline__ float code_base<f16>() { return 1024; }
template <class T> __device__ __forceinline__ void pairs_of_i4(uint32_t w, uint32_t base, uint32_t h[4]) {
  const uint32_t over = sizeof(T) == 2 && code_base<T>() == 128 ? 0x43004300 : 0x64006400;
#pragma unroll
  for (int i = 0; i < 4; i++) h[i] = sub2<T>((w >> 4 * i & 0x000f000f) | over, base);
}
// Activations in the same order: eight values as they lie, in four words.
__device__ __forceinline__ void order_of_i4(uint32_t x[4]) {
  uint32_t a = x[0], b = x[1], c = x[2], d = x[3];
  x[0] = bytes_of(a, c, 0x5410);
  x[1] = bytes_of(a, c, 0x7632);
  x[2] = bytes_of(b, d, 0x5410);
  x[3] = bytes_of(b, d, 0x7632);
}

#endif
