/* matmul.h: out = x w^T over packed weights (pack.h). The order of a sum, the same for every M, N and machine: blocks of mat_depth inputs, or
 * of a group for I4; within a block inputs are multiplied and added in ascending order, from 0; blocks are added in order; then the scale
 * of I8 and F8; bias last. A group's part of
 * the sum is scale (sum of x q - zero sum of x). */

enum {
  tile_rows = TILE_ROWS,
  direct_rows = 3 * TILE_ROWS, /* so many rows of x are read where they lie */
  most_sums = 16,              /* vectors of sums of a tile */
};

typedef struct tile_args { /* rows of x against panels, over one block */
  const matmul_job *job;
  const uint8_t *w;
  const float *x;
  int64_t w_step; /* bytes from panel to panel */
  int64_t row, col; /* steps in x */
  int64_t depth;
  int64_t r, panel, k; /* where the block begins, in x and w */
} tile_args;

#define LOADU(p) ((vu)LOAD(p))

/* The codes of I4 at bits 4i. */
INLINE vf v_i4(vu x, const int i) { return __builtin_convertvector((vi)(x >> 4 * i & 15), vf); }

INLINE int unit_of(const sx_dtype dt) { return dt == SX_BF16 ? 2 : dt == SX_I4 ? 8 : 1; }

/* Outputs of vector v of a panel, for input i of the unit of inputs at p. */
INLINE vf weights(const sx_dtype dt, const uint8_t *p, const int i, const int v) {
  switch (dt) {
    case SX_F32: return LOAD(p + v * VEC_BYTES);
    case SX_BF16: return i ? (vf)(LOADU(p + v * VEC_BYTES) & 0xffff0000) : (vf)(LOADU(p + v * VEC_BYTES) << 16);
    case SX_F16: return v_f16(p + v * VEC_BYTES / 2);
    case SX_I8: return __builtin_convertvector(WIDEN_I8(p + v * VEC_BYTES / 4), vf);
    case SX_F8: return v_f8(p + v * VEC_BYTES / 4);
    default: return v_i4(LOADU(p + v * VEC_BYTES), i);
  }
}

/* acc += x w for input k + i, which is input i of the unit at w. */
INLINE void step(const sx_dtype dt, const int mr, const int np, const int i, const tile_args *t, const uint8_t *w, const float *x, vf *acc) {
  vf ws[8];
  UNROLL for (int c = 0; c < np * vecs; c++) ws[c] = weights(dt, w + c / vecs * t->w_step, i, c % vecs);
  UNROLL for (int r = 0; r < mr; r++) {
    vf xs = SPLAT(x[i * t->col + r * t->row]);
    UNROLL for (int c = 0; c < np * vecs; c++) FMADD(acc[r * np * vecs + c], xs, ws[c]);
  }
}

INLINE void dot(const sx_dtype dt, const int mr, const int np, const tile_args *t, vf *acc) {
  const int unit = unit_of(dt);
  const int64_t bytes = panel_offset(dt, 8, unit) - (dt == SX_I4 ? 8 * panel_rows : 0), col = t->col;
  const uint8_t *w = t->w;
  const float *x = t->x;
  int64_t k = 0;
  UNROLL for (int i = 0; i < mr * np * vecs; i++) acc[i] = SPLAT(0);
  for (; k + unit <= t->depth; k += unit, w += bytes, x += unit * col) {
    if (mr <= 3)
      UNROLL for (int p = 0; p < np; p++) __builtin_prefetch(w + p * t->w_step + 1024);
    UNROLL for (int i = 0; i < unit; i++) step(dt, mr, np, i, t, w, x, acc);
  }
  if (k < t->depth && dt == SX_BF16) step(dt, mr, np, 0, t, w, x, acc);
  if (dt != SX_I4) return;
  for (int i = 0; k + i < t->depth; i++)
    UNROLL for (int r = 0; r < mr; r++)
      UNROLL for (int c = 0; c < np * vecs; c++) {
        vf q = v_i4(LOADU(w + c / vecs * t->w_step + c % vecs * VEC_BYTES), i);
        FMADD(acc[r * np * vecs + c], SPLAT(x[i * col + r * t->row]), q);
      }
}

/* The part of a group of I4 for one row, by its definition: where the sum of x is not finite, the other way has no meaning. */
static void group_by_value(const tile_args *t, int64_t r, const uint8_t *w, float *sums) {
  const float *scales = (const float *)(const void *)(w + (t->depth + 7) / 8 * 4 * panel_rows), *zeros = scales + panel_rows;
  for (int64_t n = 0; n < panel_rows; n++) {
    sums[n] = 0;
    for (int64_t k = 0; k < t->depth; k++) {
      uint32_t codes;
      memcpy(&codes, w + (k / 8 * panel_rows + n) * 4, 4);
      sums[n] += t->x[r * t->row + k * t->col] * (((float)(codes >> k % 8 * 4 & 15) - zeros[n]) * scales[n]);
    }
  }
}

