/* calibrate.h: how the statistics of calibration, and the rounding of activations, are split among threads. Part of cpu.c. */

static void colstats_part(void *arg, int64_t i, int thread) {
  const split *s = arg;
  (void)thread;
  s->c->isa->colstats(s->job, i * s->step, part_end(s, i));
}

static sx_status k_colstats(sx_device *d, float *max, float *sum, float *square, mat x) {
  stats_job job = {x, max, sum, square};
  int64_t step = x.rows > 0 ? grain / x.rows : x.cols;
  step = step < 64 ? 64 : round16(step); /* a row's part is some lines of the cache */
  split s = {of(d), &job, x.rows > 0 ? x.cols : 0, step};
  run(&s, colstats_part);
  return SX_OK;
}

static void hessian_lay_part(void *arg, int64_t i, int thread) {
  const split *s = arg;
  (void)thread;
  s->c->isa->hessian_lay(s->job, i);
}

/* Adds a block of sums to h at [r0, c0), turned over the diagonal if `turned`. */
static void add_block(mat h, int64_t r0, int64_t c0, const float *sums, bool turned) {
  int64_t rows = h.rows - r0 < hessian_block ? h.rows - r0 : hessian_block, cols = h.cols - c0 < hessian_block ? h.cols - c0 : hessian_block;
  for (int64_t a = 0; a < rows; a++) {
    float *to = h.p + (r0 + a) * h.stride + c0;
    if (turned)
      for (int64_t b = 0; b < cols; b++) to[b] += sums[b * hessian_block + a];
    else
      for (int64_t b = 0; b < cols; b++) to[b] += sums[a * hessian_block + b];
  }
}

/* Item i is a pair of blocks of columns, the first not after the second. x^T x is symmetric to the bit, since a b is b a; h need not be. */
static void hessian_part(void *arg, int64_t i, int thread) {
  const split *s = arg;
  const hessian_job *j = s->job;
  int64_t cols = 0;
  while (i > cols) i -= ++cols;
  float *sums = scratch_of(s->c, thread);
  s->c->isa->hessian(j, i, cols, sums);
  add_block(j->h, i * hessian_block, cols * hessian_block, sums, false);
  if (i < cols) add_block(j->h, cols * hessian_block, i * hessian_block, sums, true);
}

static sx_status k_hessian(sx_device *d, mat h, mat x) {
  cpu *c = of(d);
  int64_t blocks = (x.cols + hessian_block - 1) / hessian_block, depth = x.rows < hessian_depth ? x.rows : hessian_depth, values;
  if (x.rows == 0 || x.cols == 0) return SX_OK;
  if (!size_mul(2 * blocks * hessian_block, depth, &values)) return fail(d, SX_NOMEM, "no memory for %" PRId64 " columns", x.cols);
  sx_status status = grow(d, &c->shared, values);
  if (status == SX_OK) status = reserve(d, hessian_block * hessian_block);
  if (status != SX_OK) return status;
  for (int64_t r = 0; r < x.rows; r += depth) {
    hessian_job job = {.h = h, .x = {x.p + r * x.stride, x.rows - r < depth ? x.rows - r : depth, x.cols, x.stride, x.dtype},
                       .panels = c->shared.p, .tiles = c->shared.p + values / 2};
    split lay = {c, &job, blocks, 1}, multiply = {c, &job, blocks * (blocks + 1) / 2, 1};
    run(&lay, hessian_lay_part);
    run(&multiply, hessian_part);
  }
  return SX_OK;
}

static void round_part(void *arg, int64_t i, int thread) {
  const split *s = arg;
  (void)thread;
  s->c->isa->round(s->job, i * s->step, part_end(s, i));
}

static sx_status k_round(sx_device *d, mat out, mat x, const sx_round_desc *r) {
  round_job job = {out, x, r};
  split s = split_rows(d, &job, x);
  run(&s, round_part);
  return SX_OK;
}
