// warps.cpp: operations of a whole warp: matrix fragments and their product.
#include "emu.h"

namespace emu {

void show_row(uint32_t at, int line) {
  thread *t = now;
  will_read(t->of, at, 16);
  memcpy(t->in->cells[t->in->parity][t->lane], t->of->shared + at, 16);
  warp_meet("load_matrix", line);
}

void show_nothing(int line) { warp_meet("load_matrix", line); }

namespace {
struct fragments { // where those of a lane lie: good while it waits
  float *d;
  const uint32_t *a, *b;
};

// d[16][8] += a[16][16] b[16][8]. Where a lane's values lie (PTX, "Matrix fragments for mma.m16n8k16"; g = lane/4, t = 2(lane%4)):
// a: (g, t), (g+8, t), (g, t+8), (g+8, t+8) and the next column of each; b: (t, g), (t+8, g) and the next row of each; d: (g, t), (g, t+1),
// (g+8, t), (g+8, t+1). Products are exact in f32 (but for those of bf16 beyond f32's range); they are added to d one by one, k ascending,
// each sum rounded to nearest. (A GPU adds several at once and may cut bits off: its sums differ from these in the last places.)
template <class T> void product(warp *w) {
  float left[16][16], right[16][8], sum[16][8];
  fragments of[warp_size];
  for (int lane = 0; lane < warp_size; lane++) {
    memcpy(&of[lane], w->cells[w->parity][lane], sizeof(fragments));
    const int g = lane / 4, t = 2 * (lane % 4);
    for (int e = 0; e < 2; e++) {
      for (int j = 0; j < 4; j++) left[g + 8 * (j % 2)][t + 8 * (j / 2) + e] = to_f32(T{(uint16_t)(of[lane].a[j] >> (16 * e))});
      for (int j = 0; j < 2; j++) right[t + 8 * j + e][g] = to_f32(T{(uint16_t)(of[lane].b[j] >> (16 * e))});
      for (int j = 0; j < 2; j++) sum[g + 8 * j][t + e] = of[lane].d[2 * j + e];
    }
  }
  for (int i = 0; i < 16; i++) {
    for (int k = 0; k < 16; k++) {
      for (int j = 0; j < 8; j++) sum[i][j] += left[i][k] * right[k][j];
    }
  }
  for (int lane = 0; lane < warp_size; lane++) {
    const int g = lane / 4, t = 2 * (lane % 4);
    for (int j = 0; j < 4; j++) of[lane].d[j] = sum[g + 8 * (j / 2)][t + j % 2];
  }
}
} // namespace

template <class T> void multiply(float d[4], const uint32_t a[4], const uint32_t b[2], int line) {
  const fragments mine = {d, a, b};
  thread *t = now;
  memcpy(t->in->cells[t->in->parity][t->lane], &mine, sizeof mine);
  warp_meet("mma", line, product<T>);
}
template void multiply<bf16>(float d[4], const uint32_t a[4], const uint32_t b[2], int line);
template void multiply<f16>(float d[4], const uint32_t a[4], const uint32_t b[2], int line);

} // namespace emu
