/* matmul.h: out = x w^T over packed weights (pack.h). The order of a sum, the same for every M, N and machine: blocks of mat_depth inputs,
 * or for I4 of a group cut into such blocks; within a block inputs are multiplied and added in ascending order, from 0; blocks are added
 * in order; then the scale of I8 and F8; bias last. A block's part of I4 is scale (sum of x q - zero sum of x). */
#include "tile.h"

#define COUNT(a) ((int)(sizeof(a) / sizeof *(a)))

/* The shape for so many rows of x: of the direct ones the first that holds them, or the laid one that wastes least. */
static const shape *shape_for(int64_t rows) {
  for (int i = 0; i < COUNT(direct_shapes); i++)
    if (rows <= direct_shapes[i].rows) return direct_shapes + i;
  const shape *best = NULL;
  int64_t least = 0;
  for (int i = COUNT(laid_shapes) - 1; i >= 0; i--) {
    const shape *s = laid_shapes + i;
    /* a large tile does a row at less cost: 1/8 of a panel's vector loads, and of the loop, beside each row's */
    int64_t cost = (rows + s->rows - 1) / s->rows * (8 * s->rows + 5);
    if (!best || cost < least) best = s, least = cost;
  }
  return best;
}

static bool is_direct(const shape *s) { return s >= direct_shapes && s < direct_shapes + COUNT(direct_shapes); }

/* Writes the values of a block of a panel to `to`, [depth][panel_rows]. */
INLINE void expand(const sx_dtype dt, const uint8_t *w, int64_t depth, float *to) {
  const int unit = unit_of(dt);
  int64_t k = 0;
  for (; k + unit <= depth; k += unit, w += unit_bytes, to += unit * panel_rows)
    UNROLL for (int i = 0; i < unit; i++)
      UNROLL for (int v = 0; v < vecs; v++) STORE(to + i * panel_rows + v * vec_lanes, weights(dt, w, i, v));
  for (uint32_t mask = 15; k < depth; k++, to += panel_rows, mask <<= 4) {
    UNROLL for (int v = 0; v < vecs; v++)
      STORE(to + v * vec_lanes, dt == SX_I4 ? __builtin_convertvector((vi)(LOADU(w + v * VEC_BYTES) & mask), vf) : weights(dt, w, 0, v));
    w += dt == SX_F16 ? 2 * panel_rows : dt == SX_I8 || dt == SX_F8 ? panel_rows : 0;
  }
}

static __attribute__((noinline)) void expand_panel(sx_dtype dt, const uint8_t *w, int64_t depth, float *to) {
  switch (dt) {
    case SX_BF16: expand(SX_BF16, w, depth, to); break;
    case SX_F16: expand(SX_F16, w, depth, to); break;
    case SX_I8: expand(SX_I8, w, depth, to); break;
    case SX_F8: expand(SX_F8, w, depth, to); break;
    default: expand(SX_I4, w, depth, to);
  }
}

static int64_t min_of(int64_t a, int64_t b) { return a < b ? a : b; }

static int64_t blocks_of_i4(const sx_weight *w) { return w->dtype == SX_I4 ? w->cols / w->group * pieces_of_group(w) : 0; }

/* Sets where t's panels lie, those from t->panel on that are before `end`, and its block, from t->k on. */
static void find(tile_args *t, const shape *s, int64_t end) {
  const sx_weight *w = t->job->w;
  int64_t at;
  if (w->dtype == SX_I4) {
    int64_t group = t->k / w->group, inside = t->k - group * w->group;
    at = group * group_bytes(w->group) + inside / 8 * unit_bytes;
    t->depth = min_of(mat_depth, w->group - inside);
    t->piece = group * pieces_of_group(w) + inside / mat_depth;
    t->to_scales = ((w->group + 7) / 8 - inside / 8) * unit_bytes;
  } else {
    at = panel_offset(w->dtype, 0, t->k);
    t->depth = min_of(mat_depth, w->cols - t->k);
  }
  t->panels = min_of(s->panels, end - t->panel);
  for (int64_t p = 0; p < s->panels; p++) t->w[p] = t->packed[p] = w->packed + (t->panel + min_of(p, t->panels - 1)) * t->panel_size + at;
}

/* All rows at once: panels from end to end, as memory gives them. */
static void direct(const matmul_job *j, const shape *s, span at) {
  tile_args t = {.job = j, .r = at.r0, .rows = at.r1 - at.r0, .panel_size = panel_bytes(j->w), .pieces = blocks_of_i4(j->w)};
  for (t.panel = at.p0; t.panel < at.p1; t.panel += s->panels)
    for (t.k = 0; t.k < j->w->cols; t.k += t.depth) {
      find(&t, s, at.p1);
      t.x = j->laid + t.r * j->w->cols + t.k * s->rows;
      s->of[j->w->dtype](&t);
    }
}

