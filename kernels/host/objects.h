/* objects.h: the objects of a backend but weights (weights.h): made, checked, freed. Part of front.h. */

static sx_status op_open(const sx_open_opts *opts, sx_device **out, char *why, size_t why_bytes) {
  sx_open_opts none = {0, 0};
  if (!out) return SX_INVALID;
  *out = NULL;
  sx_device *d = calloc(1, sizeof *d);
  if (!d) {
    if (why && why_bytes) snprintf(why, why_bytes, "no memory for a device");
    return SX_NOMEM;
  }
  sx_status s = k_open(d, opts ? opts : &none);
  if (s != SX_OK) {
    if (why && why_bytes) snprintf(why, why_bytes, "%s", d->message);
    free(d);
    return s;
  }
  *out = d;
  return SX_OK;
}

static void op_close(sx_device *d) {
  if (!d) return;
  k_close(d);
  free(d);
}

static const char *op_message(const sx_device *d) { return d ? d->message : "no device"; }

static sx_status op_info(sx_device *d, sx_info *out) {
  if (!d) return SX_INVALID;
  if (!out) return fail(d, SX_INVALID, "nowhere to put the information");
  memset(out, 0, sizeof *out);
  k_machine(d, out);
  out->narrow = k_takes(SX_BF16);
  out->pieces = k_pieces();
  out->rounds_kv = k_rounds_kv();
  snprintf(out->layout, sizeof out->layout, "%s", k_layout());
  k_info(d, out);
  return SX_OK;
}

static sx_status op_stream_new(sx_device *d, sx_stream **out) {
  if (!d || !out) return SX_INVALID;
  *out = NULL;
  sx_stream *st = calloc(1, sizeof *st);
  if (!st) return fail(d, SX_NOMEM, "no memory for a stream");
  st->dev = d;
  sx_status s = k_stream_new(d, st);
  if (s != SX_OK) {
    free(st);
    return s;
  }
  *out = st;
  return SX_OK;
}

static void op_stream_free(sx_device *d, sx_stream *st) {
  if (!st) return;
  k_stream_free(d, st);
  if (d->stream == st) d->stream = NULL;
  free(st);
}

/* The beginning of an operation on a stream; `recorded`: it may be one of a recording. */
static sx_status enter(sx_device *d, sx_stream *st, bool recorded) {
  if (!st || st->dev != d) return fail(d, SX_INVALID, "the stream is %s", st ? "another device's" : "missing");
  d->stream = st;
  if (d->recording && !recorded) return fail(d, SX_INVALID, "this operation needs the host: it cannot be recorded");
  if (d->recording && d->recording->stream != st) return fail(d, SX_INVALID, "another stream is being recorded");
  return SX_OK;
}

static sx_status op_stream_sync(sx_device *d, sx_stream *st) {
  if (!d) return SX_INVALID;
  sx_status s = enter(d, st, false);
  return s == SX_OK ? k_sync(d) : s;
}

/* The failure to make something, with the reason that the message has. It gives s. */
__attribute__((format(printf, 3, 4))) static sx_status unmade(sx_device *d, sx_status s, const char *format, ...) {
  char why[sizeof d->message];
  va_list args;
  memcpy(why, d->message, sizeof why);
  va_start(args, format);
  int at = snprintf(d->message, sizeof d->message, "%s", s == SX_NOMEM ? "no memory for " : "making ");
  at += vsnprintf(d->message + at, sizeof d->message - (size_t)at, format, args);
  va_end(args);
  if (at < (int)sizeof d->message) snprintf(d->message + at, sizeof d->message - (size_t)at, ": %s", why);
  return s;
}

static sx_status op_buffer_new(sx_device *d, int64_t bytes, sx_buffer **out) {
  if (!d || !out) return SX_INVALID;
  *out = NULL;
  if (bytes < 0) return fail(d, SX_INVALID, "a buffer of %" PRId64 " bytes", bytes);
  sx_buffer *b = calloc(1, sizeof *b);
  sx_status s = b ? k_alloc(d, bytes, true, &b->data, &b->raw) : fail(d, SX_NOMEM, "the host has none");
  if (s != SX_OK) {
    free(b);
    return unmade(d, s, "a buffer of %" PRId64 " bytes", bytes);
  }
  b->dev = d;
  b->bytes = bytes;
  *out = b;
  return SX_OK;
}

