#if defined(__x86_64__) && !defined(SEXTANT_SANITIZED) /* isa_wide.c has the same source, and runs everywhere */
#pragma GCC target("avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,f16c")
#include <immintrin.h>
#define VEC_BYTES 64
#define VEC_FMA(a, b, c) ((vf)_mm512_fmadd_ps((__m512)(a), (__m512)(b), (__m512)(c)))
#define VEC_FMADD(acc, a, b) __asm__("vfmadd231ps %2, %1, %0" : "+v"(acc) : "v"(a), "v"(b))
#define ISA_NAME "avx512"
#define ISA_FEATURES "avx512 f bw dq vl"
#define ISA_TABLE sx_isa_avx512
#define FOR_DIRECT(X) X(1) X(2) X(4) X(6)
#define FOR_LAID(X) X(4) X(6) X(12)
#define TILE_ROWS 12 /* a multiple of each of these */
#include "generic.h"
#include "units.h"
#endif