/* The tiles of a block of some panels. What comes next in memory, `next` bytes for each panel, is asked for meanwhile. */
static void down(tile_args *t, const shape *s, span at, const uint8_t *const next[tile_panels], int64_t bytes) {
  const matmul_job *j = t->job;
  int64_t i = 0, each = (bytes + ahead_bytes - 1) / ahead_bytes;
  for (t->r = at.r0; t->r < at.r1; t->r += s->rows, i++) {
    t->rows = min_of(s->rows, at.r1 - t->r);
    t->x = j->laid + t->r * j->w->cols + t->k * s->rows;
    t->ahead = i < each * t->panels ? next[i / each] + i % each * ahead_bytes : (const uint8_t *)t->x;
    s->of[j->w->dtype](t);
  }
}

static __attribute__((noinline)) void over(const matmul_job *j, const shape *s, span at) {
  _Alignas(64) float values[2][mat_depth * panel_rows];
  tile_args t = {.job = j, .panel_size = panel_bytes(j->w), .pieces = blocks_of_i4(j->w)}, next = t;
  for (t.k = 0; t.k < j->w->cols; t.k += t.depth)
    for (t.panel = at.p0; t.panel < at.p1; t.panel += s->panels) {
      find(&t, s, at.p1);
      bool more = t.panel + s->panels < at.p1;
      next.panel = more ? t.panel + s->panels : at.p0;
      next.k = more ? t.k : t.k + t.depth < j->w->cols ? t.k + t.depth : t.k;
      find(&next, s, at.p1);
      for (int64_t p = 0; j->w->dtype != SX_F32 && p < s->panels; p++) {
        if (p < t.panels) expand_panel(j->w->dtype, t.packed[p], t.depth, values[p]);
        t.w[p] = (const uint8_t *)values[min_of(p, t.panels - 1)];
      }
      down(&t, s, at, next.packed, t.depth / unit_of(j->w->dtype) * unit_bytes);
    }
}

/* After the sums: scales of I8 and F8, whose values are 2^-8 of what they stand for, and the bias. */
static __attribute__((noinline)) void scale_and_bias(const matmul_job *j, span at) {
  const sx_weight *w = j->w;
  bool f8 = w->dtype == SX_F8, scaled = f8 || w->dtype == SX_I8;
  if (!scaled && !j->bias) return;
  for (int64_t r = at.r0; r < at.r1; r++)
    for (int64_t p = at.p0; p < at.p1; p++) {
      float *out = j->out.p + (r - j->first_row) * j->out.stride + (p - j->first_panel) * panel_rows;
      const float *scales = scaled ? panel_scales(w, p) : NULL, *bias = j->bias ? j->bias + p * panel_rows : NULL;
      int64_t n = min_of(panel_rows, w->rows - p * panel_rows);
      if (scaled)
        for (int64_t i = 0; i < n; i++) out[i] = (f8 ? out[i] * 256 : out[i]) * scales[i];
      if (bias)
        for (int64_t i = 0; i < n; i++) out[i] += bias[i];
    }
}

/* Without inputs there is no block: zeros and the bias. */
static void no_inputs(const matmul_job *j, const span *s) {
  for (int64_t r = s->r0; r < s->r1; r++)
    for (int64_t n = s->p0 * panel_rows; n < s->p1 * panel_rows && n < j->w->rows; n++)
      j->out.p[(r - j->first_row) * j->out.stride + n - j->first_panel * panel_rows] = j->bias ? j->bias[n] : 0;
}

/* at.r0 is a multiple of TILE_ROWS. */
static void isa_matmul(const matmul_job *j, span at) {
  const shape *s = shape_for(j->x.rows);
  if (j->w->cols == 0) {
    no_inputs(j, &at);
    return;
  }
  if (is_direct(s))
    direct(j, s, at);
  else
    over(j, s, at);
  scale_and_bias(j, at);
}

/* How many floats a job's rows take when they are laid out, and the sums of x over the blocks of I4. One row is laid out as it lies. */
static int64_t isa_laid_floats(const matmul_job *j) {
  int64_t tile = shape_for(j->x.rows)->rows;
  return j->x.rows == 1 && j->w->dtype != SX_I4 ? 0 : (j->x.rows + tile - 1) / tile * tile * j->x.cols;
}

static int64_t isa_sums_floats(const matmul_job *j) { return j->x.rows * blocks_of_i4(j->w); }

