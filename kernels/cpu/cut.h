/* cut.h: how a matmul's rows are laid out and its outputs cut into items for the threads. Part of cpu.c. */

typedef struct laying {
  const matmul_job *job;
  float *laid, *sums;
} laying;

static void lay_part(void *arg, int64_t i, int thread) {
  const split *s = arg;
  const laying *l = s->job;
  (void)thread;
  s->c->isa->lay_out(l->job, i * s->step, part_end(s, i), l->laid, l->sums);
}

/* Brings the job's rows into the form that the build wants them in. */
static sx_status prepare(sx_device *d, matmul_job *j) {
  cpu *c = of(d);
  int64_t laid = c->isa->laid_floats(j), sums = c->isa->sums_floats(j);
  j->laid = j->x.p;
  if (laid + sums == 0) return SX_OK;
  sx_status status = grow(d, &c->shared, laid + sums);
  if (status != SX_OK) return status;
  laying l = {j, laid ? c->shared.p : NULL, c->shared.p + laid};
  if (laid) j->laid = l.laid;
  j->sums = l.sums;
  int64_t rows = j->x.cols > 0 ? grain / j->x.cols + 1 : j->x.rows;
  split s = {c, &l, j->x.rows, (rows + c->isa->tile_rows - 1) / c->isa->tile_rows * c->isa->tile_rows};
  run(&s, lay_part);
  return SX_OK;
}

/* A matmul's items: rows by panels. */
typedef struct grid {
  const cpu *c;
  const matmul_job *job;
  int64_t rows, panels;     /* of an item */
  int64_t columns_of_items; /* panels / item */
} grid;

static void matmul_part(void *arg, int64_t i, int thread) {
  const grid *g = arg;
  (void)thread;
  int64_t r = i / g->columns_of_items * g->rows, p = i % g->columns_of_items * g->panels, rows = g->job->x.rows, panels = panels_of(g->job->w);
  g->c->isa->matmul(g->job, (span){r, r + g->rows < rows ? r + g->rows : rows, p, p + g->panels < panels ? p + g->panels : panels});
}

/* Cuts a matmul up: few panels an item, so that they stay in the cache while the rows go by; fewer, and rows too, where threads would have
 * too little each. */
static grid cut(const cpu *c, const matmul_job *j) {
  enum { most = 4, pieces = 4 }; /* panels of an item; items a thread, so that a slow one holds up little */
  int64_t panels = panels_of(j->w), want = (int64_t)c->threads * pieces;
  grid g = {c, j, j->x.rows, panels, 1};
  if (c->threads == 1 || (double)j->x.rows * (double)j->x.cols * (double)j->w->rows < grain) return g;
  g.panels = panels / want < 1 ? 1 : panels / want > most ? most : panels / want;
  g.columns_of_items = (panels + g.panels - 1) / g.panels;
  int64_t cuts = want / g.columns_of_items, tile = c->isa->tile_rows;
  if (cuts > 1) g.rows = ((j->x.rows + cuts - 1) / cuts + tile - 1) / tile * tile;
  return g;
}

static sx_status k_matmul(sx_device *d, mat out, mat x, const sx_weight *w, const float *bias) {
  if (out.cols == 0) return SX_OK;
  for (int64_t r = 0; r < x.rows; r += mat_rows) {
    int64_t rows = x.rows - r < mat_rows ? x.rows - r : mat_rows;
    matmul_job job = {.out = {out.p + r * out.stride, rows, out.cols, out.stride}, .x = {x.p + r * x.stride, rows, x.cols, x.stride}, .w = w, .bias = bias};
    sx_status status = prepare(d, &job);
    if (status != SX_OK) return status;
    grid g = cut(of(d), &job);
    pool_run(of(d)->pool, matmul_part, &g, (rows + g.rows - 1) / g.rows * g.columns_of_items);
  }
  return SX_OK;
}
