/* The source of the AVX-512 build, shapes and all, on 64-byte vectors that the compiler makes of AVX2 ones. For the tests only: it shows
 * on a machine without AVX-512 that the width of the vectors changes no bit. */
#if defined(__x86_64__)
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
#define TILE_ROWS 3 /* small, for the compiler's sake: no shape of tile changes a bit either */
#include "generic.h"
#endif
