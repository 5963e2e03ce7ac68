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

static void isa_logprob(const logprob_job *j, int64_t chunk, float *scratch) {
  int64_t first = chunk * vocab_chunk, n = j->w->rows - first < vocab_chunk ? j->w->rows - first : vocab_chunk;
  float *logits = scratch + mat_scratch;
  for (int64_t m0 = 0; m0 < j->x.rows; m0 += mat_rows) {
    int64_t rows = j->x.rows - m0 < mat_rows ? j->x.rows - m0 : mat_rows;
    mat x = {j->x.p + m0 * j->x.stride, rows, j->x.cols, j->x.stride};
    matmul_job m = {.out = {logits, rows, n, vocab_chunk}, .x = x, .w = j->w, .first = first};
    isa_matmul(&m, 0, n, scratch);
    for (int64_t i = 0; i < rows; i++) {
      int64_t r = m0 + i, want = j->target ? j->targets[r] - first : -1;
      if (want >= 0 && want < n) j->target[r] = logits[i * vocab_chunk + want];
      j->parts[r * j->chunks + chunk] = summarize(logits + i * vocab_chunk, n, first);
    }
  }
}