/* What a block of a group of I4 adds to the 16 outputs of row r in the panel at w, given the sums of x q. */
static void group_sum(const tile_args *t, int64_t r, const uint8_t *w, float *sums) {
  const float *scales = (const float *)(const void *)(w + (t->depth + 7) / 8 * 4 * panel_rows);
  float sum = t->job->sums[(t->r + r) * (t->job->w->cols / t->job->w->group) + t->k / t->job->w->group];
  if (!(fabsf(sum) < INFINITY)) {
    group_by_value(t, r, w, sums);
    return;
  }
  for (int v = 0; v < vecs; v++, scales += vec_lanes, sums += vec_lanes) {
    vf scale = LOAD(scales), zero = LOAD(scales + panel_rows);
    STORE(sums, scale * (LOAD(sums) - zero * SPLAT(sum)));
  }
}

/* Adds a block's sums to 16 outputs, or the first n of them. */
static void put(const tile_args *t, int64_t panel, float *out, int64_t n, const float *sums) {
  const matmul_job *j = t->job;
  v16 s = v16_load(sums);
  if (t->k > 0) {
    v16 old = n == panel_rows ? v16_load(out) : v16_part(out, n, 0);
    UNROLL for (int v = 0; v < vecs; v++) s.v[v] = old.v[v] + s.v[v];
  }
  if (t->k + t->depth == j->w->cols) {
    if (j->w->dtype == SX_I8 || j->w->dtype == SX_F8) {
      v16 scale = v16_load((const float *)(const void *)(j->w->packed + (panel + 1) * t->w_step - 4 * panel_rows));
      UNROLL for (int v = 0; v < vecs; v++) s.v[v] = s.v[v] * scale.v[v];
    }
    if (j->bias) {
      v16 bias = n == panel_rows ? v16_load(j->bias + panel * panel_rows) : v16_part(j->bias + panel * panel_rows, n, 0);
      UNROLL for (int v = 0; v < vecs; v++) s.v[v] = s.v[v] + bias.v[v];
    }
  }
  if (n == panel_rows)
    v16_store(out, s);
  else
    v16_store_part(out, s, n);
}

/* Brings the sums of a block, mr rows by np panels, to where they belong. Apart from tile, so that there is one of it. */
static __attribute__((noinline)) void finish(const tile_args *t, int mr, int np, float *sums) {
  const matmul_job *j = t->job;
  for (int r = 0; r < mr; r++)
    for (int p = 0; p < np; p++, sums += panel_rows) {
      int64_t panel = t->panel + p, left = j->w->rows - panel * panel_rows;
      float *out = j->out.p + (t->r + r - j->first_row) * j->out.stride + (panel - j->first_panel) * panel_rows;
      if (j->w->dtype == SX_I4) group_sum(t, r, t->w + p * t->w_step, sums);
      put(t, panel, out, left < panel_rows ? left : panel_rows, sums);
    }
}

INLINE void tile(const sx_dtype dt, const int mr, const int np, const tile_args *t) {
  vf acc[most_sums], sums[most_sums]; /* two, that the former never need lie in memory */
  dot(dt, mr, np, t, acc);
  UNROLL for (int i = 0; i < mr * np * vecs; i++) sums[i] = acc[i];
  finish(t, mr, np, (float *)sums);
}

/* Panels in hand at once: enough sums that additions need not wait for one another. */
#define NP(mr) ((mr) == 1 ? 8 / vecs : (mr) <= 3 ? (vecs > 2 ? 1 : 4 / vecs) : vecs == 1 ? 2 : 1)

/* mr rows against panels [t->panel, end) over the block of t. */
INLINE void tiles(const sx_dtype dt, const int mr, tile_args *t, int64_t end) {
  const uint8_t *w = t->w;
  const int64_t panel = t->panel;
  for (; t->panel + NP(mr) <= end; t->panel += NP(mr), t->w += NP(mr) * t->w_step) tile(dt, mr, NP(mr), t);
  for (; t->panel < end; t->panel++, t->w += t->w_step) tile(dt, mr, 1, t);
  t->w = w;
  t->panel = panel;
}

