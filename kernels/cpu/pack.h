/* pack.h: the form in which the cpu backend reads weights, the same for every build: panels of 16 rows (outputs), the last one filled up
 * with zeros, one behind another. A panel's values go through its rows at the same input first, so that 16 outputs lie beside one another:
 *
 *   f32   [cols][16] of 4 bytes
 *   f16   [cols][16] of 2 bytes
 *   bf16  [pairs of cols][16][2] of 2 bytes, the last pair filled up with a zero: the order of the dot-product units of AVX512-BF16 and AMX
 *   i8    [cols][16] of 1 byte, then [16] scales
 *   f8    [cols][16] of 1 byte, then [16] times the scale, or NaN for an output that has one among its values: matmul need not look at
 *         every value; then [16] times the scale
 *   i4    for each group: [eights of its cols][16] of 4 bytes with 8 codes from the lowest bits on, then [16] scales, then [16] zeros
 */
#ifndef SEXTANT_PACK_H
#define SEXTANT_PACK_H
#include "host.h"

enum { panel_rows = 16 };

#define PACK_LAYOUT "panel16-2" /* raised whenever the form changes: processes share what one of them packed */

static inline int64_t panels_of(const sx_weight *w) { return (w->rows + panel_rows - 1) / panel_rows; }

/* The bytes of a group of I4 in a panel. */
static inline int64_t group_bytes(int64_t group) { return (group + 7) / 8 * 4 * panel_rows + 2 * 4 * panel_rows; }

/* The bytes of a panel's values before input k; for I4, k is where a group begins. */
static inline int64_t panel_offset(sx_dtype dt, int64_t group, int64_t k) {
  switch (dt) {
    case SX_F32: return k * 4 * panel_rows;
    case SX_F16: return k * 2 * panel_rows;
    case SX_BF16: return (k + 1) / 2 * 4 * panel_rows;
    case SX_I4: return k / group * group_bytes(group);
    default: return k * panel_rows;
  }
}

static inline int64_t panel_bytes(const sx_weight *w) {
  int64_t values = panel_offset(w->dtype, w->group, w->cols);
  return values + (w->dtype == SX_I8 ? 4 : w->dtype == SX_F8 ? 8 : 0) * panel_rows;
}

/* What the sums of a panel of I8 or F8 are multiplied by. */
static inline const float *panel_scales(const sx_weight *w, int64_t panel) {
  return (const float *)(const void *)(w->packed + panel * panel_bytes(w) + w->cols * panel_rows);
}

bool pack_bytes(const sx_weight *w, int64_t *bytes);                             /* false on overflow */
void pack_panels(const sx_weight *w, uint8_t *to, int64_t first, int64_t count); /* panels [first, first + count) of the whole at `to` */

void embed_rows(mat out, const sx_weight *w, const int32_t *ids, int64_t from, int64_t to); /* rows [from, to) of out */

#endif
