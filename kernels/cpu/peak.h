/* peak.h: the most that a thread can do, for peak.c. */

enum { fma_chains = 12, fma_flop = fma_chains * vec_lanes * 2 };

/* Rounds of multiply-adds in registers, fma_flop operations each, in enough chains to hide their latency. */
static float isa_fma(int64_t rounds) {
  vf acc[fma_chains], a = SPLAT(0.999f), b = SPLAT(0.1f);
  UNROLL for (int i = 0; i < fma_chains; i++) acc[i] = SPLAT((float)i);
  for (int64_t r = 0; r < rounds; r++) {
    UNROLL for (int i = 0; i < fma_chains; i++) acc[i] = FMA(acc[i], a, b);
  }
  UNROLL for (int i = 1; i < fma_chains; i++) acc[0] += acc[i];
  return acc[0][0];
}

/* Reads n bytes, a multiple of 1024, in four streams. */
static uint32_t isa_read(const uint8_t *p, int64_t n) {
  enum { streams = 4, step = 64 };
  typedef vu line[step / VEC_BYTES];
  line acc[streams] = {0};
  int64_t part = n / streams;
  for (int64_t at = 0; at < part; at += step)
    UNROLL for (int s = 0; s < streams; s++)
      UNROLL for (int v = 0; v < step / VEC_BYTES; v++) acc[s][v] ^= *(const vu *)(const void *)(p + s * part + at + v * VEC_BYTES);
  vu all = {0};
  UNROLL for (int s = 0; s < streams; s++) UNROLL for (int v = 0; v < step / VEC_BYTES; v++) all ^= acc[s][v];
  return all[0];
}