static void op_buffer_free(sx_device *d, sx_buffer *b) {
  if (b) k_free(d, b->raw);
  free(b);
}

static sx_status check_span(sx_device *d, sx_stream *st, const sx_buffer *b, int64_t offset, const void *host, int64_t bytes) {
  sx_status s = enter(d, st, false);
  if (s != SX_OK) return s;
  if (!b || b->dev != d) return fail(d, SX_INVALID, "the buffer is %s", b ? "another device's" : "missing");
  if (offset < 0 || bytes < 0 || offset > b->bytes || bytes > b->bytes - offset || (bytes > 0 && !host))
    return fail(d, SX_INVALID, "%" PRId64 " bytes at %" PRId64 " of a buffer of %" PRId64 "%s", bytes, offset, b->bytes, host ? "" : ", from nowhere");
  return SX_OK;
}

static sx_status op_upload(sx_device *d, sx_stream *st, sx_buffer *dst, int64_t offset, const void *src, int64_t bytes) {
  if (!d) return SX_INVALID;
  sx_status s = check_span(d, st, dst, offset, src, bytes);
  return s == SX_OK && bytes > 0 ? k_put(d, dst->data + offset, src, bytes) : s;
}

static sx_status op_download(sx_device *d, sx_stream *st, void *dst, const sx_buffer *src, int64_t offset, int64_t bytes) {
  if (!d) return SX_INVALID;
  sx_status s = check_span(d, st, src, offset, dst, bytes);
  return s == SX_OK && bytes > 0 ? k_get(d, dst, src->data + offset, bytes) : s;
}

static sx_status op_copy(sx_device *d, sx_stream *st, sx_buffer *dst, int64_t at, const sx_buffer *src, int64_t from, int64_t bytes) {
  if (!d) return SX_INVALID;
  if (!src) return fail(d, SX_INVALID, "there is no buffer to copy from");
  sx_status s = check_span(d, st, dst, at, src->data, bytes);
  if (s != SX_OK) return s;
  if (from < 0 || from > src->bytes || bytes > src->bytes - from)
    return fail(d, SX_INVALID, "%" PRId64 " bytes at %" PRId64 " of a buffer of %" PRId64 " to copy from", bytes, from, src->bytes);
  if (dst == src && at < from + bytes && from < at + bytes) return fail(d, SX_INVALID, "%" PRId64 " bytes are copied onto themselves", bytes);
  return bytes > 0 ? k_copy(d, dst->data + at, src->dev, src->data + from, bytes) : SX_OK;
}

static void op_kv_free(sx_device *d, sx_kv *kv) {
  if (kv) k_free(d, kv->raw);
  free(kv);
}

#define KV_FMT "a kv cache of %" PRId32 " layers, %" PRId32 " kv heads of %" PRId32 ", %" PRId32 " pages of %" PRId32 " positions, dtype %" PRId32 " rounded to %" PRId32
#define KV_ARGS(k) (k)->layers, (k)->kv_heads, (k)->head_dim, (k)->pages, (k)->page_size, (k)->dtype, (k)->round

