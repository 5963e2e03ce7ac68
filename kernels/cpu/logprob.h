/* logprob.h: the logits of one chunk of the vocabulary, and what is kept of them. */

/* The chunk's part for one row of n logits; l has room for n rounded up to 16, which this fills with -inf. */
static part summarize(float *l, int64_t n, int64_t first) {
  part p = {0, -INFINITY, 0};
  v16 top = v16_splat(-INFINITY);
  double acc[lanes] = {0};
  for (int64_t i = n; i < round16(n); i++) l[i] = -INFINITY;
  for (int64_t i = 0; i < n; i += lanes) {
    v16 x = v16_load(l + i);
    UNROLL for (int v = 0; v < vecs; v++) top.v[v] = v_max(x.v[v], top.v[v]); /* NaN leaves top as it is */
  }
  p.max = v16_max(top);
  while (p.best < n && l[p.best] != p.max) p.best++;
  if (p.best == n) { /* NaN alone */
    p = (part){NAN, NAN, (int32_t)first};
    return p;
  }
  for (int64_t i = 0; i < n; i += lanes) {
    float t[lanes];
    v16 x = v16_load(l + i);
    if (isinf(p.max)) { /* count the greatest; NaN must stay */
      for (int k = 0; k < lanes; k++) t[k] = i + k < n && l[i + k] == p.max ? 1 : l[i + k] != l[i + k] ? NAN : 0;
    } else {
      UNROLL for (int v = 0; v < vecs; v++) x.v[v] = v_exp(x.v[v] - SPLAT(p.max));
      v16_store(t, x);
    }
    UNROLL for (int k = 0; k < lanes; k++) acc[k] += t[k];
  }
  p.best += (int32_t)first;
  p.sum = sum16(acc);
  return p;
}

static void isa_logprob(const logprob_job *j, int64_t chunk, float *logits) {
  enum { panels = vocab_chunk / panel_rows };
  const sx_weight *w = j->mat.w;
  int64_t first = chunk * vocab_chunk, n = w->rows - first < vocab_chunk ? w->rows - first : vocab_chunk, all = panels_of(w);
  for (int64_t r0 = 0; r0 < j->mat.x.rows; r0 += logprob_rows) {
    int64_t r1 = j->mat.x.rows - r0 < logprob_rows ? j->mat.x.rows : r0 + logprob_rows;
    span s = {r0, r1, chunk * panels, (chunk + 1) * panels < all ? (chunk + 1) * panels : all};
    matmul_job m = j->mat;
    m.out = (mat){logits, r1 - r0, n, vocab_chunk, SX_F32};
    m.first_row = r0;
    m.first_panel = s.p0;
    j->matmul(&m, s);
    for (int64_t r = r0; r < r1; r++) {
      float *l = logits + (r - r0) * vocab_chunk;
      for (int64_t t = j->start[r]; t < j->start[r + 1]; t++)
        if (j->ids[t] >= first && j->ids[t] < first + n) j->target[t] = l[j->ids[t] - first];
      j->parts[r * j->chunks + chunk] = summarize(l, n, first);
    }
  }
}
