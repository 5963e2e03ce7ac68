/* pack.c: weights as they come, row by row, into panels. */
#include "pack.h"

#include <math.h>
#include <sys/mman.h>
#include <unistd.h>

typedef uint32_t u32x4 __attribute__((vector_size(16), may_alias));
typedef uint16_t u16x8 __attribute__((vector_size(16), may_alias));
typedef uint8_t u8x16 __attribute__((vector_size(16), may_alias));
typedef u8x16 u8x16_any __attribute__((aligned(1)));

#define INLINE static inline __attribute__((always_inline))
#define UNROLL _Pragma("GCC unroll 16")
#define AT(type, p) (*(const type *)(const void *)(p))

bool pack_bytes(const sx_weight *w, int64_t *bytes) {
  int64_t values; /* bounds every term: a group of I4 takes at most 192 bytes a column, any other value at most 64 and its scale as many */
  if (!size_mul(w->cols + 2, 4 * 3 * panel_rows, &values) || !size_mul(panels_of(w), values, &values)) return false;
  *bytes = panels_of(w) * panel_bytes(w);
  return true;
}

/* Where the 16 rows of a panel begin; rows beyond the last are `none`. */
static void row_starts(const sx_weight *w, int64_t panel, int64_t row_bytes, const uint8_t *none, const uint8_t *from[panel_rows]) {
  for (int64_t i = 0; i < panel_rows; i++) {
    int64_t r = panel * panel_rows + i;
    from[i] = r < w->rows ? w->data + r * row_bytes : none;
  }
}

/* The units of 4, 2 or 1 bytes of 16 rows at byte `at`, 16 bytes of each row, transposed to `to`. Each step interleaves rows 8 apart. */
#define TRANSPOSE(name, vec, lo, hi, steps)                                                        \
  INLINE void name(uint8_t *to, const uint8_t *const from[panel_rows], int64_t at) {               \
    vec a[panel_rows], b[panel_rows];                                                              \
    UNROLL for (int i = 0; i < panel_rows; i++) a[i] = (vec)AT(u8x16_any, from[i] + at);           \
    UNROLL for (int s = 0; s < steps; s++) {                                                       \
      UNROLL for (int i = 0; i < 8; i++) {                                                         \
        b[2 * i] = lo(a[i], a[i + 8]);                                                             \
        b[2 * i + 1] = hi(a[i], a[i + 8]);                                                         \
      }                                                                                            \
      UNROLL for (int i = 0; i < panel_rows; i++) a[i] = b[i];                                     \
    }                                                                                              \
    UNROLL for (int i = 0; i < panel_rows; i++) *(u8x16_any *)(void *)(to + 16 * i) = (u8x16)a[i]; \
  }

#define LO4(x, y) __builtin_shufflevector(x, y, 0, 4, 1, 5)
#define HI4(x, y) __builtin_shufflevector(x, y, 2, 6, 3, 7)
#define LO2(x, y) __builtin_shufflevector(x, y, 0, 8, 1, 9, 2, 10, 3, 11)
#define HI2(x, y) __builtin_shufflevector(x, y, 4, 12, 5, 13, 6, 14, 7, 15)
#define LO1(x, y) __builtin_shufflevector(x, y, 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23)
#define HI1(x, y) __builtin_shufflevector(x, y, 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31)
TRANSPOSE(transpose4, u32x4, LO4, HI4, 4)
TRANSPOSE(transpose2, u16x8, LO2, HI2, 4)
TRANSPOSE(transpose1, u8x16, LO1, HI1, 4)

/* `bytes` of each of the 16 rows, in units of `unit`; the last unit may be cut short and is filled up with zeros. */
static void transpose(uint8_t *to, const uint8_t *const from[panel_rows], int64_t bytes, int unit) {
  int64_t at = 0;
  for (; at + 16 <= bytes; at += 16, to += 16 * panel_rows) {
    if (unit == 4)
      transpose4(to, from, at);
    else if (unit == 2)
      transpose2(to, from, at);
    else
      transpose1(to, from, at);
  }
  for (; at < bytes; at += unit, to += unit * panel_rows)
    for (int i = 0; i < panel_rows; i++)
      for (int b = 0; b < unit; b++) to[unit * i + b] = at + b < bytes ? from[i][at + b] : 0;
}

