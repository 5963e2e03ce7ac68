/* tiles.h: out = x w^T by tiles, for weights whose values, or codes, are numbers of bf16: bf16 and i8. The order of a sum, the same for every M and
 * N: inputs in steps of 32; a step's products with the first plane of x (planes.h), then with the next planes; of each, the even inputs and
 * the odd ones summed apart, those two added, and then to the sum. The scale and the bias come last. So sums may lie in memory between
 * blocks of inputs, which are cut for the sake of the caches alone.
 *
 * x is laid out in tiles of 16 rows by 32 inputs, 1 KiB each (the last rows have smaller ones), a step's planes one behind another. */
#include "planes.h"
#include "tile_unit.h"

enum {
  tile_m = 16,
  block_cols = 512, /* of two panels so many inputs take 32 KiB: they stay in the first cache while the rows go by */
  unit_panels = 4,  /* in hand at once */
  tile_bytes = 1024,
};

typedef struct tile_work { /* rows against panels, over one block of inputs */
  const uint8_t *x[2];     /* of 16 rows and the next 16: tiles */
  int64_t x_step[2];       /* from tile to tile, in bytes */
  const uint8_t *w[unit_panels];
  int64_t steps;           /* of 32 inputs, at w */
  const uint8_t *tail;     /* one more, of all panels; NULL: none */
  float *sums[2][unit_panels];
  int64_t sums_step[unit_panels]; /* from row to row, in bytes */
  bool first;                     /* the sums begin with 0 */
} tile_work;

/* How tiles are used: 0 to 3 are sums; with 32 rows 4 and 5 are x, 6 and 7 panels; with 16 rows 4 to 6 are the planes of x, 7 a panel. */
static void configure(int rows0, int rows1) {
  tile_config c = {.palette = 1};
  for (int t = 0; t < 8; t++) c.row_bytes[t] = 64;
  for (int t = 0; t < 8; t++) c.rows[t] = (uint8_t)(rows1 == 0 ? (t == 7 ? 16 : rows0) : t >= 6 ? 16 : t == 2 || t == 3 || t == 5 ? rows1 : rows0);
  TILE_CONFIG(&c);
}

/* One step of 32 inputs. */
INLINE void tile_step(const int planes, const int na, const int np, const uint8_t *const *w, const uint8_t *x0, const uint8_t *x1,
                      const int64_t *step) {
  if (na == 2) {
    TILE_LOAD(6, w[0], 64);
    if (np > 1) TILE_LOAD(7, w[1], 64);
    UNROLL for (int s = 0; s < planes; s++, x0 += step[0], x1 += step[1]) {
      TILE_LOAD(4, x0, 64);
      TILE_DOT(0, 4, 6);
      if (np > 1) TILE_DOT(1, 4, 7);
      TILE_LOAD(5, x1, 64);
      TILE_DOT(2, 5, 6);
      if (np > 1) TILE_DOT(3, 5, 7);
    }
    return;
  }
  TILE_LOAD(4, x0, 64);
  if (planes > 1) {
    TILE_LOAD(5, x0 + step[0], 64);
    TILE_LOAD(6, x0 + 2 * step[0], 64);
  }
#define TILE_PANEL(p)                  \
  if (np > p) {                        \
    TILE_LOAD(7, w[p], 64);            \
    TILE_DOT(p, 4, 7);                 \
    if (planes > 1) TILE_DOT(p, 5, 7); \
    if (planes > 1) TILE_DOT(p, 6, 7); \
  }
  TILE_PANEL(0)
  TILE_PANEL(1)
  TILE_PANEL(2)
  TILE_PANEL(3)
#undef TILE_PANEL
}

#define TILE_SUMS(t, a, p)                                                \
  if (na > a && np > p) {                                                 \
    if (load && k->first) TILE_ZERO(t);                                   \
    else if (load) TILE_LOAD(t, k->sums[a][p], k->sums_step[p]);          \
    else TILE_STORE(t, k->sums[a][p], k->sums_step[p]);                   \
  }

INLINE void tile_sums(const int na, const int np, const bool load, const tile_work *k) {
  TILE_SUMS(0, 0, 0)
  TILE_SUMS(1, 0, 1)
  if (na == 2) {
    TILE_SUMS(2, 1, 0)
    TILE_SUMS(3, 1, 1)
  } else {
    TILE_SUMS(2, 0, 2)
    TILE_SUMS(3, 0, 3)
  }
}

