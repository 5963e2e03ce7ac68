// arith.h: CUDA's functions on numbers, and the formats of 16 bits. Approximate ones of the GPU (__expf) are exact here: a kernel may not
// count on more than the GPU gives. Nothing is contracted to fma unless the kernel says fmaf: sums are those that the source says, on every
// machine.
#ifndef SEXTANT_EMU_ARITH_H
#define SEXTANT_EMU_ARITH_H
#include "syntax.h"
#ifdef __F16C__
#include <immintrin.h>
#endif

struct bf16 {
  uint16_t bits;
};
struct f16 {
  uint16_t bits;
};

template <class To, class From> inline To emu_bits(From v) {
  static_assert(sizeof(To) == sizeof(From), "as many bits");
  To r;
  memcpy(&r, &v, sizeof r);
  return r;
}
inline float __uint_as_float(uint32_t u) { return emu_bits<float>(u); }
inline uint32_t __float_as_uint(float f) { return emu_bits<uint32_t>(f); }
inline float __int_as_float(int i) { return emu_bits<float>(i); }
inline int __float_as_int(float f) { return emu_bits<int>(f); }
inline long long __double_as_longlong(double d) { return emu_bits<long long>(d); }
inline double __longlong_as_double(long long i) { return emu_bits<double>(i); }
inline float bits_to_f32(uint32_t u) { return emu_bits<float>(u); }
inline uint32_t f32_to_bits(float f) { return emu_bits<uint32_t>(f); }

// Half precision by integers, for machines without F16C: exact one way, to nearest and ties to even the other.
inline float emu_f32_of_f16(uint16_t h) {
  uint32_t sign = (uint32_t)(h & 0x8000) << 16, e = h >> 10 & 31, m = h & 1023;
  if (e == 31) return bits_to_f32(sign | 0x7f800000 | m << 13);
  if (e) return bits_to_f32(sign | (e + 112) << 23 | m << 13);
  float v = (float)m * 0x1p-24f;
  return sign ? -v : v;
}
inline uint16_t emu_f16_of_f32(float f) {
  uint32_t u = f32_to_bits(f), sign = u >> 16 & 0x8000, mag = u & 0x7fffffff;
  if (mag > 0x7f800000) return 0x7fff;
  if (mag >= 0x477ff000) return (uint16_t)(sign | 0x7c00); // 65520 and more round to infinity
  if (mag < 0x38800000) {                                  // subnormal: units of 2^-24
    return (uint16_t)(sign | (uint32_t)lrintf(bits_to_f32(mag) * 0x1p24f));
  }
  mag += 0xfff + (mag >> 13 & 1);
  return (uint16_t)(sign | ((mag >> 13) - (112 << 10)));
}

inline float to_f32(float v) { return v; }
inline float to_f32(bf16 v) { return bits_to_f32((uint32_t)v.bits << 16); }
inline float to_f32(f16 v) {
#ifdef __F16C__
  return _cvtsh_ss(v.bits);
#else
  return emu_f32_of_f16(v.bits);
#endif
}
template <class T> inline T from_f32(float v);
template <> inline float from_f32<float>(float v) { return v; }
template <> inline bf16 from_f32<bf16>(float v) { // to nearest, ties to even; NaN as the GPU writes it
  uint32_t u = f32_to_bits(v);
  if ((u & 0x7fffffff) > 0x7f800000) return bf16{0x7fff};
  return bf16{(uint16_t)((u + 0x7fff + (u >> 16 & 1)) >> 16)};
}
template <> inline f16 from_f32<f16>(float v) {
#ifdef __F16C__
  if (v != v) return f16{0x7fff};
  return f16{_cvtss_sh(v, 0)};
#else
  return f16{emu_f16_of_f32(v)};
#endif
}

#define EMU_MINMAX(type)                                   \
  inline type min(type a, type b) { return b < a ? b : a; } \
  inline type max(type a, type b) { return a < b ? b : a; }
EMU_MINMAX(int)
EMU_MINMAX(unsigned)
EMU_MINMAX(long)
EMU_MINMAX(unsigned long)
EMU_MINMAX(long long)
EMU_MINMAX(unsigned long long)
#undef EMU_MINMAX
inline float min(float a, float b) { return fminf(a, b); }
inline float max(float a, float b) { return fmaxf(a, b); }
inline double min(double a, double b) { return fmin(a, b); }
inline double max(double a, double b) { return fmax(a, b); }

inline float __expf(float x) { return expf(x); }
inline float __exp10f(float x) { return exp10f(x); }
inline float __logf(float x) { return logf(x); }
inline float __log2f(float x) { return log2f(x); }
inline float __powf(float x, float y) { return powf(x, y); }
inline float __sinf(float x) { return sinf(x); }
inline float __cosf(float x) { return cosf(x); }
inline float __fdividef(float x, float y) { return x / y; }
inline float __fdiv_rn(float x, float y) { return x / y; }
inline float __frcp_rn(float x) { return 1.0f / x; }
inline float __fsqrt_rn(float x) { return sqrtf(x); }
inline float __frsqrt_rn(float x) { return (float)(1.0 / sqrt((double)x)); }
inline float __fadd_rn(float x, float y) { return x + y; }
inline float __fsub_rn(float x, float y) { return x - y; }
inline float __fmul_rn(float x, float y) { return x * y; }
inline float __fmaf_rn(float x, float y, float z) { return fmaf(x, y, z); }
inline double __dadd_rn(double x, double y) { return x + y; }
inline double __dmul_rn(double x, double y) { return x * y; }
inline double __fma_rn(double x, double y, double z) { return fma(x, y, z); }
inline float __saturatef(float x) { return x > 0 ? (x < 1 ? x : 1.0f) : 0.0f; }
inline float rsqrtf(float x) { return (float)(1.0 / sqrt((double)x)); }
inline double rsqrt(double x) { return 1.0 / sqrt(x); }
inline int __float2int_rn(float x) { return (int)lrintf(x); }
inline int __float2int_rz(float x) { return (int)x; }
inline float __int2float_rn(int x) { return (float)x; }
inline float __uint2float_rn(unsigned x) { return (float)x; }

