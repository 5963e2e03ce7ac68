/* tile.h: the innermost part of matmul: some rows of x against some panels (pack.h) over one block of inputs. */

enum {
  unit_bytes = 64, /* of a panel, that a step of the loop reads */
  tile_panels = 8, /* of a tile, at most */
  most_sums = 24,  /* vectors of sums of a tile, at most */
  most_rows = 12,
};

typedef struct tile_args {
  const matmul_job *job;
  const uint8_t *w[tile_panels];      /* the block of each panel; one that is not there is any other */
  const uint8_t *packed[tile_panels]; /* the same as they are in the weight: I4's scales */
  const uint8_t *ahead;               /* what will be read next; a tile of laid rows asks for ahead_bytes of it */
  const float *x;                     /* [depth][rows of the tile] */
  int64_t depth;
  int64_t r, panel, k; /* where the tile begins, in x and w */
  int64_t rows, panels; /* so many are there */
  int64_t panel_size;    /* bytes from a panel to the next */
  int64_t piece, pieces; /* of I4: which of a row's blocks it is, of how many */
  int64_t to_scales;     /* of I4: from packed to the scales of the group, in bytes */
} tile_args;

enum { ahead_bytes = mat_depth / 2 * 64 };

#define LOADU(p) ((vu)LOAD(p))
#define AFRESH __asm__ volatile("" : : : "memory") /* what was read of memory is read again */

/* The codes of I4 at bits 4i, times 16^i but for the last. Where they lie they need no shift: lay_out divides x by as much. */
INLINE vf v_i4(const uint8_t *p, const int i) {
  if (i == 7) return __builtin_convertvector((vi)(LOADU(p) >> 28), vf);
  return __builtin_convertvector((vi)(LOADU(p) & 15u << 4 * i), vf);
}

/* The inputs in unit_bytes of a panel. */
INLINE int unit_of(const sx_dtype dt) { return dt == SX_F32 ? 1 : dt == SX_BF16 || dt == SX_F16 ? 2 : dt == SX_I4 ? 8 : 4; }

/* Outputs of vector v of a panel, for input i of the unit at p. */
INLINE vf weights(const sx_dtype dt, const uint8_t *p, const int i, const int v) {
  const int at = (i * panel_rows + v * vec_lanes);
  switch (dt) {
    case SX_F32: return LOAD(p + at * 4);
    case SX_BF16: return i ? (vf)(LOADU(p + v * VEC_BYTES) & 0xffff0000) : (vf)(LOADU(p + v * VEC_BYTES) << 16);
    case SX_F16: return v_f16(p + at * 2);
    case SX_I8: return __builtin_convertvector(WIDEN_I8(p + at), vf);
    case SX_F8: return v_f8(p + at);
    default: return v_i4(p + v * VEC_BYTES, i);
  }
}

/* acc += x w for input i of the unit at `at`. The fewer of the two are held in registers. */
INLINE void step(const sx_dtype dt, const int mr, const int np, const int i, const uint8_t *const *w, int64_t at, const float *x, vf *acc) {
  vf xs[most_rows], held[2];
  if (mr > np * vecs) {
    UNROLL for (int c = 0; c < np * vecs; c++) held[c] = weights(dt, w[c / vecs] + at, i, c % vecs);
    UNROLL for (int r = 0; r < mr; r++) {
      vf one = SPLAT(x[i * mr + r]);
      UNROLL for (int c = 0; c < np * vecs; c++) FMADD(acc[r * np * vecs + c], one, held[c]);
    }
    return;
  }
  UNROLL for (int r = 0; r < mr; r++) xs[r] = SPLAT(x[i * mr + r]);
  UNROLL for (int c = 0; c < np * vecs; c++) {
    vf ws = weights(dt, w[c / vecs] + at, i, c % vecs);
    UNROLL for (int r = 0; r < mr; r++) FMADD(acc[r * np * vecs + c], xs[r], ws);
  }
}

/* The inputs that fill no unit. */
INLINE void rest(const sx_dtype dt, const int mr, const int np, const tile_args *t, int64_t k, vf *acc) {
  const int64_t bytes = panel_rows * (dt == SX_F32 ? 4 : dt == SX_F16 ? 2 : dt == SX_BF16 || dt == SX_I4 ? 0 : 1);
  int64_t at = k / unit_of(dt) * unit_bytes;
  for (uint32_t mask = 15; k < t->depth; k++, at += bytes, mask <<= 4) {
    if (dt != SX_I4) {
      step(dt, mr, np, 0, t->w, at, t->x + k * mr, acc);
      continue;
    }
    UNROLL for (int c = 0; c < np * vecs; c++) {
      vf q = __builtin_convertvector((vi)(LOADU(t->w[c / vecs] + at + c % vecs * VEC_BYTES) & mask), vf);
      UNROLL for (int r = 0; r < mr; r++) FMADD(acc[r * np * vecs + c], SPLAT(t->x[k * mr + r]), q);
    }
  }
}

