/* formats.h: vectors of f32 from the number formats of weights. */

/* f16: normal numbers by moving the exponent, subnormal ones as mantissa * 2^-24; NaN is made quiet, as vcvtph2ps does. */
INLINE vf v_f16(const uint8_t *p) {
#if defined(__AVX512F__) && VEC_BYTES == 64
  return (vf)_mm512_cvtph_ps(_mm256_loadu_si256((const __m256i_u *)(const void *)p));
#elif defined(__F16C__) && VEC_BYTES == 32
  return (vf)_mm256_cvtph_ps(_mm_loadu_si128((const __m128i_u *)(const void *)p));
#elif defined(WIDE_HALVES)
  return WIDE_HALVES(vf, __m256, WIDE_F16, p, 16);
#else
  vu h = WIDEN_U16(p), e = h >> 10 & 31, m = h & 1023;
  vu small = (vu)(__builtin_convertvector((vi)m, vf) * SPLAT(0x1p-24f));
  vu normal = (e + 112) << 23 | m << 13, special = 0x7f800000 | m << 13 | ((vu)(m != 0) & 0x400000);
  vu is_small = (vu)(e == 0), is_special = (vu)(e == 31);
  return (vf)((h & 0x8000) << 16 | (small & is_small) | (special & is_special) | (normal & ~(is_small | is_special)));
#endif
}

/* 2^-8 of the values of e4m3fn, (8 + m) * 2^(e-10) or subnormal m * 2^-9, as if there were no NaN: which is what f16 makes of their bits. */
INLINE vf v_f8(const uint8_t *p) {
#if defined(__AVX512F__) && VEC_BYTES == 64
  __m256i h = _mm256_cvtepi8_epi16(_mm_loadu_si128((const __m128i_u *)(const void *)p));
  return (vf)_mm512_cvtph_ps(_mm256_and_si256(_mm256_slli_epi16(h, 7), _mm256_set1_epi16((short)0xbf80)));
#elif defined(__F16C__) && VEC_BYTES == 32
  __m128i h = _mm_cvtepi8_epi16(_mm_loadu_si64(p));
  return (vf)_mm256_cvtph_ps(_mm_and_si128(_mm_slli_epi16(h, 7), _mm_set1_epi16((short)0xbf80)));
#elif defined(WIDE_HALVES)
  return WIDE_HALVES(vf, __m256, WIDE_F8, p, 8);
#else
  vu b = WIDEN_U8(p), e = b >> 3 & 15, normal = (vu)(e > 0) & 1;
  vf value = __builtin_convertvector((vi)((b & 7) | normal << 3), vf) * (vf)((e + 110 - normal) << 23);
  return (vf)((vu)value | (b & 128) << 24);
#endif
}
