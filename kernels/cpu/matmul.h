/* matmul.h: out = x w^T. The order of a sum over K, the same for every M, N and machine: blocks of mat_depth inputs; within a block
 * input k goes to lane k % 16 by multiply-add, in ascending order; the lanes are added as a tree; blocks are added in order; bias last. */

typedef struct panel { /* a block of matmul in hand: rows m0.., columns n0.. of out, depth inputs (a multiple of 16) */
  const float *x;
  const uint8_t *w; /* f32, or bf16 in place */
  bool bf16;
  int64_t depth, ldx, ldw;
  int64_t m0, n0;
  bool first, last; /* of the blocks over K */
} panel;

/* Dot products of mr rows of x with nr rows of w over depth inputs (a multiple of 16). w: f32, or bf16 as it is stored. mr, nr and bf16
 * are constants where this is inlined. */
INLINE void dot_tile(const int mr, const int nr, const bool bf16, const panel *p, int64_t i0, int64_t j0, float *sums) {
  const float *x = p->x + i0 * p->ldx;
  const uint8_t *w = p->w + j0 * p->ldw * (bf16 ? 2 : 4);
  const int64_t depth = p->depth, ldx = p->ldx, ldw = p->ldw;
  v16 acc[TILE_ROWS * (TILE_COLS > 4 ? TILE_COLS : 4)];
  UNROLL for (int t = 0; t < mr * nr; t++) acc[t] = v16_splat(0);
  for (int64_t k = 0; k < depth; k += lanes) {
    UNROLL for (int v = 0; v < vecs; v++) {
      vf xs[TILE_ROWS];
      UNROLL for (int i = 0; i < mr; i++) {
        xs[i] = LOAD(x + i * ldx + k + v * vec_lanes);
        KEEP(xs[i]);
      }
      UNROLL for (int j = 0; j < nr; j++) {
        int64_t at = j * ldw + k + v * vec_lanes;
        vf ws = bf16 ? LOAD_BF16(w + 2 * at) : LOAD(w + 4 * at);
        UNROLL for (int i = 0; i < mr; i++) acc[i * nr + j].v[v] = FMA(xs[i], ws, acc[i * nr + j].v[v]);
      }
    }
  }
  UNROLL for (int t = 0; t < mr * nr; t++) sums[t] = v16_sum(acc[t]);
}

/* Adds the tile at row i, column j of the panel into out. */
INLINE void tile(const int mr, const int nr, const bool bf16, const matmul_job *job, const panel *p, int64_t i, int64_t j) {
  float sums[TILE_ROWS * (TILE_COLS > 4 ? TILE_COLS : 4)];
  dot_tile(mr, nr, bf16, p, i, j, sums);
  UNROLL for (int a = 0; a < mr; a++) {
    float *to = job->out.p + (p->m0 + i + a) * job->out.stride + p->n0 + j;
    UNROLL for (int b = 0; b < nr; b++) {
      float s = p->first ? sums[a * nr + b] : to[b] + sums[a * nr + b];
      to[b] = p->last && job->bias ? s + job->bias[job->first + p->n0 + j + b] : s;
    }
  }
}

/* mr rows at i against all cols of the panel, nr at a time. */
INLINE void tile_row(const int mr, const int nr, const bool bf16, const matmul_job *job, const panel *p, int64_t i, int64_t cols) {
  int64_t j = 0;
  for (; j + nr <= cols; j += nr) tile(mr, nr, bf16, job, p, i, j);
  for (; j < cols; j++) tile(mr, 1, bf16, job, p, i, j);
}

static void panel_rows(const matmul_job *job, const panel *p, int64_t rows, int64_t cols) {
  int64_t i = 0;
  if (p->bf16) {
    for (; i < rows; i++) tile_row(1, 4, true, job, p, i, cols);
    return;
  }
  for (; i + TILE_ROWS <= rows; i += TILE_ROWS) tile_row(TILE_ROWS, TILE_COLS, false, job, p, i, cols);
  for (; i < rows; i++) tile_row(1, 4, false, job, p, i, cols);
}