static sx_status op_kv_new(sx_device *d, const sx_kv_desc *desc, sx_kv **out) {
  int64_t page = 0, layer = 0, all = 0;
  if (!d || !out) return SX_INVALID;
  *out = NULL;
  if (!desc) return fail(d, SX_INVALID, "the description is missing");
  if (desc->layers < 0 || desc->pages < 0 || desc->kv_heads <= 0 || desc->head_dim <= 0 || desc->page_size <= 0 ||
      !k_caches(desc->dtype) || (desc->round != SX_F32 && desc->round != SX_I8 && desc->round != SX_F8))
    return fail(d, SX_INVALID, KV_FMT, KV_ARGS(desc));
  if (desc->round != SX_F32 && !k_rounds_kv()) return fail(d, SX_UNSUPPORTED, KV_FMT ": this backend rounds no keys and values", KV_ARGS(desc));
  if (!k_page_bytes(desc, &page) || !size_mul(page, desc->pages, &layer) || !size_mul(layer, desc->layers, &all))
    return fail(d, SX_INVALID, KV_FMT ": its size overflows", KV_ARGS(desc));
  sx_kv *kv = calloc(1, sizeof *kv);
  sx_status s = kv ? k_alloc(d, all, true, &kv->data, &kv->raw) : fail(d, SX_NOMEM, "the host has none");
  if (s != SX_OK) {
    free(kv);
    return unmade(d, s, "%" PRId64 " bytes of " KV_FMT, all, KV_ARGS(desc));
  }
  kv->dev = d;
  kv->d = *desc;
  kv->serial = ++d->serials;
  kv->page_bytes = page;
  kv->layer_bytes = layer;
  *out = kv;
  return SX_OK;
}

static sx_status op_kv_copy(sx_device *d, sx_stream *st, sx_kv *kv, int32_t dst, int32_t src, int32_t positions) {
  if (!d) return SX_INVALID;
  sx_status s = enter(d, st, true);
  if (s != SX_OK) return s;
  if (!kv || kv->dev != d) return fail(d, SX_INVALID, "the kv cache is %s", kv ? "another device's" : "missing");
  if (dst < 0 || dst >= kv->d.pages || src < 0 || src >= kv->d.pages || positions < 0 || positions > kv->d.page_size)
    return fail(d, SX_INVALID, "%" PRId32 " positions from page %" PRId32 " to page %" PRId32 " of %" PRId32 " pages of %" PRId32 " positions", positions,
                src, dst, kv->d.pages, kv->d.page_size);
  return dst == src ? SX_OK : k_kv_copy(d, kv, dst, src, positions);
}

static void op_batch_free(sx_device *d, sx_batch *b) {
  if (!b) return;
  k_batch_free(d, b);
  free(b->q_start);
  free(b);
}

static sx_status check_batch(sx_device *d, const sx_batch_desc *b) {
  if (!b || b->seqs < 0 || b->max_pages < 0 || !b->q_start || (b->seqs > 0 && (!b->kv_len || (b->max_pages > 0 && !b->pages))))
    return fail(d, SX_INVALID, "the description or an array of it is missing, or a count is negative");
  if (b->q_start[0] != 0) return fail(d, SX_INVALID, "q_start[0] = %" PRId32 ", want 0", b->q_start[0]);
  for (int32_t s = 0; s < b->seqs; s++) {
    int64_t n = (int64_t)b->q_start[s + 1] - b->q_start[s];
    if (n < 0 || b->kv_len[s] < n)
      return fail(d, SX_INVALID, "sequence %" PRId32 ": q_start goes from %" PRId32 " to %" PRId32 ", kv_len is %" PRId32, s, b->q_start[s],
                  b->q_start[s + 1], b->kv_len[s]);
  }
  return SX_OK;
}

/* Takes over the values of a description that fits. */
static sx_status fill_batch(sx_device *d, sx_batch *b, const sx_batch_desc *desc) {
  int64_t seqs = b->seqs, pages = seqs * b->max_pages;
  memcpy(b->q_start, desc->q_start, (size_t)(seqs + 1) * 4);
  if (seqs > 0) memcpy(b->kv_len, desc->kv_len, (size_t)seqs * 4);
  if (pages > 0) memcpy(b->pages, desc->pages, (size_t)pages * 4);
  if (b->ids && b->tokens > 0) memcpy(b->ids, desc->tokens, (size_t)b->tokens * 4);
  b->longest = 0;
  b->checked_kv = 0;
  for (int32_t q = 0; q < b->seqs; q++) {
    for (int32_t t = b->q_start[q]; t < b->q_start[q + 1]; t++) b->seq_of[t] = q;
    if (b->kv_len[q] > b->longest) b->longest = b->kv_len[q];
  }
  return k_batch(d, b);
}