/* acc = the sums of the block. `laid`: the panels are values that lie in the cache. */
INLINE void dot(const sx_dtype dt, const int laid, const int mr, const int np, const tile_args *t, vf *acc) {
  const int unit = laid ? 2 : unit_of(dt), times = laid ? 2 : 1;
  const uint8_t *w[tile_panels], *ahead = t->ahead;
  const float *x = t->x;
  int64_t at = 0, k = 0;
  UNROLL for (int p = 0; p < np; p++) w[p] = t->w[p];
  UNROLL for (int i = 0; i < mr * np * vecs; i++) acc[i] = SPLAT(0);
  for (; k + unit <= t->depth; k += unit, at += times * unit_bytes, x += unit * mr) {
    if (laid) {
      __builtin_prefetch(ahead, 0, 2);
      ahead += 64;
    } else if (np < 4) { /* four streams the machine follows by itself, and then asking for more takes from them */
      UNROLL for (int p = 0; p < np; p++) __builtin_prefetch(w[p] + at + 1024);
    }
    UNROLL for (int i = 0; i < unit; i++) {
      step(dt, mr, np, i, w, at, x, acc);
      if (dt == SX_I4) AFRESH; /* or gcc keeps the codes in registers, and the sums in memory */
    }
  }
  if (k < t->depth) rest(dt, mr, np, t, k, acc);
}

/* For I4: the pieces that groups are cut into, each a block of its own. */
INLINE int64_t pieces_of_group(const sx_weight *w) { return (w->group + mat_depth - 1) / mat_depth; }

INLINE const float *sums_of(const tile_args *t) { return t->job->sums + t->r * t->pieces + t->piece; }

INLINE const float *scales_of(const tile_args *t, int p) { return (const float *)(const void *)(t->packed[p] + t->to_scales); }

/* The part of a block of I4 for one row, by its definition: where the sum of x is not finite, the other way has no meaning. */
static void piece_by_value(const tile_args *t, int64_t r, int p, float *sums) {
  const float *scales = scales_of(t, p), *zeros = scales + panel_rows, *x = t->job->x.p + (t->r + r) * t->job->x.stride + t->k;
  for (int64_t n = 0; n < panel_rows; n++) {
    sums[n] = 0;
    for (int64_t k = 0; k < t->depth; k++) {
      uint32_t codes;
      memcpy(&codes, t->packed[p] + (k / 8 * panel_rows + n) * 4, 4);
      sums[n] += x[k] * (((float)(codes >> k % 8 * 4 & 15) - zeros[n]) * scales[n]);
    }
  }
}

/* What a block of I4 adds to the outputs, given the sums of x q in acc. */
INLINE void scale_piece(const int mr, const int np, const tile_args *t, vf *acc) {
  const float *sums = sums_of(t);
  UNROLL for (int c = 0; c < np * vecs; c++) {
    const float *scales = scales_of(t, c / vecs) + c % vecs * vec_lanes;
    vf scale = LOAD(scales), zero = LOAD(scales + panel_rows);
    UNROLL for (int r = 0; r < mr; r++) {
      vf *a = acc + r * np * vecs + c;
      *a = scale * (*a - zero * SPLAT(sums[t->rows == mr ? r * t->pieces : 0]));
    }
  }
}

INLINE bool finite_sums(const tile_args *t) {
  const float *sums = sums_of(t);
  for (int64_t r = 0; r < t->rows; r++)
    if (!(fabsf(sums[r * t->pieces]) < INFINITY)) return false;
  return true;
}

INLINE float *out_of(const tile_args *t) {
  const matmul_job *j = t->job;
  return j->out.p + (t->r - j->first_row) * j->out.stride + (t->panel - j->first_panel) * panel_rows;
}

INLINE bool is_whole(const tile_args *t, const int mr, const int np) {
  return t->rows == mr && t->panels == np && (t->panel + np) * panel_rows <= t->job->w->rows;
}