/* rows x n values at x, each row filled up with zeros to a multiple of 16, close together. */
static void pack(float *restrict to, const float *x, int64_t stride, int64_t rows, int64_t n) {
  int64_t depth = round16(n);
  for (int64_t i = 0; i < rows; i++, to += depth) {
    memcpy(to, x + i * stride, (size_t)n * 4);
    memset(to + n, 0, (size_t)(depth - n) * 4);
  }
}

/* The block of p, rows x cols, over the inputs [k0, k0 + n). Weights are read in place where they are f32 already, or bf16 for a few
 * rows; else they are made f32 in ws first. */
static void matmul_block(const matmul_job *job, panel *p, int64_t rows, int64_t cols, int64_t k0, int64_t n, float *ws) {
  enum { few = 2 };
  const sx_weight *w = job->w;
  int64_t at = job->first + p->n0;
  p->bf16 = w->dtype == SX_BF16 && rows <= few && n == p->depth;
  bool direct = p->bf16 || (w->dtype == SX_F32 && n == p->depth);
  p->w = direct ? w->data + (p->bf16 ? 2 : 4) * (at * w->cols + k0) : (const uint8_t *)(const void *)ws;
  p->ldw = direct ? w->cols : p->depth;
  p->first = k0 == 0;
  p->last = k0 + n == w->cols;
  for (int64_t j = 0; !direct && j < cols; j++) {
    dequant(ws + j * p->depth, w, at + j, k0, n);
    for (int64_t k = n; k < p->depth; k++) ws[j * p->depth + k] = 0;
  }
  panel_rows(job, p, rows, cols);
}

static int64_t at_most(int64_t n, int64_t limit) { return n < limit ? n : limit; }

/* Few rows: the weights are what is read, each row of them from end to end. */
static void matmul_thin(const matmul_job *job, int64_t n0, int64_t n1, float *xs, float *ws) {
  int64_t rows = job->x.rows, inputs = job->x.cols, whole = inputs - inputs % mat_depth;
  if (inputs > whole || inputs == 0) pack(xs, job->x.p + whole, job->x.stride, rows, inputs - whole);
  for (int64_t n = n0; n < n1; n += mat_cols) {
    int64_t k = 0;
    do { /* once even when there are no inputs: the sum of nothing is 0 */
      panel p = {.x = job->x.p + k, .depth = mat_depth, .ldx = job->x.stride, .n0 = n};
      if (k == whole) p.x = xs, p.depth = p.ldx = round16(inputs - whole);
      matmul_block(job, &p, rows, at_most(n1 - n, mat_cols), k, at_most(inputs - k, mat_depth), ws);
    } while ((k += mat_depth) < inputs);
  }
}

/* Many rows: a block of x stays near while the weights go by. */
static void matmul_thick(const matmul_job *job, int64_t n0, int64_t n1, float *xs, float *ws) {
  int64_t inputs = job->x.cols;
  for (int64_t m = 0; m < job->x.rows; m += mat_rows) {
    int64_t rows = at_most(job->x.rows - m, mat_rows), k = 0;
    do {
      int64_t n = at_most(inputs - k, mat_depth);
      panel p = {.x = xs, .depth = round16(n), .ldx = round16(n), .m0 = m};
      pack(xs, job->x.p + m * job->x.stride + k, job->x.stride, rows, n);
      for (p.n0 = n0; p.n0 < n1; p.n0 += mat_cols) matmul_block(job, &p, rows, at_most(n1 - p.n0, mat_cols), k, n, ws);
    } while ((k += mat_depth) < inputs);
  }
}

static void isa_matmul(const matmul_job *job, int64_t n0, int64_t n1, float *scratch) {
  enum { thin = 16 };
  (job->x.rows <= thin ? matmul_thin : matmul_thick)(job, n0, n1, scratch, scratch + mat_rows * mat_depth);
}