/* Inputs [k, k + 4) of 4 rows, beside one another from `to` on, where an input takes mr. */
INLINE void lay_4x4(const float *const *x, int64_t k, float *to, int64_t mr) {
  f4 a = *(const f4_any *)(x[0] + k), b = *(const f4_any *)(x[1] + k), c = *(const f4_any *)(x[2] + k), d = *(const f4_any *)(x[3] + k);
  f4 ab = __builtin_shuffle(a, b, (vi4){0, 4, 1, 5}), cd = __builtin_shuffle(c, d, (vi4){0, 4, 1, 5});
  f4 ab2 = __builtin_shuffle(a, b, (vi4){2, 6, 3, 7}), cd2 = __builtin_shuffle(c, d, (vi4){2, 6, 3, 7});
  *(f4_any *)to = __builtin_shuffle(ab, cd, (vi4){0, 1, 4, 5});
  *(f4_any *)(to + mr) = __builtin_shuffle(ab, cd, (vi4){2, 3, 6, 7});
  *(f4_any *)(to + 2 * mr) = __builtin_shuffle(ab2, cd2, (vi4){0, 1, 4, 5});
  *(f4_any *)(to + 3 * mr) = __builtin_shuffle(ab2, cd2, (vi4){2, 3, 6, 7});
}

/* Rows r to r + mr of x beside one another; those that are not there are zeros. */
static void lay_tile(const matmul_job *j, int64_t r, int64_t mr, float *to) {
  int64_t there = min_of(mr, j->x.rows - r), inputs = j->x.cols, i = 0;
  for (; i + 4 <= there; i += 4) {
    const float *x[4];
    int64_t k = 0;
    for (int n = 0; n < 4; n++) x[n] = j->x.p + (r + i + n) * j->x.stride;
    for (; k + 4 <= inputs; k += 4) lay_4x4(x, k, to + k * mr + i, mr);
    for (; k < inputs; k++)
      for (int n = 0; n < 4; n++) to[k * mr + i + n] = x[n][k];
  }
  for (; i + 2 <= there; i += 2) {
    const float *x = j->x.p + (r + i) * j->x.stride, *y = x + j->x.stride;
    for (int64_t k = 0; k < inputs; k++) to[k * mr + i] = x[k], to[k * mr + i + 1] = y[k];
  }
  if (mr == 1) memcpy(to, j->x.p + r * j->x.stride, (size_t)inputs * sizeof *to);
  for (; mr > 1 && i < mr; i++)
    for (int64_t k = 0; k < inputs; k++) to[k * mr + i] = i < there ? j->x.p[(r + i) * j->x.stride + k] : 0;
}

/* For I4: x divided by what v_i4 leaves in the codes. */
static void divide(const sx_weight *w, int64_t mr, float *laid) {
  static const float by[8] = {1, 0x1p-4f, 0x1p-8f, 0x1p-12f, 0x1p-16f, 0x1p-20f, 0x1p-24f, 1};
  if (mr == 1 && w->group % 8 == 0) {
    for (int64_t k = 0; k < w->cols; k += 8)
      for (int i = 0; i < 8; i++) laid[k + i] *= by[i];
    return;
  }
  for (int64_t g = 0; g < w->cols; g += w->group)
    for (int64_t k = 0; k < w->group; k++)
      for (int64_t i = 0; i < mr; i++) laid[(g + k) * mr + i] *= by[k % 8];
}

static float sum_of(const float *x, int64_t n) {
  v16 sum = v16_splat(0);
  for (int64_t k = 0; k < n; k += lanes) {
    v16 part = n - k >= lanes ? v16_load(x + k) : v16_part(x + k, n - k, 0);
    UNROLL for (int v = 0; v < vecs; v++) sum.v[v] = sum.v[v] + part.v[v];
  }
  return v16_sum(sum);
}

/* Writes rows [from, to) of x: from is a multiple of TILE_ROWS, to is one or the last row. The rows of a tile lie beside one another. */
static void isa_lay_out(const matmul_job *j, int64_t from, int64_t to, float *laid, float *sums) {
  int64_t mr = shape_for(j->x.rows)->rows, blocks = blocks_of_i4(j->w), pieces = blocks ? pieces_of_group(j->w) : 0;
  for (int64_t r = from; laid && r < to; r += mr) {
    lay_tile(j, r, mr, laid + r * j->x.cols);
    if (blocks) divide(j->w, mr, laid + r * j->x.cols);
  }
  for (int64_t r = from; r < to; r++)
    for (int64_t b = 0; b < blocks; b++) {
      int64_t in = b % pieces * mat_depth;
      sums[r * blocks + b] = sum_of(j->x.p + r * j->x.stride + b / pieces * j->w->group + in, min_of(mat_depth, j->w->group - in));
    }
}
