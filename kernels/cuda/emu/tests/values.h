// values.h: activations of any format on the host, one at a time, for the programs beside it.
#ifndef SEXTANT_EMU_VALUES_H
#define SEXTANT_EMU_VALUES_H
#include "device.cuh"

static void store(sx_dtype t, void *p, int64_t i, float v) {
  if (t == SX_F32) ((float *)p)[i] = v;
  if (t == SX_BF16) ((bf16 *)p)[i] = from_f32<bf16>(v);
  if (t == SX_F16) ((f16 *)p)[i] = from_f32<f16>(v);
}
static float load(sx_dtype t, const void *p, int64_t i) {
  return t == SX_F32 ? ((const float *)p)[i] : t == SX_BF16 ? to_f32(((const bf16 *)p)[i]) : to_f32(((const f16 *)p)[i]);
}

#endif
