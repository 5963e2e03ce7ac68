/* weights.h: weights: checked, packed, made, filled in pieces, freed. Part of front.h. */

/* Checks a weight's description; gives the bytes of its data and the number of scales and of zeros. */
static sx_status weight_sizes(sx_device *d, const sx_weight_desc *w, int64_t bytes[3]) {
  if (w->dtype < SX_F32 || w->dtype > SX_F8) return fail(d, SX_INVALID, "unknown dtype %" PRId32, w->dtype);
  if (w->rows < 0 || w->cols < 0) return fail(d, SX_INVALID, "a weight [%" PRId64 ", %" PRId64 "]", w->rows, w->cols);
  bool i4 = w->dtype == SX_I4;
  if (i4 ? w->group <= 0 || w->cols % 2 || w->cols % w->group : w->group != 0)
    return fail(d, SX_INVALID, "a weight [%" PRId64 ", %" PRId64 "] of dtype %" PRId32 " with group %" PRId32 ": %s", w->rows, w->cols, w->dtype, w->group,
                i4 ? "want cols even and a multiple of a positive group" : "only i4 has groups");
  if (w->row_scales != 0 && (w->row_scales != 1 || w->dtype != SX_F8))
    return fail(d, SX_INVALID, "a weight of dtype %" PRId32 " with row_scales %" PRId32 ": it is 1 or 0 for f8, else 0", w->dtype, w->row_scales);
  int64_t n, scales = 0;
  bool ok = size_mul(w->rows, w->cols, &n) && size_mul(n, half_bytes_of(w->dtype), &bytes[0]);
  if (w->dtype == SX_I8) scales = w->rows;
  if (w->dtype == SX_F8) scales = w->row_scales ? w->rows : 1;
  if (i4 && ok) scales = n / w->group;
  if (!ok || !size_mul(scales, 4, &bytes[1])) return fail(d, SX_INVALID, "a weight [%" PRId64 ", %" PRId64 "] has too many values", w->rows, w->cols);
  bytes[0] /= 2;
  bytes[2] = i4 ? bytes[1] : 0;
  return SX_OK;
}

static void op_weight_free(sx_device *d, sx_weight *w) {
  if (!w) return;
  for (int i = 0; i < 4; i++) k_free(d, w->own[i]);
  free(w);
}

/* Checks a description and gives a weight that reads its data where it lies. */
static sx_status describe(sx_device *d, const sx_weight_desc *desc, sx_weight *w, int64_t bytes[3]) {
  static const char *const names[] = {"data", "scales", "zeros"};
  if (!desc) return fail(d, SX_INVALID, "the description is missing");
  sx_status s = weight_sizes(d, desc, bytes);
  if (s != SX_OK) return s;
  if (desc->use != SX_USE_ANY && desc->use != SX_USE_EMBED) return fail(d, SX_INVALID, "unknown use %" PRId32 " of a weight", desc->use);
  *w = (sx_weight){.dev = d, .dtype = desc->dtype, .group = desc->group, .rows = desc->rows, .cols = desc->cols, .row_scales = desc->row_scales};
  if (desc->packed) {
    if (!k_layout()[0] || desc->use != SX_USE_ANY || desc->scales || desc->zeros)
      return fail(d, SX_INVALID, "a packed weight %s", k_layout()[0] ? "has its scales and zeros in it, and is not for embed alone" : "on a backend that packs none");
    if (!k_pack_bytes(w, &bytes[0])) return fail(d, SX_INVALID, "a weight [%" PRId64 ", %" PRId64 "] is too large to pack", w->rows, w->cols);
    bytes[1] = bytes[2] = 0;
  }
  const void *src[3] = {desc->data, desc->scales, desc->zeros};
  bool later = k_pieces() && !desc->packed && !src[0] && !src[1] && !src[2]; /* weight_put brings them */
  for (int i = 0; i < 3 && !later; i++)
    if ((bytes[i] > 0 && !src[i]) || (i > 0 && bytes[i] == 0 && src[i] && desc->rows * desc->cols > 0))
      return fail(d, SX_INVALID, "a weight of dtype %" PRId32 " %s %s", desc->dtype, src[i] ? "takes no" : "needs its", names[i]);
  if (desc->packed) {
    w->packed = desc->data;
    return SX_OK;
  }
  w->data = desc->data;
  w->scales = desc->scales;
  w->zeros = desc->zeros;
  return SX_OK;
}

static sx_status packable(sx_device *d, const sx_weight_desc *desc, sx_weight *w, int64_t *bytes) {
  int64_t plain[3];
  sx_status s = describe(d, desc, w, plain);
  if (s != SX_OK) return s;
  if (!k_layout()[0] || desc->use != SX_USE_ANY) return fail(d, SX_UNSUPPORTED, "this backend packs no such weight");
  if (!k_pack_bytes(w, bytes)) return fail(d, SX_INVALID, "a weight [%" PRId64 ", %" PRId64 "] is too large to pack", w->rows, w->cols);
  return SX_OK;
}

static sx_status op_pack_size(sx_device *d, const sx_weight_desc *desc, int64_t *bytes) {
  sx_weight w;
  if (!d) return SX_INVALID;
  if (!bytes) return fail(d, SX_INVALID, "nowhere to put the size");
  return packable(d, desc, &w, bytes);
}

static sx_status op_pack(sx_device *d, const sx_weight_desc *desc, void *dst) {
  sx_weight w;
  int64_t bytes;
  if (!d) return SX_INVALID;
  sx_status s = packable(d, desc, &w, &bytes);
  if (s != SX_OK || bytes == 0) return s;
  if (desc->packed) return fail(d, SX_INVALID, "the weight is packed already");
  if (!dst || (uintptr_t)dst % 64) return fail(d, SX_INVALID, "packing to %s", dst ? "memory that is not aligned to 64 bytes" : "nowhere");
  k_pack(d, &w, dst);
  return SX_OK;
}

static sx_status op_weight_new(sx_device *d, const sx_weight_desc *desc, sx_weight **out) {
  int64_t bytes[3];
  sx_weight made;
  if (!d || !out) return SX_INVALID;
  *out = NULL;
  sx_status s = describe(d, desc, &made, bytes);
  if (s != SX_OK) return s;
  sx_weight *w = malloc(sizeof *w);
  if (!w) return fail(d, SX_NOMEM, "no memory for a weight");
  *w = made;
  s = k_weight_new(d, w, desc, bytes);
  if (s != SX_OK) {
    op_weight_free(d, w);
    return s;
  }
  *out = w;
  return SX_OK;
}

static sx_status op_weight_put(sx_device *d, sx_weight *w, int64_t row, const sx_weight_desc *desc) {
  int64_t bytes[3];
  sx_weight part;
  if (!d) return SX_INVALID;
  if (!w || w->dev != d) return fail(d, SX_INVALID, "w is %s", w ? "another device's" : "missing");
  sx_status s = describe(d, desc, &part, bytes);
  if (s != SX_OK) return s;
  if (part.dtype != w->dtype || part.group != w->group || part.cols != w->cols || desc->packed || row < 0 || row > w->rows ||
      part.rows > w->rows - row || (bytes[0] > 0 && !part.data) || (bytes[1] > 0 && !part.scales) || (bytes[2] > 0 && !part.zeros))
    return fail(d, SX_INVALID, "a part [%" PRId64 ", %" PRId64 "] of dtype %" PRId32 " at row %" PRId64 " of a weight [%" PRId64 ", %" PRId64 "] of dtype %" PRId32,
                part.rows, part.cols, part.dtype, row, w->rows, w->cols, w->dtype);
  return k_weight_put(d, w, row, &part);
}
