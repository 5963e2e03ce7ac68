/* memory.h: the hooks of objects.h for backends whose device memory is the host's: allocation, copies, streams that do everything at once.
 * Included after front.h by ref.c and cpu.c. */
#ifndef SEXTANT_MEMORY_H
#define SEXTANT_MEMORY_H

static sx_status k_alloc(sx_device *d, int64_t bytes, bool zero, uint8_t **data, void **raw) {
  *data = zero ? host_zalloc(bytes, raw) : host_alloc(bytes, raw);
  return *data ? SX_OK : fail(d, SX_NOMEM, "the system gives no more");
}

static void k_free(sx_device *d, void *raw) {
  (void)d;
  free(raw);
}

static sx_status k_put(sx_device *d, void *dst, const void *src, int64_t bytes) {
  (void)d;
  memcpy(dst, src, (size_t)bytes);
  return SX_OK;
}

static sx_status k_get(sx_device *d, void *dst, const void *src, int64_t bytes) { return k_put(d, dst, src, bytes); }

static sx_status k_copy(sx_device *d, void *dst, sx_device *owner, const void *src, int64_t bytes) { return (void)owner, k_put(d, dst, src, bytes); }

static sx_status k_stream_new(sx_device *d, sx_stream *st) {
  (void)d, (void)st;
  return SX_OK;
}

static void k_stream_free(sx_device *d, sx_stream *st) { (void)d, (void)st; }

static sx_status k_sync(sx_device *d) {
  (void)d;
  return SX_OK;
}

static bool k_takes(sx_dtype t) { return t == SX_F32; }

static bool k_caches(sx_dtype t) { return t == SX_F32 || t == SX_BF16; }

/* The value in KiB of a line of /proc/meminfo, as bytes; 0 when unknown. */
static int64_t meminfo(const char *key) {
  char line[256];
  int64_t kib = 0;
  FILE *f = fopen("/proc/meminfo", "r");
  if (!f) return 0;
  while (fgets(line, sizeof line, f))
    if (strncmp(line, key, strlen(key)) == 0) {
      kib = strtoll(line + strlen(key), NULL, 10);
      break;
    }
  fclose(f);
  return kib * 1024;
}

static void cpu_name(char *name, size_t bytes) {
  char line[256];
  snprintf(name, bytes, "cpu");
  FILE *f = fopen("/proc/cpuinfo", "r");
  if (!f) return;
  while (fgets(line, sizeof line, f)) {
    char *colon = strchr(line, ':');
    if (strncmp(line, "model name", 10) || !colon) continue;
    line[strcspn(line, "\n")] = 0;
    snprintf(name, bytes, "%.*s", (int)bytes - 1, colon + 2);
    break;
  }
  fclose(f);
}

static void k_machine(sx_device *d, sx_info *out) {
  cpu_name(out->name, sizeof out->name);
  out->memory_bytes = meminfo("MemTotal:");
  out->free_bytes = meminfo("MemAvailable:");
  out->threads = d->threads;
}

/* A copy of `bytes` at *p, kept in *own. */
static bool copy_of(const void **p, int64_t bytes, void **own) {
  void *copy = host_zalloc(bytes, own);
  if (copy && bytes > 0) memcpy(copy, *p, (size_t)bytes);
  if (copy) *p = copy;
  return copy != NULL;
}

/* Gives w what it must own: the packed form where the backend has one, else copies of what is not borrowed. Vectors are read as they are. */
static bool take_in(sx_device *d, sx_weight *w, const sx_weight_desc *desc, const int64_t bytes[3]) {
  const void *src[3] = {desc->packed ? w->packed : w->data, w->scales, w->zeros};
  int64_t size;
  bool vector = w->dtype == SX_F32 && w->rows == 1;
  if (k_layout()[0] && !desc->packed && desc->use == SX_USE_ANY) {
    if (!k_pack_bytes(w, &size)) return false;
    uint8_t *to = host_alloc(size, &w->own[3]);
    if (!to) return false;
    k_pack(d, w, to);
    w->packed = to;
    if (!vector && !desc->borrow) w->data = NULL, w->scales = w->zeros = NULL;
    if (!vector) return true;
  }
  for (int i = 0; i < 3 && !desc->borrow; i++)
    if (!copy_of(&src[i], bytes[i], &w->own[i])) return false;
  if (desc->packed) {
    w->packed = src[0];
    return true;
  }
  w->data = src[0];
  w->scales = src[1];
  w->zeros = src[2];
  return true;
}

static sx_status k_weight_new(sx_device *d, sx_weight *w, const sx_weight_desc *desc, const int64_t bytes[3]) {
  if (take_in(d, w, desc, bytes)) return SX_OK;
  return fail(d, SX_NOMEM, "no memory for a weight [%" PRId64 ", %" PRId64 "] of dtype %" PRId32 ": %" PRId64 " bytes and what it takes to hold them",
              desc->rows, desc->cols, desc->dtype, bytes[0]);
}

static bool k_pieces(void) { return false; }

static bool k_rounds_kv(void) { return true; }

static sx_status k_weight_put(sx_device *d, sx_weight *w, int64_t row, const sx_weight *part) {
  (void)w, (void)row, (void)part;
  return fail(d, SX_UNSUPPORTED, "weights of this backend are made whole");
}

static sx_status k_batch(sx_device *d, sx_batch *b) {
  (void)d, (void)b;
  return SX_OK;
}

static void k_batch_free(sx_device *d, sx_batch *b) { (void)d, (void)b; }

static sx_status k_kv_copy(sx_device *d, sx_kv *kv, int32_t dst, int32_t src, int32_t positions) {
  (void)d;
  for (int32_t l = 0; l < kv->d.layers; l++) {
    uint8_t *layer = kv->data + l * kv->layer_bytes;
    k_copy_slots(kv, layer + dst * kv->page_bytes, layer + src * kv->page_bytes, positions);
  }
  return SX_OK;
}

static sx_status k_embed_batch(sx_device *d, mat out, const sx_weight *w, const sx_batch *b) { return k_embed(d, out, w, b->ids); }

static sx_status k_gather(sx_device *d, mat out, mat x, const int32_t *rows) {
  (void)d;
  for (int64_t i = 0; i < out.rows; i++) memcpy(out.p + i * out.stride, x.p + rows[i] * x.stride, (size_t)out.cols * 4);
  return SX_OK;
}

/* Every operation is done when its call returns: there is no launch to be saved. */
static sx_status k_graph_begin(sx_device *d) { return fail(d, SX_UNSUPPORTED, "this backend records nothing"); }
static sx_status k_graph_end(sx_device *d, sx_graph *g) { return (void)g, k_graph_begin(d); }
static sx_status k_graph_run(sx_device *d, sx_graph *g) { return (void)g, k_graph_begin(d); }
static void k_graph_free(sx_device *d, sx_graph *g) { (void)d, (void)g; }

#endif
