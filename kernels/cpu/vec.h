/* vec.h: the few vector operations the generic source is written in. vf is the machine's vector; v16 is 16 lanes of them, the unit of
 * every sum, so that builds of different width add in the same order. The including file sets VEC_BYTES, and VEC_FMA(a, b, c) where
 * the machine has a fused multiply-add. Contraction is off (-std=c11), so nothing else is fused. */
#include <math.h>

#include "isa.h"

#define INLINE static inline __attribute__((always_inline))
#ifdef SEXTANT_SANITIZED /* every unrolled read would be checked on its own: minutes of compiling */
#define UNROLL
#else
#define UNROLL _Pragma("GCC unroll 16")
#endif

enum { vec_lanes = VEC_BYTES / 4, vecs = lanes / vec_lanes };

typedef float vf __attribute__((vector_size(VEC_BYTES), may_alias));
typedef int32_t vi __attribute__((vector_size(VEC_BYTES), may_alias));
typedef uint32_t vu __attribute__((vector_size(VEC_BYTES), may_alias));
typedef float vf_any __attribute__((vector_size(VEC_BYTES), may_alias, aligned(1)));
typedef uint16_t vh_any __attribute__((vector_size(VEC_BYTES / 2), may_alias, aligned(1)));
typedef uint8_t vb_any __attribute__((vector_size(VEC_BYTES / 4), may_alias, aligned(1)));
typedef int8_t vc_any __attribute__((vector_size(VEC_BYTES / 4), may_alias, aligned(1)));

typedef struct v16 {
  vf v[vecs];
} v16;

#define LOAD(p) (*(const vf_any *)(const void *)(p))
/* A vector of integers at p, made 32 bits wide; gcc 12 makes several instructions of what is one. */
#if defined(__AVX512F__) && VEC_BYTES == 64
#define WIDEN_U16(p) ((vu)_mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i_u *)(const void *)(p))))
#define WIDEN_U8(p) ((vu)_mm512_cvtepu8_epi32(_mm_loadu_si128((const __m128i_u *)(const void *)(p))))
#define WIDEN_I8(p) ((vi)_mm512_cvtepi8_epi32(_mm_loadu_si128((const __m128i_u *)(const void *)(p))))
#elif defined(__AVX2__) && VEC_BYTES == 32
#define WIDEN_U16(p) ((vu)_mm256_cvtepu16_epi32(_mm_loadu_si128((const __m128i_u *)(const void *)(p))))
#define WIDEN_U8(p) ((vu)_mm256_cvtepu8_epi32(_mm_loadu_si64(p)))
#define WIDEN_I8(p) ((vi)_mm256_cvtepi8_epi32(_mm_loadu_si64(p)))
#elif defined(WIDE_HALVES)
#define WIDEN_U16(p) __builtin_convertvector(*(const vh_any *)(const void *)(p), vu)
#define WIDEN_I8(p) WIDE_HALVES(vi, __m256i, WIDE_I8, p, 8)
#else
#define WIDEN_U16(p) __builtin_convertvector(*(const vh_any *)(const void *)(p), vu)
#define WIDEN_U8(p) __builtin_convertvector(*(const vb_any *)(const void *)(p), vu)
#define WIDEN_I8(p) __builtin_convertvector(*(const vc_any *)(const void *)(p), vi)
#endif
#define LOAD_BF16(p) ((vf)(WIDEN_U16(p) << 16))
#define STORE(p, x) (*(vf_any *)(void *)(p) = (x))
#define SPLAT(f) ((f) - (vf){0})

#ifdef VEC_FMA
#define FMA(a, b, c) VEC_FMA(a, b, c)
#else
#define FMA(a, b, c) ((a) * (b) + (c))
#endif

/* acc += a b. In so many words where the build gives VEC_FMADD: gcc 12 takes other forms of the instruction, and spills. */
#ifdef VEC_FMADD
#define FMADD(acc, a, b) VEC_FMADD(acc, a, b)
#else
#define FMADD(acc, a, b) ((acc) = FMA(a, b, acc))
#endif

/* a > b ? a : b in each lane; NaN in either gives b. Named where the machine has it: gcc 12 does not see it. */
#if defined(__AVX512F__) && VEC_BYTES == 64
INLINE vf v_max(vf a, vf b) { return (vf)_mm512_max_ps((__m512)a, (__m512)b); }
INLINE vf v_min(vf a, vf b) { return (vf)_mm512_min_ps((__m512)a, (__m512)b); }
#elif defined(__AVX2__) && VEC_BYTES == 32
INLINE vf v_max(vf a, vf b) { return (vf)_mm256_max_ps((__m256)a, (__m256)b); }
INLINE vf v_min(vf a, vf b) { return (vf)_mm256_min_ps((__m256)a, (__m256)b); }
#else
INLINE vf v_max(vf a, vf b) {
  vi m = a > b;
  return (vf)(((vi)a & m) | ((vi)b & ~m));
}

INLINE vf v_min(vf a, vf b) {
  vi m = a < b;
  return (vf)(((vi)a & m) | ((vi)b & ~m));
}
#endif