/* Rows [r0, r1) against panels [p0, p1). r0 is a multiple of tile_rows where x is laid out. */
INLINE void strip(const sx_dtype dt, const matmul_job *j, const span *s) {
  const sx_weight *w = j->w;
  int64_t inputs = w->cols, block = dt == SX_I4 ? w->group : mat_depth;
  tile_args t = {.job = j, .w_step = panel_bytes(w), .panel = s->p0};
  for (t.k = 0; t.k < inputs; t.k += block) {
    t.depth = inputs - t.k < block ? inputs - t.k : block;
    t.w = w->packed + s->p0 * t.w_step + panel_offset(dt, w->group, t.k);
    for (t.r = s->r0; t.r < s->r1; t.r += tile_rows) {
      int64_t mr = s->r1 - t.r < tile_rows ? s->r1 - t.r : tile_rows;
      t.x = j->laid ? j->laid + t.r * inputs + t.k * mr : j->x.p + t.r * j->x.stride + t.k;
      t.row = j->laid ? 1 : j->x.stride;
      t.col = j->laid ? mr : 1;
      switch (mr) {
        case 1: tiles(dt, 1, &t, s->p1); break;
        case 2: tiles(dt, 2, &t, s->p1); break;
#if TILE_ROWS > 2
        case 3: tiles(dt, 3, &t, s->p1); break;
#endif
#if TILE_ROWS > 3
        case 4: tiles(dt, 4, &t, s->p1); break;
        case 5: tiles(dt, 5, &t, s->p1); break;
        case 6: tiles(dt, 6, &t, s->p1); break;
#endif
#if TILE_ROWS > 6
        case 7: tiles(dt, 7, &t, s->p1); break;
        case 8: tiles(dt, 8, &t, s->p1); break;
#endif
      }
    }
  }
}

/* One function for each format, so that the compiler need not hold all of them in mind. */
#define STRIP(name, dt) \
  static __attribute__((noinline)) void name(const matmul_job *j, const span *s) { strip(dt, j, s); }
STRIP(strip_f32, SX_F32)
STRIP(strip_bf16, SX_BF16)
STRIP(strip_f16, SX_F16)
STRIP(strip_i8, SX_I8)
STRIP(strip_i4, SX_I4)
STRIP(strip_f8, SX_F8)

/* Without inputs there is no block: zeros and the bias. */
static void no_inputs(const matmul_job *j, const span *s) {
  for (int64_t r = s->r0; r < s->r1; r++)
    for (int64_t n = s->p0 * panel_rows; n < s->p1 * panel_rows && n < j->w->rows; n++)
      j->out.p[(r - j->first_row) * j->out.stride + n - j->first_panel * panel_rows] = j->bias ? j->bias[n] : 0;
}

static void isa_matmul(const matmul_job *j, span s) {
  if (j->w->cols == 0) {
    no_inputs(j, &s);
    return;
  }
  switch (j->w->dtype) {
    case SX_F32: strip_f32(j, &s); break;
    case SX_BF16: strip_bf16(j, &s); break;
    case SX_F16: strip_f16(j, &s); break;
    case SX_I8: strip_i8(j, &s); break;
    case SX_F8: strip_f8(j, &s); break;
    default: strip_i4(j, &s); break;
  }
}

/* How many floats a job's rows take when they are laid out, and the sums of their groups. */
static int64_t isa_laid_floats(const matmul_job *j) { return j->x.rows <= direct_rows ? 0 : j->x.rows * j->x.cols; }

static int64_t isa_sums_floats(const matmul_job *j) { return j->w->dtype == SX_I4 ? j->x.rows * (j->w->cols / j->w->group) : 0; }

/* Writes rows [from, to) of x: from is a multiple of tile_rows, to is one or the last row. The rows of a tile lie beside one another. */
static void isa_lay_out(const matmul_job *j, int64_t from, int64_t to, float *laid, float *sums) {
  int64_t inputs = j->x.cols, groups = j->w->dtype == SX_I4 ? inputs / j->w->group : 0;
  for (int64_t r = from; laid && r < to; r += tile_rows) {
    int64_t mr = to - r < tile_rows ? to - r : tile_rows;
    float *at = laid + r * inputs;
    for (int64_t k = 0; k < inputs; k++)
      for (int64_t i = 0; i < mr; i++) *at++ = j->x.p[(r + i) * j->x.stride + k];
  }
  for (int64_t r = from; r < to; r++)
    for (int64_t g = 0; g < groups; g++) {
      const float *x = j->x.p + r * j->x.stride + g * j->w->group;
      v16 sum = v16_splat(0);
      for (int64_t k = 0; k < j->w->group; k += lanes) {
        int64_t n = j->w->group - k;
        v16 part = n >= lanes ? v16_load(x + k) : v16_part(x + k, n, 0);
        UNROLL for (int v = 0; v < vecs; v++) sum.v[v] = sum.v[v] + part.v[v];
      }
      sums[r * groups + g] = v16_sum(sum);
    }
}