INLINE void tile_block(const int planes, const int na, const int np, const tile_work *k) {
  const uint8_t *x0 = k->x[0], *x1 = k->x[1], *w[unit_panels];
  UNROLL for (int p = 0; p < np; p++) w[p] = k->w[p];
  tile_sums(na, np, true, k);
  for (int64_t i = 0; i < k->steps; i++) {
    if (na == 1) /* few rows: the weights come from memory */
      UNROLL for (int p = 0; p < np; p++) UNROLL for (int l = 0; l < tile_bytes; l += 64) __builtin_prefetch(w[p] + 4 * tile_bytes + l);
    tile_step(planes, na, np, w, x0, x1, k->x_step);
    x0 += planes * k->x_step[0];
    x1 += planes * k->x_step[1];
    UNROLL for (int p = 0; p < np; p++) w[p] += tile_bytes;
  }
  if (k->tail) {
    UNROLL for (int p = 0; p < np; p++) w[p] = k->tail + p * tile_bytes;
    tile_step(planes, na, np, w, x0, x1, k->x_step);
  }
  tile_sums(na, np, false, k);
}

INLINE void tile_shape(const int planes, int na, int np, const tile_work *k) {
  if (na == 2 && np == 2) tile_block(planes, 2, 2, k);
  else if (na == 2) tile_block(planes, 2, 1, k);
  else if (np == 4) tile_block(planes, 1, 4, k);
  else if (np == 3) tile_block(planes, 1, 3, k);
  else if (np == 2) tile_block(planes, 1, 2, k);
  else tile_block(planes, 1, 1, k);
}

/* The bits of 16 outputs' codes for one input, as f32: the upper half of them says all. */
INLINE vu code_values(const uint8_t *p) { return (vu)__builtin_convertvector(WIDEN_I8(p), vf); }

/* The codes of a panel of i8 as pairs of bf16, filled up with zeros to whole steps. */
static void widen_codes(const uint8_t *codes, int64_t n, uint8_t *to) {
  int64_t k = 0;
  for (; k + 2 <= n; k += 2, to += VEC_BYTES)
    STORE(to, (vf)(code_values(codes + k * panel_rows) >> 16 | code_values(codes + (k + 1) * panel_rows)));
  if (k < n) {
    STORE(to, (vf)(code_values(codes + k * panel_rows) >> 16));
    k += 2, to += VEC_BYTES;
  }
  for (; k < plane_cols(n); k += 2, to += VEC_BYTES) STORE(to, SPLAT(0));
}

typedef struct wide_panels { /* what of a block of panels is not read in place */
  _Alignas(64) uint8_t tail[unit_panels][tile_bytes], codes[unit_panels][block_cols * 2 * panel_rows];
} wide_panels;

/* Brings the block at k of panels [panel, panel + np) into k's hands. */
static void take_panels(const matmul_job *j, int64_t panel, int np, int64_t at, int64_t depth, wide_panels *s, tile_work *k) {
  int64_t step = panel_bytes(j->w);
  k->steps = j->w->dtype == SX_BF16 ? depth / plane_values : plane_cols(depth) / plane_values;
  k->tail = j->w->dtype == SX_BF16 && depth % plane_values ? s->tail[0] : NULL;
  for (int p = 0; p < np; p++) {
    const uint8_t *w = j->w->packed + (panel + p) * step + panel_offset(j->w->dtype, 0, at);
    if (j->w->dtype == SX_I8) widen_codes(w, depth, s->codes[p]);
    k->w[p] = j->w->dtype == SX_BF16 ? w : s->codes[p];
    if (!k->tail) continue;
    int64_t pairs = (depth % plane_values + 1) / 2;
    memcpy(s->tail[p], w + k->steps * tile_bytes, (size_t)pairs * 64);
    memset(s->tail[p] + pairs * 64, 0, (size_t)(tile_bytes - pairs * 64));
  }
}

/* Rows [r, r + n) against the panels in hand. A last panel that is cut short has its sums apart while it is worked on. */
INLINE void tile_rows_of(const int planes, const matmul_job *j, tile_work *k, int64_t r, int64_t n, int64_t panel, int np, bool last) {
  _Alignas(64) float edge[2 * tile_m][panel_rows];
  float *out = j->out.p + (r - j->first_row) * j->out.stride + (panel - j->first_panel) * panel_rows;
  int64_t left = j->w->rows - (panel + np - 1) * panel_rows, cut = left < panel_rows ? np - 1 : np;
  for (int p = 0; p < np; p++) {
    k->sums_step[p] = p == cut ? 64 : j->out.stride * 4;
    for (int a = 0; a < 2; a++) k->sums[a][p] = p == cut ? edge[a * tile_m] : out + a * tile_m * j->out.stride + p * panel_rows;
  }
  if (cut < np && !k->first)
    for (int64_t i = 0; i < n; i++) memcpy(edge[i], out + i * j->out.stride + cut * panel_rows, (size_t)left * 4);
  tile_shape(planes, n > tile_m ? 2 : 1, np, k);
  for (int64_t i = 0; last && (j->bias || j->w->dtype == SX_I8) && i < n; i++) {
    for (int p = 0; p < cut; p++) settle(j, panel + p, panel_rows, out + i * j->out.stride + p * panel_rows);
    if (cut < np) settle(j, panel + cut, left, edge[i]);
  }
  if (cut < np)
    for (int64_t i = 0; i < n; i++) memcpy(out + i * j->out.stride + cut * panel_rows, edge[i], (size_t)left * 4);
}