/* A row of `none` repeats these zeros: rows that are not there are read at any offset. */
static void pack_rows(const sx_weight *w, uint8_t *to, int64_t panel, int unit) {
  enum { piece = 4096 }; /* bytes of a row at once, so that the zeros can be few and 16 rows stay in the cache */
  static const uint8_t zeros[piece] = {0};
  const uint8_t *from[panel_rows];
  int64_t row = w->cols * (w->dtype == SX_BF16 ? 2 : unit);
  for (int64_t at = 0; at < row; at += piece) {
    int64_t n = row - at < piece ? row - at : piece;
    row_starts(w, panel, row, NULL, from);
    for (int i = 0; i < panel_rows; i++) from[i] = from[i] ? from[i] + at : zeros;
    transpose(to + at * panel_rows, from, n, unit);
  }
}

static uint32_t code_of(const sx_weight *w, int64_t r, int64_t k) {
  int64_t i = r * w->cols + k;
  return w->data[i / 2] >> (i % 2 * 4) & 15;
}

/* 8 codes of a row from input k on, as many of them as there are before `end`. */
static uint32_t codes_of(const sx_weight *w, int64_t r, int64_t k, int64_t end) {
  uint32_t v = 0;
  if ((r * w->cols + k) % 2 == 0 && k + 8 <= end) {
    memcpy(&v, w->data + (r * w->cols + k) / 2, 4);
    return v;
  }
  for (int64_t i = k; i < end && i < k + 8; i++) v |= code_of(w, r, i) << (i - k) * 4;
  return v;
}

static void pack_i4(const sx_weight *w, uint8_t *to, int64_t panel) {
  int64_t groups = w->cols / w->group;
  for (int64_t g = 0; g < groups; g++) {
    int64_t end = (g + 1) * w->group;
    for (int64_t k = g * w->group; k < end; k += 8, to += 4 * panel_rows)
      for (int64_t i = 0; i < panel_rows; i++) {
        int64_t r = panel * panel_rows + i;
        uint32_t v = r < w->rows ? codes_of(w, r, k, end) : 0;
        memcpy(to + 4 * i, &v, 4);
      }
    for (int64_t i = 0; i < panel_rows; i++, to += 4) {
      int64_t r = panel * panel_rows + i;
      float scale = r < w->rows ? w->scales[r * groups + g] : 0, zero = r < w->rows ? w->zeros[r * groups + g] : 0;
      memcpy(to, &scale, 4);
      memcpy(to + 4 * panel_rows, &zero, 4);
    }
    to += 4 * panel_rows;
  }
}

static bool has_nan(const uint8_t *f8, int64_t n) {
  u8x16 any = {0};
  int64_t i = 0;
  for (; i + 16 <= n; i += 16) any |= (u8x16)((AT(u8x16_any, f8 + i) & 127) == 127);
  for (; i < n; i++) any[0] |= (f8[i] & 127) == 127;
  for (int k = 0; k < 16; k++)
    if (any[k]) return true;
  return false;
}

static void pack_scales(const sx_weight *w, uint8_t *to, int64_t panel) {
  float scales[2 * panel_rows] = {0};
  bool f8 = w->dtype == SX_F8;
  for (int64_t i = 0; i < panel_rows && panel * panel_rows + i < w->rows; i++) {
    int64_t r = panel * panel_rows + i;
    scales[i] = scales[panel_rows + i] = w->scales[f8 && !w->row_scales ? 0 : r];
    if (f8 && has_nan(w->data + r * w->cols, w->cols)) scales[i] = NAN;
  }
  memcpy(to, scales, (f8 ? 2 : 1) * panel_rows * sizeof *scales);
}

/* Brings the pages of fresh memory that will be written. Many at once cost three quarters of what each costs when it is touched, and so soon
 * before they are still in the cache when they are. Linux before 5.14 does not know it: then they come when they are touched. */
static void bring(uint8_t *to, int64_t bytes) {
#ifdef MADV_POPULATE_WRITE
  uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE), at = (uintptr_t)to & ~(page - 1);
  madvise((void *)at, (size_t)((uintptr_t)to + (uintptr_t)bytes - at), MADV_POPULATE_WRITE);
#else
  (void)to, (void)bytes;
#endif
}

void pack_panels(const sx_weight *w, uint8_t *to, int64_t first, int64_t count) {
  int64_t size = panel_bytes(w);
  to += first * size;
  for (int64_t p = first; p < first + count; p++, to += size) {
    bring(to, size);
    switch (w->dtype) {
      case SX_F32: pack_rows(w, to, p, 4); break;
      case SX_BF16: pack_rows(w, to, p, 4); break;
      case SX_F16: pack_rows(w, to, p, 2); break;
      case SX_I4: pack_i4(w, to, p); break;
      default:
        pack_rows(w, to, p, 1);
        pack_scales(w, to + w->cols * panel_rows, p);
    }
  }
}
