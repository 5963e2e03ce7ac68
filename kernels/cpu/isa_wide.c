/* The source of the AVX-512 build, shapes and all, on 64-byte vectors that the compiler makes of AVX2 ones. For the tests only: it shows
 * on a machine without AVX-512 that the width of the vectors changes no bit. */
#if defined(__x86_64__)
#ifdef SEXTANT_SANITIZED
#pragma GCC optimize("O1") /* minutes of compiling otherwise */
#endif
#pragma GCC target("avx2,fma,f16c")
#include <immintrin.h>
#define VEC_BYTES 64
#define VEC_FMA(a, b, c) wide_fma(a, b, c)
typedef float wide_vf __attribute__((vector_size(VEC_BYTES), may_alias));
typedef union wide_parts {
  wide_vf v;
  __m256 h[2];
} wide_parts;
static inline __attribute__((always_inline)) wide_vf wide_fma(wide_vf a, wide_vf b, wide_vf c) {
  wide_parts x = {a}, y = {b}, z = {c};
  for (int i = 0; i < 2; i++) z.h[i] = _mm256_fmadd_ps(x.h[i], y.h[i], z.h[i]);
  return z.v;
}
#define ISA_NAME "wide"
#define ISA_FEATURES "avx2 fma f16c as 64-byte vectors"
#define ISA_TABLE sx_isa_wide
/* What gcc takes too long over, in halves. */
#define WIDE_HALVES(type, half, f, p, bytes)                                                       \
  __extension__({                                                                                  \
    union {                                                                                        \
      half h[2];                                                                                   \
      type v;                                                                                      \
    } wide_u;                                                                                      \
    wide_u.h[0] = f(p), wide_u.h[1] = f((const uint8_t *)(p) + bytes);                             \
    wide_u.v;                                                                                      \
  })
#define WIDE_F16(p) _mm256_cvtph_ps(_mm_loadu_si128((const __m128i_u *)(const void *)(p)))
#define WIDE_F8(p) _mm256_cvtph_ps(_mm_and_si128(_mm_slli_epi16(_mm_cvtepi8_epi16(_mm_loadu_si64(p)), 7), _mm_set1_epi16((short)0xbf80)))
#define WIDE_I8(p) _mm256_cvtepi8_epi32(_mm_loadu_si64(p))
#define FOR_DIRECT(X) X(1)
#define FOR_LAID(X) X(3)
#define TILE_ROWS 3 /* a multiple of each of these */
#include "generic.h"
#define UNIT_MODEL
#include "units.h"
#endif
