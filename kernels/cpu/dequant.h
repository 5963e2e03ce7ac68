/* dequant.h: rows of weights as f32, each value rounded once: a quantized weight computes exactly as the f32 matrix of its values. */

typedef uint16_t u16_any __attribute__((aligned(1), may_alias));
typedef uint32_t u32_any __attribute__((aligned(1), may_alias));

INLINE void dequant_bf16(uint32_t *restrict to, const uint8_t *from, int64_t n) {
  const u16_any *h = (const u16_any *)(const void *)from;
  for (int64_t k = 0; k < n; k++) to[k] = (uint32_t)h[k] << 16;
}

/* The bits of the f32 that is the f16 h: normal numbers by moving the exponent, subnormal ones as mantissa * 2^-24. */
INLINE uint32_t f32_bits_of_f16(uint32_t h) {
  uint32_t e = h >> 10 & 31, m = h & 1023;
  uint32_t normal = (e + 112) << 23 | m << 13, small = bits_of_f32((float)(int32_t)m * 0x1p-24f), special = 0x7f800000 | m << 13;
  return (h & 0x8000) << 16 | (e == 0 ? small : e == 31 ? special : normal);
}

INLINE void dequant_f16(uint32_t *restrict to, const uint8_t *from, int64_t n) {
  const u16_any *h = (const u16_any *)(const void *)from;
  int64_t k = 0;
#ifdef __F16C__
  for (; k + 8 <= n; k += 8) _mm256_storeu_ps((float *)(void *)(to + k), _mm256_cvtph_ps(_mm_loadu_si128((const __m128i_u *)(const void *)(h + k))));
#endif
  for (; k < n; k++) to[k] = f32_bits_of_f16(h[k]);
}

INLINE void dequant_i8(float *restrict to, const uint8_t *from, int64_t n, float scale) {
  for (int64_t k = 0; k < n; k++) to[k] = (float)(int8_t)from[k] * scale;
}

/* e4m3fn: (8 + m) * 2^(e-10), subnormal m * 2^-9; all ones is NaN. The integer times a power of two keeps clear of f32 subnormals.
 * Written without branches, so that it becomes vectors. */
INLINE void dequant_f8(float *restrict to, const uint8_t *from, int64_t n, float scale) {
  for (int64_t k = 0; k < n; k++) {
    uint32_t b = from[k], e = b >> 3 & 15, normal = e > 0, nan = (b & 127) == 127;
    float value = (float)(int32_t)((b & 7) | normal << 3) * f32_of_bits((e + 118 - normal) << 23);
    to[k] = f32_of_bits(bits_of_f32(value) | (b & 128) << 24 | nan * 0x7fc00000) * scale;
  }
}

/* Inputs [k0, k0 + n) of row r; k0 is even. */
INLINE void dequant_i4(float *restrict to, const sx_weight *w, int64_t r, int64_t k0, int64_t n) {
  const uint8_t *from = w->data + (r * w->cols + k0) / 2;
  for (int64_t i = 0; i < n / 2; i++) {
    to[2 * i] = (float)(from[i] & 15);
    to[2 * i + 1] = (float)(from[i] >> 4);
  }
  if (n % 2) to[n - 1] = (float)(from[n / 2] & 15);
  for (int64_t k = 0; k < n;) {
    int64_t g = (k0 + k) / w->group, end = (g + 1) * w->group - k0;
    if (end > n) end = n;
    float zero = w->zeros[r * (w->cols / w->group) + g], scale = w->scales[r * (w->cols / w->group) + g];
    for (; k < end; k++) to[k] = (to[k] - zero) * scale;
  }
}

/* Inputs [k0, k0 + n) of row r of w into to; k0 is a multiple of mat_depth. */
static void dequant(float *restrict to, const sx_weight *w, int64_t r, int64_t k0, int64_t n) {
  int64_t at = r * w->cols + k0;
  switch (w->dtype) {
    case SX_F32: memcpy(to, w->data + 4 * at, (size_t)n * 4); break;
    case SX_BF16: dequant_bf16((uint32_t *)(void *)to, w->data + 2 * at, n); break;
    case SX_F16: dequant_f16((uint32_t *)(void *)to, w->data + 2 * at, n); break;
    case SX_I8: dequant_i8(to, w->data + at, n, w->scales[r]); break;
    case SX_F8: dequant_f8(to, w->data + at, n, w->scales[0]); break;
    default: dequant_i4(to, w, r, k0, n); break;
  }
}

static void isa_embed(const embed_job *j, int64_t from, int64_t to) {
  for (int64_t i = from; i < to; i++)
    if (j->out.cols > 0) dequant(j->out.p + i * j->out.stride, j->w, j->ids[i], 0, j->out.cols);
}
