#if defined(__x86_64__)
#pragma GCC target("avx2,fma,f16c")
#include <immintrin.h>
#define VEC_BYTES 32
#define VEC_FMA(a, b, c) ((vf)_mm256_fmadd_ps((__m256)(a), (__m256)(b), (__m256)(c)))
#define VEC_FMADD(acc, a, b) __asm__("vfmadd231ps %2, %1, %0" : "+x"(acc) : "x"(a), "x"(b))
#define ISA_NAME "avx2"
#define ISA_FEATURES "avx2 fma f16c"
#define ISA_TABLE sx_isa_avx2
#ifdef SEXTANT_SANITIZED /* for the time that compiling takes: no shape of tile changes a bit */
#pragma GCC optimize("O1")
#define FOR_DIRECT(X) X(1) /* always there: a single row is read where it lies */
#define FOR_LAID(X) X(4)
#else
#define FOR_DIRECT(X) X(1) X(2) X(4) X(6)
#define FOR_LAID(X) X(4) X(6)
#endif
#define TILE_ROWS 12 /* a multiple of each of these */
#include "generic.h"
#endif