static sx_status op_batch_new(sx_device *d, sx_stream *st, const sx_batch_desc *desc, sx_batch **out) {
  if (!d || !out) return SX_INVALID;
  *out = NULL;
  sx_status s = enter(d, st, false);
  if (s == SX_OK) s = check_batch(d, desc);
  if (s != SX_OK) return s;
  int64_t seqs = desc->seqs, tokens = desc->q_start[seqs], pages = seqs * desc->max_pages;
  int64_t words = 2 * seqs + 1 + 2 * tokens + pages;
  sx_batch *b = calloc(1, sizeof *b);
  if (b) b->q_start = calloc((size_t)words, 4);
  if (!b || !b->q_start) {
    free(b);
    return fail(d, SX_NOMEM, "no memory for a batch of %" PRId64 " sequences, %" PRId64 " tokens, %" PRId64 " pages", seqs, tokens, pages);
  }
  b->dev = d;
  b->seqs = desc->seqs;
  b->max_pages = desc->max_pages;
  b->tokens = tokens;
  b->kv_len = b->q_start + seqs + 1;
  b->seq_of = b->kv_len + seqs;
  b->pages = b->seq_of + tokens;
  b->ids = desc->tokens ? b->pages + pages : NULL;
  s = fill_batch(d, b, desc);
  if (s != SX_OK) {
    op_batch_free(d, b);
    return s;
  }
  *out = b;
  return SX_OK;
}

static sx_status op_batch_set(sx_device *d, sx_stream *st, sx_batch *b, const sx_batch_desc *desc) {
  if (!d) return SX_INVALID;
  sx_status s = enter(d, st, false);
  if (s == SX_OK) s = check_batch(d, desc);
  if (s != SX_OK) return s;
  if (!b || b->dev != d) return fail(d, SX_INVALID, "the batch is %s", b ? "another device's" : "missing");
  if (desc->seqs != b->seqs || desc->max_pages != b->max_pages || !desc->tokens != !b->ids ||
      memcmp(desc->q_start, b->q_start, (size_t)(b->seqs + 1) * 4))
    return fail(d, SX_INVALID, "%" PRId32 " sequences with max_pages %" PRId32 " for a batch of %" PRId32 " with %" PRId32 ": other sizes, starts, or tokens where there were none",
                desc->seqs, desc->max_pages, b->seqs, b->max_pages);
  return fill_batch(d, b, desc);
}

/* Marks the pages of sequence s in owner (0: free, -1: only read so far, s + 1: written by s); answers false when a page that one
 * sequence writes is also another's, or is named twice. */
static bool claim_pages(const sx_batch *b, const sx_kv *kv, int32_t s, int32_t *owner) {
  int64_t ps = kv->d.page_size, end = b->kv_len[s], past = end - (b->q_start[s + 1] - b->q_start[s]);
  for (int64_t i = 0; i * ps < end; i++) {
    int32_t *o = &owner[b->pages[(int64_t)s * b->max_pages + i]];
    bool writes = end > past && (i + 1) * ps > past;
    if (writes ? *o != 0 : *o > 0) return false;
    *o = writes ? s + 1 : -1;
  }
  return true;
}

/* Remembers for graph_run what a recording uses. */
static sx_status note_use(sx_device *d, graph_use u) {
  sx_graph *g = d->recording;
  if (!g) return SX_OK;
  for (int32_t i = 0; i < g->n_uses; i++)
    if (g->uses[i].kv == u.kv && g->uses[i].batch == u.batch && g->uses[i].vocab == u.vocab) return SX_OK;
  graph_use *more = realloc(g->uses, (size_t)(g->n_uses + 1) * sizeof *more);
  if (!more) return fail(d, SX_NOMEM, "no memory for a recording");
  g->uses = more;
  more[g->n_uses++] = u;
  return SX_OK;
}

