/* rows.h: the operations that go row by row. */

INLINE double square_sum(const float *x, int64_t n) {
  double acc[lanes] = {0};
  int64_t k = 0;
  for (; k + lanes <= n; k += lanes)
    UNROLL for (int l = 0; l < lanes; l++) acc[l] += (double)x[k + l] * x[k + l];
  for (int l = 0; k + l < n; l++) acc[l] += (double)x[k + l] * x[k + l];
  return sum16(acc);
}

static void isa_rmsnorm(const norm_job *j, int64_t from, int64_t to) {
  int64_t n = j->x.cols;
  for (int64_t i = from; i < to; i++) {
    float *x = j->x.p + i * j->x.stride, *out = j->out.p + i * j->out.stride;
    const float *w = j->w, *add = j->add ? j->add->p + i * j->add->stride : NULL;
    for (int64_t k = 0; add && k < n; k++) x[k] += add[k];
    float scale = (float)(1 / sqrt(square_sum(x, n) / (double)n + (double)j->eps));
    for (int64_t k = 0; k < n; k++) out[k] = x[k] * scale * w[k];
  }
}

static void isa_swiglu(const gate_job *j, int64_t from, int64_t to) {
  for (int64_t i = from; i < to; i++) {
    const float *gate = j->gate.p + i * j->gate.stride, *up = j->up.p + i * j->up.stride;
    float *out = j->out.p + i * j->out.stride;
    for (int64_t k = 0; k < j->out.cols; k += lanes) {
      int64_t n = j->out.cols - k;
      v16 g = n >= lanes ? v16_load(gate + k) : v16_part(gate + k, n, 0);
      v16 u = n >= lanes ? v16_load(up + k) : v16_part(up + k, n, 0);
      UNROLL for (int v = 0; v < vecs; v++) g.v[v] = g.v[v] / (SPLAT(1.0f) + v_exp(-g.v[v])) * u.v[v];
      if (n >= lanes)
        v16_store(out + k, g);
      else
        v16_store_part(out + k, g, n);
    }
  }
}

/* Rotates the first dims of a head by a row of the table; out may be x. */
INLINE void rotate(float *out, const float *x, const float *row, int64_t dims, bool interleaved) {
  int64_t half = dims / 2, step = interleaved ? 2 : 1, gap = interleaved ? 1 : half;
  for (int64_t i = 0; i < half; i++) {
    float c = row[i], s = row[i + half], x0 = x[i * step], x1 = x[i * step + gap];
    out[i * step] = x0 * c - x1 * s;
    out[i * step + gap] = x1 * c + x0 * s;
  }
}

static void put_row(const sx_kv *kv, uint8_t *page, int64_t at, const float *x, int64_t n, int64_t step) {
  if (kv->d.dtype == SX_F32) {
    float *to = (float *)(void *)page + at;
    for (int64_t i = 0; i < n; i++) to[i * step] = x[i];
  } else {
    uint16_t *to = (uint16_t *)(void *)page + at;
    for (int64_t i = 0; i < n; i++) to[i * step] = bf16_of_f32(x[i]);
  }
}

/* One head of k, rotated on its way into the cache in pieces, so that no head is too long. */
static void put_key(const rope_job *j, uint8_t *page, int64_t at, const float *x, const float *row) {
  int64_t half = j->dims / 2, step = j->interleaved ? 2 : 1, gap = j->interleaved ? 1 : half;
  for (int64_t i = 0; i < half; i++) {
    float c = row[i], s = row[i + half], x0 = x[i * step], x1 = x[i * step + gap];
    float lo = x0 * c - x1 * s, hi = x1 * c + x0 * s;
    put_row(j->kv, page, at + i * step * lanes, &lo, 1, lanes);
    put_row(j->kv, page, at + (i * step + gap) * lanes, &hi, 1, lanes);
  }
  put_row(j->kv, page, at + j->dims * lanes, x + j->dims, j->kv->d.head_dim - j->dims, lanes);
}

static void isa_rope_kv(const rope_job *j, int64_t from, int64_t to) {
  const sx_kv_desc *d = &j->kv->d;
  kv_shape shape = kv_shape_of(d);
  for (int64_t t = from; t < to; t++) {
    place p = host_place(j->batch, t);
    uint8_t *page = host_page(j->kv, j->batch, j->layer, p.seq, p.pos);
    const float *row = j->table.p + p.pos * j->table.stride;
    int64_t slot = p.pos % d->page_size;
    for (int64_t h = 0; h < j->q.cols; h += d->head_dim) {
      float *q = j->q.p + t * j->q.stride + h;
      rotate(q, q, row, j->dims, j->interleaved);
    }
    for (int64_t h = 0; h < d->kv_heads; h++) {
      int64_t at = h * d->head_dim;
      put_key(j, page, h * shape.head_size + key_index(d, slot, 0), j->k.p + t * j->k.stride + at, row);
      put_row(j->kv, page, h * shape.head_size + shape.k_size + slot * shape.v_row, j->v.p + t * j->v.stride + at, d->head_dim, 1);
    }
  }
}
