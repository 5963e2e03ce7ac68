/* planes.h: what the matmuls share that multiply bf16 by bf16: rows of f32 as bf16, and the end of a sum.
 *
 * A row is either rounded, to nearest even, as torch does to the activations of a model in bf16; or cut into three: 8 bits of the 24 of
 * each value, the next 8, and the last 8, whose sum is the value. Three products of bf16 then make one of f32: exact, for the units add up
 * in f32. Only what is beyond normal numbers is lost: the units take numbers below 2^-126 for 0, and give 0 for them. */

enum { plane_values = 32 }; /* inputs of a unit's step: rows are filled up with zeros to a multiple */

typedef uint16_t vh __attribute__((vector_size(VEC_BYTES / 2), may_alias));

/* The upper halves of 32-bit lanes. */
INLINE void store_halves(uint16_t *p, vu x) {
#if defined(__AVX512F__) && VEC_BYTES == 64
  _mm256_storeu_si256((__m256i_u *)(void *)p, _mm512_cvtepi32_epi16((__m512i)(x >> 16)));
#else
  vh h = __builtin_convertvector(x >> 16, vh);
  memcpy(p, &h, sizeof h);
#endif
}

/* Bits of each value, rounded to bf16, or of its parts. NaN is made quiet; beside it and infinity the other parts are 0. */
INLINE void to_planes(const int planes, vf x, vu *out) {
  vu b = (vu)x, top = 0xffff0000 - (vu){0}, nan = (vu)(x != x);
  if (planes == 1) {
    out[0] = (((b + 0x7fff + (b >> 16 & 1)) & ~nan) | ((b | 0x400000) & nan)) & top;
    return;
  }
  vu finite = (vu)((b & 0x7f800000) != 0x7f800000 - (vu){0});
  out[0] = (b | (0x400000 & nan)) & top;
  vf rest = (vf)((vu)(x - (vf)out[0]) & finite);
  out[1] = (vu)rest & top;
  out[2] = (vu)(rest - (vf)out[1]);
}

#ifdef UNIT_MODEL
/* How the units do arithmetic: a number below the normal ones is 0 before and after; no rounding but to nearest. */
INLINE vf flush(vf x) {
  vu small = (vu)(((vu)x & 0x7f800000) == (vu){0});
  return (vf)((vu)x & (~small | 0x80000000));
}

static _Atomic bool model_wrong;

/* Makes the models of units give wrong sums: for the test of what notices it. */
void sx_cpu_wrong_models(bool wrong) { model_wrong = wrong; }

INLINE vf flush_fma(vu a, vu b, vf c) { return flush(FMA(flush((vf)a), flush((vf)b), flush(c))); }
#endif

static inline int64_t plane_cols(int64_t cols) { return (cols + plane_values - 1) / plane_values * plane_values; }

/* The scales of i8 and the bias onto 16 sums of a panel, the first n of which are wanted. */
INLINE void settle(const matmul_job *j, int64_t panel, int64_t n, float *sums) {
  vf s = LOAD(sums);
  if (j->w->dtype == SX_I8) s = s * LOAD(j->w->packed + (panel + 1) * panel_bytes(j->w) - 4 * panel_rows);
  if (j->bias) s = s + (n == panel_rows ? LOAD(j->bias + panel * panel_rows) : v16_part(j->bias + panel * panel_rows, n, 0).v[0]);
  STORE(sums, s);
}