/* Whether the batch fits the cache; remembered, since every layer asks. */
static sx_status check_place(sx_device *d, const sx_kv *kv, sx_batch *b, int32_t layer) {
  if (layer < 0 || layer >= kv->d.layers) return fail(d, SX_INVALID, "layer %" PRId32 " of %" PRId32, layer, kv->d.layers);
  sx_status noted = note_use(d, (graph_use){kv, b, 0});
  if (noted != SX_OK || b->checked_kv == kv->serial) return noted;
  int64_t ps = kv->d.page_size;
  for (int32_t s = 0; s < b->seqs; s++) {
    int64_t used = (b->kv_len[s] + ps - 1) / ps;
    if (used > b->max_pages)
      return fail(d, SX_INVALID, "sequence %" PRId32 ": %" PRId32 " positions need %" PRId64 " pages of %" PRId64 ", max_pages is %" PRId32, s, b->kv_len[s],
                  used, ps, b->max_pages);
    for (int64_t i = 0; i < used; i++) {
      int32_t page = b->pages[(int64_t)s * b->max_pages + i];
      if (page < 0 || page >= kv->d.pages)
        return fail(d, SX_INVALID, "sequence %" PRId32 ", page %" PRId64 ": %" PRId32 " is outside [0, %" PRId32 ")", s, i, page, kv->d.pages);
    }
  }
  int32_t *owner = calloc((size_t)kv->d.pages + 1, 4), s = 0;
  if (!owner) return fail(d, SX_NOMEM, "no memory to check %" PRId32 " pages", kv->d.pages);
  while (s < b->seqs && claim_pages(b, kv, s, owner)) s++;
  free(owner);
  if (s < b->seqs) return fail(d, SX_INVALID, "sequence %" PRId32 " shares a page that is written in this pass", s);
  b->checked_kv = kv->serial;
  return SX_OK;
}

static sx_status check_heads(sx_device *d, int64_t width, const sx_kv *kv) {
  int64_t heads = width / kv->d.head_dim;
  if (heads > 0 && width % kv->d.head_dim == 0 && heads % kv->d.kv_heads == 0) return SX_OK;
  return fail(d, SX_INVALID, "q has %" PRId64 " columns: want heads of %" PRId32 ", a multiple of the %" PRId32 " kv heads", width, kv->d.head_dim,
              kv->d.kv_heads);
}

static void op_graph_free(sx_device *d, sx_graph *g) {
  if (!g) return;
  k_graph_free(d, g);
  free(g->uses);
  free(g);
}

static sx_status op_graph_begin(sx_device *d, sx_stream *st) {
  if (!d) return SX_INVALID;
  sx_status s = enter(d, st, false);
  if (s != SX_OK) return s;
  sx_graph *g = calloc(1, sizeof *g);
  if (!g) return fail(d, SX_NOMEM, "no memory for a recording");
  g->dev = d;
  g->stream = st;
  s = k_graph_begin(d);
  if (s != SX_OK) {
    free(g);
    return s;
  }
  d->recording = g;
  return SX_OK;
}

static sx_status op_graph_end(sx_device *d, sx_stream *st, sx_graph **out) {
  if (!d || !out) return SX_INVALID;
  *out = NULL;
  sx_status s = enter(d, st, true);
  if (s != SX_OK) return s;
  sx_graph *g = d->recording;
  if (!g || g->stream != st) return fail(d, SX_INVALID, "nothing is recorded from this stream");
  d->recording = NULL;
  s = k_graph_end(d, g);
  if (s != SX_OK) {
    op_graph_free(d, g);
    return s;
  }
  *out = g;
  return SX_OK;
}

/* The values of batches may have changed since they were recorded. */
static sx_status op_graph_run(sx_device *d, sx_stream *st, sx_graph *g) {
  if (!d) return SX_INVALID;
  sx_status s = enter(d, st, false);
  if (s != SX_OK) return s;
  if (!g || g->dev != d) return fail(d, SX_INVALID, "the graph is %s", g ? "another device's" : "missing");
  for (int32_t i = 0; i < g->n_uses && s == SX_OK; i++) {
    graph_use u = g->uses[i];
    s = u.kv ? check_place(d, u.kv, u.batch, 0) : check_ids(d, "tokens", u.batch->ids, u.batch->tokens, u.vocab);
  }
  return s == SX_OK ? k_graph_run(d, g) : s;
}
