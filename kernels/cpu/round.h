/* round.h: values rounded to what 8 bits hold (kernels.h: round). Each step is one operation of f32, so that all builds give the same bits. */

/* The code of x, which is not NaN, as a number. Adding and taking off 1.5 * 2^23 units rounds to a unit, ties to even. */
INLINE vf v_code(const bool f8, vf x, vf scale) {
  vf v = x / scale;
  if (!f8) return (v_max(v_min(v, SPLAT(127.0f)), SPLAT(-127.0f)) + SPLAT(0x1.8p23f)) - SPLAT(0x1.8p23f);
  vu sign = (vu)v & 0x80000000;
  vf size = v_min((vf)((vu)v & 0x7fffffff), SPLAT(448.0f)), small = (size + SPLAT(0x1.8p14f)) - SPLAT(0x1.8p14f); /* units of 2^-9 */
  vu bits = (vu)size, normal = (bits + 0x7ffff + (bits >> 20 & 1)) & 0xfff00000, is_small = (vu)(size < SPLAT(0x1p-6f));
  return (vf)(((vu)small & is_small) | (normal & ~is_small) | sign);
}

/* The bits of the greatest |x|: from 0x7f800000 on there is an infinity or a NaN. */
INLINE uint32_t greatest_bits(const float *x, int64_t n) {
  int32_t t[lanes], most = 0;
  vi top[vecs] = {{0}};
  for (int64_t k = 0; k < n; k += lanes) {
    v16 part = n - k >= lanes ? v16_load(x + k) : v16_part(x + k, n - k, 0);
    UNROLL for (int v = 0; v < vecs; v++) {
      vi a = (vi)part.v[v] & 0x7fffffff, above = a > top[v];
      top[v] = (a & above) | (top[v] & ~above);
    }
  }
  memcpy(t, top, sizeof t);
  for (int i = 0; i < lanes; i++) most = t[i] > most ? t[i] : most;
  return (uint32_t)most;
}

/* out = the n values of x, those of one scale; scale 0: it is to be found. out may be x. */
INLINE void round_values(const bool f8, float *out, const float *x, int64_t n, float scale) {
  uint32_t top = scale > 0 ? 0 : greatest_bits(x, n);
  float s = scale > 0 ? scale : f32_of_bits(top) / (f8 ? 448.0f : 127.0f);
  if (top >= 0x7f800000 || s == 0) {
    for (int64_t k = 0; k < n; k++) out[k] = s == 0 ? 0 : NAN;
    return;
  }
  for (int64_t k = 0; k < n; k += lanes) {
    v16 part = n - k >= lanes ? v16_load(x + k) : v16_part(x + k, n - k, 0);
    UNROLL for (int v = 0; v < vecs; v++) {
      vf y = v_code(f8, part.v[v], SPLAT(s)) * SPLAT(s);
      part.v[v] = (vf)((vu)y | (vu)(part.v[v] != part.v[v]));
    }
    if (n - k >= lanes)
      v16_store(out + k, part);
    else
      v16_store_part(out + k, part, n - k);
  }
}

INLINE void round_rows(const bool f8, const round_job *j, int64_t from, int64_t to) {
  for (int64_t i = from; i < to; i++)
    for (int64_t k = 0, n; k < j->x.cols; k += n) {
      n = j->x.cols - k < j->d->group ? j->x.cols - k : j->d->group;
      round_values(f8, j->out.p + i * j->out.stride + k, j->x.p + i * j->x.stride + k, n, j->d->scale);
    }
}

static void isa_round(const round_job *j, int64_t from, int64_t to) {
  if (j->d->to == SX_F8)
    round_rows(true, j, from, to);
  else
    round_rows(false, j, from, to);
}

/* A head's vector on its way into the cache. */
static __attribute__((noinline)) void round_head(const sx_kv_desc *d, float *head) {
  if (d->round == SX_I8) round_values(false, head, head, d->head_dim, 0);
  if (d->round == SX_F8) round_values(true, head, head, d->head_dim, 1);
}
