/* rows.h: the operations that go row by row. */

typedef double vd __attribute__((vector_size(VEC_BYTES), may_alias));
typedef float vf_half __attribute__((vector_size(VEC_BYTES / 2), may_alias, aligned(4)));

/* Squares are exact in double. */
INLINE double square_sum(const float *x, int64_t n) {
  enum { half = vec_lanes / 2 };
  double t[lanes];
  vd acc[2 * vecs] = {0};
  int64_t k = 0;
  for (; k + lanes <= n; k += lanes)
    UNROLL for (int i = 0; i < 2 * vecs; i++) {
      vd d = __builtin_convertvector(*(const vf_half *)(const void *)(x + k + i * half), vd);
      acc[i] += d * d;
    }
  memcpy(t, acc, sizeof t);
  for (int l = 0; k + l < n; l++) t[l] += (double)x[k + l] * x[k + l];
  return sum16(t);
}

INLINE void add_row(float *x, const float *add, int64_t n) {
  int64_t k = 0;
  for (; k + vec_lanes <= n; k += vec_lanes) STORE(x + k, LOAD(x + k) + LOAD(add + k));
  for (; k < n; k++) x[k] += add[k];
}

static void isa_rmsnorm(const norm_job *j, int64_t from, int64_t to) {
  int64_t n = j->x.cols;
  for (int64_t i = from; i < to; i++) {
    float *x = j->x.p + i * j->x.stride, *out = j->out.p + i * j->out.stride;
    const float *w = j->w;
    int64_t k = 0;
    if (j->add) add_row(x, j->add->p + i * j->add->stride, n);
    if (!w) continue;
    float scale = (float)(1 / sqrt(square_sum(x, n) / (double)n + (double)j->eps));
    for (; k + vec_lanes <= n; k += vec_lanes) STORE(out + k, LOAD(x + k) * SPLAT(scale) * LOAD(w + k));
    for (; k < n; k++) out[k] = x[k] * scale * w[k];
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
  int64_t half = dims / 2, step = interleaved ? 2 : 1, gap = interleaved ? 1 : half, i = 0;
  for (; !interleaved && i + vec_lanes <= half; i += vec_lanes) {
    vf c = LOAD(row + i), s = LOAD(row + i + half), x0 = LOAD(x + i), x1 = LOAD(x + i + half);
    STORE(out + i, x0 * c - x1 * s);
    STORE(out + i + half, x1 * c + x0 * s);
  }
  for (; i < half; i++) {
    float c = row[i], s = row[i + half], x0 = x[i * step], x1 = x[i * step + gap];
    out[i * step] = x0 * c - x1 * s;
    out[i * step + gap] = x1 * c + x0 * s;
  }
}

/* bf16_of_f32 of each lane. */
INLINE vu v_bf16(vf x) {
  vu u = (vu)x, nan = (vu)(x != x);
  return (((u + 0x7fff + (u >> 16 & 1)) & ~nan) | ((u | 0x400000) & nan)) >> 16;
}

/* Value i of x goes to place at + i * step of a page. */
INLINE void put_values(const bool bf16, const int step, uint8_t *page, int64_t at, const float *x, int64_t n) {
  float *f = (float *)(void *)page + at;
  uint16_t *h = (uint16_t *)(void *)page + at;
  int64_t i = 0;
  for (; i + vec_lanes <= n; i += vec_lanes) {
    vf v = LOAD(x + i);
    if (bf16) {
      uint16_t t[vec_lanes];
      vh_any b = __builtin_convertvector(v_bf16(v), vh_any);
      if (step == 1) *(vh_any *)(void *)(h + i) = b;
      if (step == 1) continue;
      memcpy(t, &b, sizeof t);
      UNROLL for (int l = 0; l < vec_lanes; l++) h[(i + l) * step] = t[l];
    } else if (step == 1) {
      STORE(f + i, v);
    } else {
      UNROLL for (int l = 0; l < vec_lanes; l++) f[(i + l) * step] = x[i + l];
    }
  }
  for (; i < n; i++) {
    if (bf16)
      h[i * step] = bf16_of_f32(x[i]);
    else
      f[i * step] = x[i];
  }
}

/* k and v of token t on their way into the page; `head` has room for one. */
INLINE void put_token(const bool bf16, const rope_job *j, uint8_t *page, int64_t t, place p, float *head) {
  const sx_kv_desc *d = &j->kv->d;
  const kv_shape shape = kv_shape_of(d);
  const float *row = j->table.p + p.pos * j->table.stride;
  int64_t slot = p.pos % d->page_size;
  for (int64_t h = 0; h < d->kv_heads; h++) {
    const float *k = j->k.p + t * j->k.stride + h * d->head_dim, *v = j->v.p + t * j->v.stride + h * d->head_dim;
    rotate(head, k, row, j->dims, j->interleaved);
    memcpy(head + j->dims, k + j->dims, (size_t)(d->head_dim - j->dims) * sizeof *head);
    round_head(d, head);
    put_values(bf16, lanes, page, h * shape.head_size + key_index(d, slot, 0), head, d->head_dim);
    if (d->round != SX_F32) {
      memcpy(head, v, (size_t)d->head_dim * sizeof *head);
      round_head(d, head);
      v = head;
    }
    put_values(bf16, 1, page, h * shape.head_size + shape.k_size + slot * shape.v_row, v, d->head_dim);
  }
}

static void isa_rope_kv(const rope_job *j, int64_t from, int64_t to, float *scratch) {
  const sx_kv_desc *d = &j->kv->d;
  for (int64_t t = from; t < to; t++) {
    place p = host_place(j->batch, t);
    uint8_t *page = host_page(j->kv, j->batch, j->layer, p.seq, p.pos);
    for (int64_t h = 0; h < j->q.cols; h += d->head_dim) {
      float *q = j->q.p + t * j->q.stride + h;
      rotate(q, q, j->table.p + p.pos * j->table.stride, j->dims, j->interleaved);
    }
    if (d->dtype == SX_BF16)
      put_token(true, j, page, t, p, scratch);
    else
      put_token(false, j, page, t, p, scratch);
  }
}