/* Adds a block's sums of mr rows by np panels to the outputs that are there: the general way of what tile does. */
static __attribute__((noinline)) void finish(const tile_args *t, int np, float *all) {
  for (int64_t r = 0; r < t->rows; r++)
    for (int p = 0; p < t->panels; p++) {
      float *out = out_of(t) + r * t->job->out.stride + p * panel_rows, *sums = all + (r * np + p) * panel_rows;
      int64_t left = t->job->w->rows - (t->panel + p) * panel_rows;
      if (t->job->w->dtype == SX_I4) {
        float sum = sums_of(t)[r * t->pieces];
        const float *scales = scales_of(t, p), *zeros = scales + panel_rows;
        if (!(fabsf(sum) < INFINITY))
          piece_by_value(t, r, p, sums);
        else
          for (int n = 0; n < panel_rows; n++) sums[n] = scales[n] * (sums[n] - zeros[n] * sum);
      }
      for (int64_t n = 0; n < left && n < panel_rows; n++) out[n] = t->k > 0 ? out[n] + sums[n] : sums[n];
    }
}

INLINE void tile(const sx_dtype dt, const int laid, const int mr, const int np, const tile_args *t) {
  const bool i4 = dt == SX_I4;
  const int64_t stride = t->job->out.stride;
  float *out = out_of(t);
  vf acc[most_sums], sums[most_sums]; /* two, that the former never need lie in memory */
  bool whole = is_whole(t, mr, np) && (!i4 || finite_sums(t));
  if (whole && laid)
    UNROLL for (int r = 0; r < mr; r++) __builtin_prefetch(out + r * stride, 1);
  dot(i4 && laid ? SX_F32 : dt, laid, mr, np, t, acc);
  if (!whole) {
    UNROLL for (int i = 0; i < mr * np * vecs; i++) sums[i] = acc[i];
    finish(t, np, (float *)sums);
    return;
  }
  if (i4) scale_piece(mr, np, t, acc);
  if (t->k > 0)
    UNROLL for (int i = 0; i < mr * np * vecs; i++) acc[i] = LOAD(out + i / (np * vecs) * stride + i % (np * vecs) * vec_lanes) + acc[i];
  UNROLL for (int i = 0; i < mr * np * vecs; i++) STORE(out + i / (np * vecs) * stride + i % (np * vecs) * vec_lanes, acc[i]);
}

/* Panels of a tile: enough sums that additions need not wait for one another. */
#define VECTORS(mr) ((mr) == 1 ? 8 : (mr) == 2 ? 4 : 2)
#define NP(mr) (VECTORS(mr) > vecs ? VECTORS(mr) / vecs : 1)

typedef void tile_fn(const tile_args *);

/* One function for each, so that the compiler need not hold all of them in mind. */
#define TILE(name, dt, laid, mr) \
  static __attribute__((noinline)) void name##_##mr(const tile_args *t) { tile(dt, laid, mr, NP(mr), t); }
#define DIRECT(mr)               \
  TILE(direct_f32, SX_F32, 0, mr)   \
  TILE(direct_bf16, SX_BF16, 0, mr) \
  TILE(direct_f16, SX_F16, 0, mr)   \
  TILE(direct_i8, SX_I8, 0, mr)     \
  TILE(direct_i4, SX_I4, 0, mr)     \
  TILE(direct_f8, SX_F8, 0, mr)
#define LAID(mr)                \
  TILE(laid_f32, SX_F32, 1, mr) \
  TILE(laid_i4, SX_I4, 1, mr)
FOR_DIRECT(DIRECT)
FOR_LAID(LAID)

typedef struct shape {
  int64_t rows, panels;
  tile_fn *of[SX_F8 + 1]; /* by the format */
} shape;

#define DIRECT_SHAPE(mr) \
  {mr, NP(mr), {[SX_F32] = direct_f32_##mr, [SX_BF16] = direct_bf16_##mr, [SX_F16] = direct_f16_##mr, [SX_I8] = direct_i8_##mr, \
                [SX_I4] = direct_i4_##mr, [SX_F8] = direct_f8_##mr}},
#define LAID_SHAPE(mr) \
  {mr, NP(mr), {[SX_F32] = laid_f32_##mr, [SX_BF16] = laid_f32_##mr, [SX_F16] = laid_f32_##mr, [SX_I8] = laid_f32_##mr, \
                [SX_I4] = laid_i4_##mr, [SX_F8] = laid_f32_##mr}},

/* In ascending order of rows. One tile of a direct shape takes all rows and reads the panels as they are; where there are more rows, the
 * panels' values are written out once, and tiles of a laid shape go over them. */
static const shape direct_shapes[] = {FOR_DIRECT(DIRECT_SHAPE)}, laid_shapes[] = {FOR_LAID(LAID_SHAPE)};