/* Some panels of a span, `many` in hand at once. */
INLINE void tile_group(const int planes, const matmul_job *j, const span *s, int many) {
  wide_panels wide;
  tile_work k;
  int64_t inputs = j->w->cols, row_bytes = plane_cols(inputs) * planes * 2;
  int have0 = 0, have1 = 0;
  for (int64_t at = 0; at < inputs; at += block_cols) {
    int64_t depth = inputs - at < block_cols ? inputs - at : block_cols;
    k.first = at == 0;
    for (int64_t panel = s->p0; panel < s->p1; panel += many) {
      int np = s->p1 - panel < many ? (int)(s->p1 - panel) : many;
      take_panels(j, panel, np, at, depth, &wide, &k);
      for (int64_t r = s->r0; r < s->r1; r += 2 * tile_m) {
        int64_t n = s->r1 - r < 2 * tile_m ? s->r1 - r : 2 * tile_m, m0 = n < tile_m ? n : tile_m, m1 = n - m0;
        if (m0 != have0 || m1 != have1) configure(have0 = (int)m0, have1 = (int)m1);
        for (int a = 0; a < 2; a++) {
          k.x_step[a] = (a ? m1 : m0) * 64;
          k.x[a] = (const uint8_t *)j->laid + (r + a * m0) * row_bytes + at / plane_values * planes * k.x_step[a];
        }
        tile_rows_of(planes, j, &k, r, n, panel, np, at + depth == inputs);
      }
    }
  }
}

/* s.r0 is a multiple of 16, s.r1 too or the end. With many rows, those of a block of inputs and the sums of a group of panels stay in the
 * second cache; with few, the weights of as many panels as are in hand go by from end to end. */
INLINE void tile_span(const int planes, const matmul_job *j, span s) {
  enum { group = 8 };
  bool few = s.r1 - s.r0 <= tile_m;
  int64_t step = few ? unit_panels : group;
  for (int64_t end = s.p1; s.p0 < end; s.p0 += step) {
    s.p1 = s.p0 + step < end ? s.p0 + step : end;
    tile_group(planes, j, &s, few ? unit_panels : 2);
  }
  TILE_RELEASE();
}

/* Writes rows [from, to) of x, in groups of 16. */
INLINE void tile_lay_out(const int planes, const matmul_job *j, int64_t from, int64_t to, uint16_t *laid) {
  int64_t inputs = j->x.cols;
  for (int64_t r = from; r < to; r++) {
    int64_t group = r / tile_m * tile_m, m = j->x.rows - group < tile_m ? j->x.rows - group : tile_m;
    uint16_t *at = laid + group * plane_cols(inputs) * planes + (r - group) * plane_values;
    const float *x = j->x.p + r * j->x.stride;
    for (int64_t k = 0; k < plane_cols(inputs); k += plane_values, at += planes * m * plane_values)
      for (int64_t h = 0; h < plane_values; h += lanes) {
        int64_t n = inputs - k - h;
        vu p[3];
        to_planes(planes, n >= lanes ? LOAD(x + k + h) : v16_part(x + k + h, n, 0).v[0], p);
        UNROLL for (int s = 0; s < planes; s++) store_halves(at + s * m * plane_values + h, p[s]);
      }
  }
}

static bool by_tiles(const matmul_job *j) { return j->w->cols > 0 && (j->w->dtype == SX_BF16 || j->w->dtype == SX_I8); }

/* The functions of a build; other weights go the way of the build without units. */
#define TILE_FUNCTIONS(name, planes)                                                                                     \
  static int64_t name##_laid_floats(const matmul_job *j) {                                                               \
    return by_tiles(j) ? j->x.rows * plane_cols(j->x.cols) * (planes) / 2 : isa_laid_floats(j);                          \
  }                                                                                                                      \
  static void name##_lay_out(const matmul_job *j, int64_t from, int64_t to, float *laid, float *sums) {                  \
    if (by_tiles(j)) tile_lay_out(planes, j, from, to, (uint16_t *)(void *)laid);                                        \
    else isa_lay_out(j, from, to, laid, sums);                                                                           \
  }                                                                                                                      \
  static __attribute__((noinline)) void name##_span(const matmul_job *j, span s) { tile_span(planes, j, s); }     \
  static void name##_matmul(const matmul_job *j, span s) {                                                               \
    if (by_tiles(j)) name##_span(j, s);                                                                                  \
    else isa_matmul(j, s);                                                                                               \
  }
TILE_FUNCTIONS(tiles_exact, 3)
TILE_FUNCTIONS(tiles_plain, 1)