inline int __popc(unsigned x) { return __builtin_popcount(x); }
inline int __popcll(unsigned long long x) { return __builtin_popcountll(x); }
inline int __clz(int x) { return x ? __builtin_clz((unsigned)x) : 32; }
inline int __clzll(long long x) { return x ? __builtin_clzll((unsigned long long)x) : 64; }
inline int __ffs(int x) { return __builtin_ffs(x); }
inline int __ffsll(long long x) { return __builtin_ffsll(x); }
inline unsigned __umulhi(unsigned a, unsigned b) { return (unsigned)((uint64_t)a * b >> 32); }
inline unsigned __byte_perm(unsigned x, unsigned y, unsigned selector) {
  uint64_t both = (uint64_t)y << 32 | x;
  unsigned r = 0;
  for (int i = 0; i < 4; i++) {
    unsigned s = selector >> (4 * i) & 15, byte = (unsigned)(both >> (8 * (s & 7))) & 255;
    r |= (s & 8 ? (byte & 128 ? 255u : 0u) : byte) << (8 * i);
  }
  return r;
}
inline unsigned __funnelshift_r(unsigned lo, unsigned hi, unsigned n) { return (unsigned)(((uint64_t)hi << 32 | lo) >> (n & 31)); }
inline unsigned __funnelshift_l(unsigned lo, unsigned hi, unsigned n) { return (unsigned)(((uint64_t)hi << 32 | lo) << (n & 31) >> 32); }
inline int __dp4a(int a, int b, int c) {
  for (int i = 0; i < 4; i++) c += (int)(int8_t)(a >> (8 * i)) * (int)(int8_t)(b >> (8 * i));
  return c;
}

template <class V> inline V __ldg(const V *p) { return *p; }
template <class V> inline V __ldcs(const V *p) { return *p; }
template <class V> inline V __ldcg(const V *p) { return *p; }
template <class V> inline void __stcs(V *p, V v) { *p = v; }
template <class V> inline void __stcg(V *p, V v) { *p = v; }
template <class V> inline V load_once(const V *p) { return *p; }

// Atomic on memory of the device: blocks may run on several threads of the host's. (Those of shared memory are shared_array's.)
template <class T, class F> inline T emu_atomic(T *p, F f) {
  using bits = typename std::conditional<sizeof(T) == 4, uint32_t, uint64_t>::type;
  static_assert(sizeof(T) == sizeof(bits), "4 or 8 bytes");
  bits *at = (bits *)p, seen = __atomic_load_n(at, __ATOMIC_RELAXED);
  while (!__atomic_compare_exchange_n(at, &seen, emu_bits<bits>(f(emu_bits<T>(seen))), true, __ATOMIC_ACQ_REL, __ATOMIC_RELAXED)) {
  }
  return emu_bits<T>(seen);
}
template <class T> struct emu_same { // so that the value's type follows the pointer's
  using type = T;
};
template <class T> using emu_same_t = typename emu_same<T>::type;
template <class T> inline T atomicAdd(T *p, emu_same_t<T> v) { return emu_atomic(p, [v](T x) { return (T)(x + v); }); }
template <class T> inline T atomicSub(T *p, emu_same_t<T> v) { return emu_atomic(p, [v](T x) { return (T)(x - v); }); }
template <class T> inline T atomicMax(T *p, emu_same_t<T> v) { return emu_atomic(p, [v](T x) { return x < v ? v : x; }); }
template <class T> inline T atomicMin(T *p, emu_same_t<T> v) { return emu_atomic(p, [v](T x) { return v < x ? v : x; }); }
template <class T> inline T atomicOr(T *p, emu_same_t<T> v) { return emu_atomic(p, [v](T x) { return (T)(x | v); }); }
template <class T> inline T atomicAnd(T *p, emu_same_t<T> v) { return emu_atomic(p, [v](T x) { return (T)(x & v); }); }
template <class T> inline T atomicExch(T *p, emu_same_t<T> v) { return emu_atomic(p, [v](T) { return v; }); }
template <class T> inline T atomicCAS(T *p, emu_same_t<T> was, emu_same_t<T> v) { return emu_atomic(p, [was, v](T x) { return x == was ? v : x; }); }
inline unsigned atomicInc(unsigned *p, unsigned limit) { return emu_atomic(p, [limit](unsigned x) { return x >= limit ? 0 : x + 1; }); }
inline void __threadfence() { __atomic_thread_fence(__ATOMIC_SEQ_CST); }
inline void __threadfence_block() { __atomic_thread_fence(__ATOMIC_SEQ_CST); }

#endif