INLINE v16 v16_splat(float f) {
  v16 r;
  UNROLL for (int i = 0; i < vecs; i++) r.v[i] = SPLAT(f);
  return r;
}

INLINE v16 v16_load(const float *p) {
  v16 r;
  UNROLL for (int i = 0; i < vecs; i++) r.v[i] = LOAD(p + i * vec_lanes);
  return r;
}

INLINE v16 v16_load_bf16(const uint16_t *p) {
  v16 r;
  UNROLL for (int i = 0; i < vecs; i++) r.v[i] = LOAD_BF16(p + i * vec_lanes);
  return r;
}

INLINE void v16_store(float *p, v16 x) {
  UNROLL for (int i = 0; i < vecs; i++) STORE(p + i * vec_lanes, x.v[i]);
}

typedef float f4 __attribute__((vector_size(16), may_alias));
typedef int32_t vi4 __attribute__((vector_size(16), may_alias));
typedef float f4_any __attribute__((vector_size(16), may_alias, aligned(4)));

/* Lanes 4i to 4i+3; i is a constant. */
#if VEC_BYTES == 16
#define QUARTER(x, i) ((f4)(x).v[i])
#else
#define QUARTER_AT(v, k) __builtin_shufflevector(v, v, k, (k) + 1, (k) + 2, (k) + 3)
#define QUARTER(x, i) QUARTER_AT((x).v[(i) * 4 / vec_lanes], (i) * 4 % vec_lanes)
#endif

/* The 16 lanes added as a tree: lane i to i+8, then to i+4, i+2, i+1. */
INLINE float v16_sum(v16 x) {
  f4 s = (QUARTER(x, 0) + QUARTER(x, 2)) + (QUARTER(x, 1) + QUARTER(x, 3));
  s += __builtin_shuffle(s, (vi4){2, 3, 0, 1});
  return s[0] + s[1];
}

INLINE double sum16(double t[lanes]) {
  UNROLL for (int n = 8; n > 0; n /= 2) UNROLL for (int i = 0; i < n; i++) t[i] += t[i + n];
  return t[0];
}

INLINE f4 f4_max(f4 a, f4 b) {
  vi4 m = a > b;
  return (f4)(((vi4)a & m) | ((vi4)b & ~m));
}

/* The greatest of 16 lanes, none of which is NaN. */
INLINE float v16_max(v16 x) {
  f4 m = f4_max(f4_max(QUARTER(x, 0), QUARTER(x, 2)), f4_max(QUARTER(x, 1), QUARTER(x, 3)));
  m = f4_max(m, __builtin_shuffle(m, (vi4){2, 3, 0, 1}));
  return m[0] > m[1] ? m[0] : m[1];
}

/* e^r for |r| <= ln2/2: the Taylor polynomial of degree 7, whose remainder is 5e-9. */
INLINE vf v_exp_near(vf r) {
  vf p = SPLAT(1.0f / 5040);
  p = FMA(p, r, SPLAT(1.0f / 720));
  p = FMA(p, r, SPLAT(1.0f / 120));
  p = FMA(p, r, SPLAT(1.0f / 24));
  p = FMA(p, r, SPLAT(1.0f / 6));
  p = FMA(p, r, SPLAT(0.5f));
  p = FMA(p, r, SPLAT(1.0f));
  return FMA(p, r, SPLAT(1.0f));
}

/* e^x within 2 ulp: x = n ln2 + r with |r| <= ln2/2, e^r times 2^n in two
 * steps so that subnormal results round once. NaN stays NaN; beyond the range of f32: 0 and inf. */
INLINE vf v_exp(vf x) {
  const vf magic = SPLAT(12582912.0f); /* 1.5 * 2^23: adding it rounds to an integer */
  vi nan = x != x;
  vf c = v_min(v_max(x, SPLAT(-104.0f)), SPLAT(89.0f));
  vf t = FMA(c, SPLAT(0x1.715476p+0f), magic);
  vi n = (vi)t - (vi)magic;
  vf nf = t - magic;
  vf r = FMA(nf, SPLAT(-0x1.62e400p-1f), c); /* ln2 to 15 bits: exact when multiplied by n */
  r = FMA(nf, SPLAT(-0x1.7f7d1cp-20f), r);   /* the rest of ln2 */
  vf p = v_exp_near(r);
  vi half = n >> 1;
  p = p * (vf)((half + 127) << 23) * (vf)((n - half + 127) << 23);
  return (vf)(((vi)p & ~nan) | ((vi)x & nan));
}

INLINE v16 v16_exp(v16 x) {
  UNROLL for (int i = 0; i < vecs; i++) x.v[i] = v_exp(x.v[i]);
  return x;
}

/* n values, at most 16, and `fill` in the other lanes. */
INLINE v16 v16_part(const float *p, int64_t n, float fill) {
  float t[lanes];
  for (int i = 0; i < lanes; i++) t[i] = i < n ? p[i] : fill;
  return v16_load(t);
}

INLINE void v16_store_part(float *p, v16 x, int64_t n) {
  float t[lanes];
  v16_store(t, x);
  memcpy(p, t, (size_t)n * sizeof *t);
}
