/* pairs.h: out = x w^T for weights in bf16 by VDPBF16PS, which adds two products to a sum: that of the odd input, then that of the even
 * one, each fused. The order of a sum, the same for every M and N: blocks of pair_depth inputs; within a block pairs in ascending order, from
 * 0; blocks are added in order; bias last. x is rounded to bf16 and laid out in pairs, those of pair_rows rows beside one another. */

#ifndef UNIT_MODEL
#define PAIR_DOT(acc, x, w) __asm__("vdpbf16ps %2, %1, %0" : "+v"(acc) : "v"(x), "v"(w))
#else
#define PAIR_DOT(acc, x, w) model_pair_dot(&(acc), x, w)
static __attribute__((noinline)) void model_pair_dot(vf *acc, vu x, vu w) {
  *acc = flush_fma(x << 16, model_wrong ? x : w << 16, flush_fma(x & 0xffff0000, w & 0xffff0000, *acc));
}
#endif

enum { pair_rows = 8, pair_panels = 4, pair_depth = 512 };

/* mr rows against np panels over so many pairs; the sums are put on those of the earlier blocks, and settled after the last. */
INLINE void pair_block(const int mr, const int np, const matmul_job *j, int64_t r, int64_t panel, int64_t at, int64_t pairs) {
  const uint32_t *x = (const uint32_t *)(const void *)j->laid + r * plane_cols(j->w->cols) / 2 + at / 2 * mr;
  int64_t step = panel_bytes(j->w);
  const uint8_t *w = j->w->packed + panel * step + panel_offset(SX_BF16, 0, at);
  vf acc[pair_rows * 2], sums[pair_rows * 2];
  UNROLL for (int i = 0; i < mr * np; i++) acc[i] = SPLAT(0);
  for (int64_t i = 0; i < pairs; i++, x += mr, w += VEC_BYTES) {
    vu ws[pair_panels];
    UNROLL for (int p = 0; p < np; p++) ws[p] = *(const vu *)(const void *)(w + p * step);
    if (mr <= 2) UNROLL for (int p = 0; p < np; p++) __builtin_prefetch(w + p * step + 1024);
    UNROLL for (int m = 0; m < mr; m++) {
      vu xs = x[m] - (vu){0};
      UNROLL for (int p = 0; p < np; p++) PAIR_DOT(acc[m * np + p], xs, ws[p]);
    }
  }
  UNROLL for (int i = 0; i < mr * np; i++) sums[i] = acc[i]; /* so that acc never need lie in memory */
  for (int m = 0; m < mr; m++)
    for (int p = 0; p < np; p++) {
      float *out = j->out.p + (r + m - j->first_row) * j->out.stride + (panel + p - j->first_panel) * panel_rows, *s = (float *)&sums[m * np + p];
      int64_t left = j->w->rows - (panel + p) * panel_rows, n = left < panel_rows ? left : panel_rows;
      if (at > 0) STORE(s, v16_part(out, n, 0).v[0] + LOAD(s));
      if (at + pair_depth >= j->w->cols) settle(j, panel + p, n, s);
      memcpy(out, s, (size_t)n * 4);
    }
}

/* Apart for each number of rows, so that the compiler need not hold all of them in mind. */
#define PAIR_ROWS(mr, np)                                                                                                          \
  static __attribute__((noinline)) void pair_rows_##mr(const matmul_job *j, int64_t r, span s, int64_t at, int64_t pairs) {        \
    for (; s.p0 + np <= s.p1; s.p0 += np) pair_block(mr, np, j, r, s.p0, at, pairs);                                               \
    for (; s.p0 < s.p1; s.p0++) pair_block(mr, 1, j, r, s.p0, at, pairs);                                                          \
  }
PAIR_ROWS(1, 4)
PAIR_ROWS(2, 4)
PAIR_ROWS(3, 2)
PAIR_ROWS(4, 2)
PAIR_ROWS(5, 2)
PAIR_ROWS(6, 2)
PAIR_ROWS(7, 2)
PAIR_ROWS(8, 2)

/* s.r0 is a multiple of pair_rows, s.r1 too or the end. */
static void pair_span(const matmul_job *j, span s) {
  static void (*const rows[])(const matmul_job *, int64_t, span, int64_t, int64_t) = {
      NULL, pair_rows_1, pair_rows_2, pair_rows_3, pair_rows_4, pair_rows_5, pair_rows_6, pair_rows_7, pair_rows_8};
  for (int64_t at = 0; at < j->w->cols; at += pair_depth) {
    int64_t depth = j->w->cols - at < pair_depth ? j->w->cols - at : pair_depth;
    for (int64_t r = s.r0; r < s.r1; r += pair_rows) rows[s.r1 - r < pair_rows ? s.r1 - r : pair_rows](j, r, s, at, (depth + 1) / 2);
  }
}

static bool by_pairs(const matmul_job *j) { return j->w->cols > 0 && j->w->dtype == SX_BF16; }

static int64_t pairs_laid_floats(const matmul_job *j) { return by_pairs(j) ? j->x.rows * plane_cols(j->x.cols) / 2 : isa_laid_floats(j); }

/* Writes rows [from, to) of x, in groups of pair_rows. */
static void pair_lay_out(const matmul_job *j, int64_t from, int64_t to, uint32_t *laid) {
  for (int64_t r = from; r < to; r++) {
    int64_t group = r / pair_rows * pair_rows, m = j->x.rows - group < pair_rows ? j->x.rows - group : pair_rows, inputs = j->x.cols;
    uint32_t *at = laid + group * plane_cols(inputs) / 2 + r - group;
    for (int64_t k = 0; k < inputs; k += lanes) {
      uint32_t pairs[lanes / 2];
      vu x;
      to_planes(1, inputs - k >= lanes ? LOAD(j->x.p + r * j->x.stride + k) : v16_part(j->x.p + r * j->x.stride + k, inputs - k, 0).v[0], &x);
      store_halves((uint16_t *)(void *)pairs, x);
      for (int i = 0; i < lanes / 2; i++, at += m) *at = pairs[i];
    }
  }
}

static void pairs_lay_out(const matmul_job *j, int64_t from, int64_t to, float *laid, float *sums) {
  if (by_pairs(j)) pair_lay_out(j, from, to, (uint32_t *)(void *)laid);
  else isa_lay_out(j, from, to, laid, sums);
}

static void pairs_matmul(const matmul_job *j, span s) {
  if (by_pairs(j)) pair_span(j, s);
  else isa_matmul(j, s);
}
