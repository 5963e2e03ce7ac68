/* quantize.h: the operations of calibration and of rounding activations. Part of front.h. */

/* A tensor [1, cols] of f32. */
static sx_status f32_row(sx_device *d, const char *name, const sx_tensor *t, int64_t cols, mat *out) {
  CHECK(view(d, name, t, out));
  if (out->dtype == SX_F32 && out->rows == 1 && out->cols == cols) return SX_OK;
  return fail(d, SX_INVALID, "%s is " DIMS " of dtype %" PRId32 ", want [1, %" PRId64 "] f32", name, SHAPE(out), out->dtype, cols);
}

static sx_status op_colstats(sx_device *d, sx_stream *st, const sx_tensor *max, const sx_tensor *sum, const sx_tensor *square, const sx_tensor *x) {
  mat m, to[3];
  const sx_tensor *out[3] = {max, sum, square};
  static const char *const names[3] = {"max", "sum", "square"};
  BEGIN(d, st);
  CHECK(view(d, "x", x, &m));
  for (int i = 0; i < 3; i++) {
    CHECK(f32_row(d, names[i], out[i], m.cols, &to[i]));
    CHECK(disjoint(d, to[i], m, "x"));
    for (int j = 0; j < i; j++) CHECK(disjoint(d, to[i], to[j], names[j]));
  }
  return k_colstats(d, to[0].p, to[1].p, to[2].p, m);
}

static sx_status op_hessian(sx_device *d, sx_stream *st, const sx_tensor *h, const sx_tensor *x) {
  mat o, m;
  BEGIN(d, st);
  CHECK(view(d, "h", h, &o));
  CHECK(view(d, "x", x, &m));
  if (o.dtype != SX_F32 || o.rows != m.cols || o.cols != m.cols)
    return fail(d, SX_INVALID, "h is " DIMS " of dtype %" PRId32 ", x is " DIMS ": want h f32 and as wide and high as x is wide", SHAPE(&o), o.dtype, SHAPE(&m));
  CHECK(disjoint(d, o, m, "x"));
  return k_hessian(d, o, m);
}

static sx_status op_round(sx_device *d, sx_stream *st, const sx_tensor *out, const sx_tensor *x, const sx_round_desc *r) {
  mat o, m;
  BEGIN(d, st);
  if (!r) return fail(d, SX_INVALID, "the description is missing");
  CHECK(view(d, "out", out, &o));
  CHECK(view(d, "x", x, &m));
  CHECK(same_shape(d, "out", o, "x", m));
  if (r->to != SX_I8 && r->to != SX_F8) return fail(d, SX_INVALID, "rounding to dtype %" PRId32 ": want i8 or f8", r->to);
  if (!(r->scale >= 0) || r->scale > 3.4028235e38f || r->group < 0)
    return fail(d, SX_INVALID, "scale %g, groups of %" PRId64 ": want a finite scale > 0 for all or 0, and 0 or more inputs in a group", (double)r->scale, r->group);
  if (!same(o, m)) CHECK(disjoint(d, o, m, "x"));
  if (o.rows == 0 || o.cols == 0) return SX_OK;
  sx_round_desc how = *r;
  if (how.group == 0 || how.group > m.cols) how.group = m.cols;
  return k_round(d, o, m, &how);
}
