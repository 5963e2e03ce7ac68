/* embed.c: rows of a weight as f32, each value rounded once, from the matrix as it came or from its panels. */
#include "pack.h"

static float f16_value(uint32_t h) {
  uint32_t e = h >> 10 & 31, m = h & 1023;
  uint32_t normal = (e + 112) << 23 | m << 13, small = bits_of_f32((float)m * 0x1p-24f), special = 0x7f800000 | m << 13 | (m != 0) << 22;
  return f32_of_bits((h & 0x8000) << 16 | (e == 0 ? small : e == 31 ? special : normal));
}

static float f8_value(uint32_t b) {
  uint32_t e = b >> 3 & 15, normal = e > 0;
  float value = (float)((b & 7) | normal << 3) * f32_of_bits((e + 118 - normal) << 23);
  return (b & 127) == 127 ? f32_of_bits(0x7fc00000) : f32_of_bits(bits_of_f32(value) | (b & 128) << 24);
}

static float f32_at(const uint8_t *p) {
  uint32_t u;
  memcpy(&u, p, 4);
  return f32_of_bits(u);
}

static uint32_t u16_at(const uint8_t *p) { return p[0] | (uint32_t)p[1] << 8; }

/* The value of a format at p, before its scale. */
static float value_at(sx_dtype dt, const uint8_t *p) {
  switch (dt) {
    case SX_F32: return f32_at(p);
    case SX_BF16: return f32_of_bits(u16_at(p) << 16);
    case SX_F16: return f16_value(u16_at(p));
    case SX_F8: return f8_value(*p);
    default: return (float)(int8_t)*p;
  }
}

static int64_t size_of(sx_dtype dt) { return dt == SX_F32 ? 4 : dt == SX_BF16 || dt == SX_F16 ? 2 : 1; }

static void plain_row(float *to, const sx_weight *w, int64_t r) {
  int64_t size = size_of(w->dtype), first = r * w->cols;
  for (int64_t k = 0; k < w->cols; k++) {
    if (w->dtype == SX_I4) {
      int64_t g = (first + k) / w->group;
      to[k] = ((float)(w->data[(first + k) / 2] >> ((first + k) % 2 * 4) & 15) - w->zeros[g]) * w->scales[g];
    } else {
      to[k] = value_at(w->dtype, w->data + (first + k) * size);
      if (size == 1) to[k] *= w->scales[w->dtype == SX_I8 || w->row_scales ? r : 0];
    }
  }
}

static void packed_row(float *to, const sx_weight *w, int64_t r) {
  int64_t lane = r % panel_rows, size = size_of(w->dtype);
  const uint8_t *panel = w->packed + r / panel_rows * panel_bytes(w), *last = panel + panel_bytes(w) - 4 * panel_rows;
  for (int64_t k = 0; k < w->cols; k++) {
    if (w->dtype == SX_I4) {
      int64_t in = k % w->group;
      const uint8_t *group = panel + k / w->group * group_bytes(w->group), *scales = group + group_bytes(w->group) - 8 * panel_rows;
      uint32_t code = group[(in / 8 * panel_rows + lane) * 4 + in % 8 / 2] >> (in % 2 * 4) & 15;
      to[k] = ((float)code - f32_at(scales + 4 * (panel_rows + lane))) * f32_at(scales + 4 * lane);
    } else if (w->dtype == SX_BF16) {
      to[k] = value_at(SX_BF16, panel + (k / 2 * panel_rows + lane) * 4 + k % 2 * 2);
    } else {
      to[k] = value_at(w->dtype, panel + (k * panel_rows + lane) * size);
      if (size == 1) to[k] *= f32_at(last + 4 * lane);
    }
  }
}

void embed_rows(mat out, const sx_weight *w, const int32_t *ids, int64_t from, int64_t to) {
  for (int64_t i = from; i < to; i++) (w->data ? plain_row : packed_row)(out.p + i * out.stride, w, ids[i]);
}
