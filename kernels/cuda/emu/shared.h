// shared.h: shared memory and what moves it: checked pieces of it, asynchronous copies, matrix fragments, shuffles.
#ifndef SEXTANT_EMU_SHARED_H
#define SEXTANT_EMU_SHARED_H
#include "arith.h"
#include "threads.h"

template <class T> struct shared_array {
  emu::block *b;
  int base, count;
  shared_array(int byte_offset, int64_t n) : b(emu::now->of), base(byte_offset), count((int)n) {
    if (byte_offset < 0 || byte_offset % 16 || n < 0 || byte_offset + n * (int64_t)sizeof(T) > (int64_t)b->shared_bytes) {
      emu::stop_array(byte_offset, n, (int)sizeof(T));
    }
  }
  template <class V> uint32_t place(int i) const {
    if (i < 0 || i * (int64_t)sizeof(T) + (int64_t)sizeof(V) > count * (int64_t)sizeof(T)) emu::stop_bounds(i, sizeof(V), count, sizeof(T));
    uint32_t at = (uint32_t)base + (uint32_t)i * (uint32_t)sizeof(T);
    if (at % alignof(V)) emu::stop_aligned(i, at, (int)alignof(V));
    return at;
  }
  template <class V> V get_as(int i) const {
    static_assert(sizeof(V) <= 16, "the GPU moves 16 bytes at once, at most");
    uint32_t at = place<V>(i);
    if (at % sizeof(V)) emu::stop_aligned(i, at, (int)sizeof(V));
    emu::will_read(b, at, sizeof(V));
    V v;
    memcpy(&v, b->shared + at, sizeof v);
    return v;
  }
  template <class V> void put_as(int i, V v) const {
    static_assert(sizeof(V) <= 16, "the GPU moves 16 bytes at once, at most");
    uint32_t at = place<V>(i);
    if (at % sizeof(V)) emu::stop_aligned(i, at, (int)sizeof(V));
    emu::will_write(b, at, sizeof(V));
    memcpy(b->shared + at, &v, sizeof v);
  }
  T get(int i) const {
    uint32_t at = place<T>(i);
    emu::will_read(b, at, sizeof(T));
    T v;
    memcpy(&v, b->shared + at, sizeof v);
    return v;
  }
  void put(int i, T v) const {
    uint32_t at = place<T>(i);
    emu::will_write(b, at, sizeof(T));
    memcpy(b->shared + at, &v, sizeof v);
  }
  T atomic_add(int i, T v) const { // gives what was there
    uint32_t at = place<T>(i);
    emu::note_atomic(b, at, sizeof(T));
    T was;
    memcpy(&was, b->shared + at, sizeof was);
    T sum = was + v;
    memcpy(b->shared + at, &sum, sizeof sum);
    return was;
  }
};

template <class T> inline void copy_async16(const shared_array<T> &s, int i, const void *global, bool valid) {
  emu::copy_start(s.template place<uint4>(i), global, valid);
}
inline void copy_commit() { emu::copy_close(); }
template <int N> inline void copy_wait() { emu::copy_await(N); }

namespace emu {
// The 16 bytes at `at`, which this lane names as a row, to its cell; then the whole warp meets.
void show_row(uint32_t at, int line);
void show_nothing(int line); // a lane whose address is not looked at
inline const uint8_t *row_cell(uint32_t row) { return now->in->cells[now->in->parity ^ 1][row]; }
template <class T> void multiply(float d[4], const uint32_t a[4], const uint32_t b[2], int line);

// Matrix j of 8x8 has its rows from lanes 8j to 8j+7. Lane t gets elements (t/4, 2(t%4)) and the next; transposed (2(t%4), t/4) and the one
// below (PTX, "ldmatrix").
inline uint32_t fragment(int j, bool transposed) {
  uint32_t lane = now->lane, pair[2];
  for (uint32_t e = 0; e < 2; e++) {
    uint32_t row = transposed ? 2 * (lane % 4) + e : lane / 4, col = transposed ? lane / 4 : 2 * (lane % 4) + e;
    uint16_t v;
    memcpy(&v, row_cell((uint32_t)j * 8 + row) + 2 * col, 2);
    pair[e] = v;
  }
  return pair[0] | pair[1] << 16;
}

template <class V> inline V swap(const char *what, V v, uint32_t from, int line) {
  static_assert(sizeof(V) <= 16, "a cell's");
  thread *t = now;
  memcpy(t->in->cells[t->in->parity][t->lane], &v, sizeof v);
  warp_meet(what, line);
  memcpy(&v, row_cell(from), sizeof v);
  return v;
}
} // namespace emu

template <class T> inline void load_matrix_x4(uint32_t r[4], const shared_array<T> &s, int i, int line = __builtin_LINE()) {
  emu::show_row(s.template place<uint4>(i), line);
  for (int j = 0; j < 4; j++) r[j] = emu::fragment(j, false);
}
template <class T> inline void load_matrix_x4_trans(uint32_t r[4], const shared_array<T> &s, int i, int line = __builtin_LINE()) {
  emu::show_row(s.template place<uint4>(i), line);
  for (int j = 0; j < 4; j++) r[j] = emu::fragment(j, true);
}
template <class T> inline void load_matrix_x2(uint32_t r[2], const shared_array<T> &s, int i, int line = __builtin_LINE()) {
  if (emu::now->lane < 16) emu::show_row(s.template place<uint4>(i), line);
  else emu::show_nothing(line);
  for (int j = 0; j < 2; j++) r[j] = emu::fragment(j, false);
}

template <class T> inline void mma_16x8x16(float d[4], const uint32_t a[4], const uint32_t b[2], int line = __builtin_LINE());
template <> inline void mma_16x8x16<bf16>(float d[4], const uint32_t a[4], const uint32_t b[2], int line) {
  emu::multiply<bf16>(d, a, b, line);
}
template <> inline void mma_16x8x16<f16>(float d[4], const uint32_t a[4], const uint32_t b[2], int line) {
  emu::multiply<f16>(d, a, b, line);
}

// A lane that does not exist for shfl_down gives the lane's own value, as on the GPU.
template <class V> inline V shfl_xor(V v, int mask, int line = __builtin_LINE()) {
  return emu::swap("shfl_xor", v, (emu::now->lane ^ (uint32_t)mask) & 31, line);
}
template <class V> inline V shfl(V v, int lane, int line = __builtin_LINE()) { return emu::swap("shfl", v, (uint32_t)lane & 31, line); }
template <class V> inline V shfl_down(V v, int n, int line = __builtin_LINE()) {
  uint32_t from = emu::now->lane + (uint32_t)n;
  return emu::swap("shfl_down", v, from < 32 ? from : emu::now->lane, line);
}

#endif
