/* stats.h: statistics of calibration. A column's sums are made over blocks of mat_depth rows, from the first of the call on, and then added
 * to what was there: the same for every split among threads and every width of vectors. */

/* Columns [from, to) of the job; from: a multiple of lanes. */
static void isa_colstats(const stats_job *j, int64_t from, int64_t to) {
  for (int64_t k = from; k < to; k += lanes) {
    int64_t n = to - k < lanes ? to - k : lanes;
    v16 max = v16_part(j->max + k, n, 0), sum = v16_splat(0), square = sum;
    for (int64_t block = 0; block < j->x.rows; block += mat_depth) {
      int64_t end = j->x.rows - block < mat_depth ? j->x.rows : block + mat_depth;
      v16 s = v16_splat(0), q = s;
      for (int64_t r = block; r < end; r++) {
        const float *x = j->x.p + r * j->x.stride + k;
        v16 v = n == lanes ? v16_load(x) : v16_part(x, n, 0);
        UNROLL for (int i = 0; i < vecs; i++) {
          vf a = (vf)((vu)v.v[i] & 0x7fffffff);
          max.v[i] = v_max(a, max.v[i]);
          s.v[i] = s.v[i] + a;
          q.v[i] = FMA(a, a, q.v[i]);
        }
      }
      UNROLL for (int i = 0; i < vecs; i++) sum.v[i] = sum.v[i] + s.v[i], square.v[i] = square.v[i] + q.v[i];
    }
    v16 was = v16_part(j->sum + k, n, 0), were = v16_part(j->square + k, n, 0);
    UNROLL for (int i = 0; i < vecs; i++) { /* max passes NaN over; a sum of magnitudes is NaN only if one of them is */
      max.v[i] = (vf)((vu)max.v[i] | (vu)(sum.v[i] != sum.v[i]));
      was.v[i] = was.v[i] + sum.v[i], were.v[i] = were.v[i] + square.v[i];
    }
    v16_store_part(j->max + k, max, n);
    v16_store_part(j->sum + k, was, n);
    v16_store_part(j->square + k, were, n);
  }
}

static const shape *hessian_shape(void) { return laid_shapes + COUNT(laid_shapes) - 1; }

/* Block `block` of the columns, hessian_block of them: once as panels [depth][16], which are a tile's weights, and once as tiles
 * [depth][rows of a tile], which are its rows. What is not there is zeros. */
static void isa_hessian_lay(const hessian_job *j, int64_t block) {
  const int64_t mr = hessian_shape()->rows, first = block * hessian_block, left = j->x.cols - first, depth = j->x.rows;
  _Alignas(64) float row[hessian_block] = {0};
  for (int64_t r = 0; r < depth; r++) {
    memcpy(row, j->x.p + r * j->x.stride + first, (size_t)min_of(left, hessian_block) * sizeof *row);
    for (int64_t c = 0; c < hessian_block; c += panel_rows) memcpy(j->panels + (first + c) * depth + r * panel_rows, row + c, panel_rows * sizeof *row);
    for (int64_t c = 0; c < hessian_block; c += mr) memcpy(j->tiles + (first + c) * depth + r * mr, row + c, (size_t)mr * sizeof *row);
  }
}

/* to[a][b] = the sums of columns a of block `rows` times columns b of block `cols`, by the tiles of matmul: hessian_block values a row. */
static void isa_hessian(const hessian_job *j, int64_t rows, int64_t cols, float *to) {
  const shape *s = hessian_shape();
  const int64_t depth = j->x.rows, r0 = rows * hessian_block, r1 = min_of(r0 + hessian_block, j->x.cols);
  const int64_t p0 = cols * (hessian_block / panel_rows), p1 = min_of(p0 + hessian_block / panel_rows, (j->x.cols + panel_rows - 1) / panel_rows);
  sx_weight w = {.dtype = SX_F32, .rows = j->x.cols, .cols = depth};
  matmul_job job = {.out = {.p = to, .stride = hessian_block}, .w = &w, .first_row = r0, .first_panel = p0};
  tile_args t = {.job = &job};
  for (t.k = 0; t.k < depth; t.k += t.depth) {
    t.depth = min_of(mat_depth, depth - t.k);
    for (t.panel = p0; t.panel < p1; t.panel += s->panels) {
      t.panels = min_of(s->panels, p1 - t.panel);
      for (int64_t p = 0; p < s->panels; p++)
        t.w[p] = (const uint8_t *)(j->panels + ((t.panel + min_of(p, t.panels - 1)) * depth + t.k) * panel_rows);
      for (t.r = r0; t.r < r1; t.r += s->rows) {
        t.rows = min_of(s->rows, r1 - t.r);
        t.x = j->tiles + t.r * depth + t.k * s->rows;
        t.ahead = (const uint8_t *)(t.x + s->rows * depth); /* the next tile of rows */
        s->of[SX_F32](&t);
      }
    }
  }
}
