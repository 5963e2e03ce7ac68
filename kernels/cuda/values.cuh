// values.cuh: values of weights as f32, 16 bytes of them at a time, and written out in other formats.
#ifndef SEXTANT_VALUES_CUH
#define SEXTANT_VALUES_CUH
#include "codes.cuh"

template <int D> struct values_of; // how many values 16 bytes hold
template <> struct values_of<SX_F32> { static constexpr int count = 4; };
template <> struct values_of<SX_BF16> { static constexpr int count = 8; };
template <> struct values_of<SX_F16> { static constexpr int count = 8; };
template <> struct values_of<SX_I8> { static constexpr int count = 16; };
template <> struct values_of<SX_F8> { static constexpr int count = 16; };
template <> struct values_of<SX_I4> { static constexpr int count = 32; };

// Value i of those 16 bytes, as weight_at has it: scale and zero are its row's or its group's.
template <int D> __device__ __forceinline__ float value_in(const uint4 &v, int i, float scale, float zero) {
  if (D == SX_F32) return bits_to_f32(word(v, i));
  if (D == SX_BF16 || D == SX_F16) {
    const uint16_t b = (uint16_t)(word(v, i / 2) >> 16 * (i % 2));
    return D == SX_BF16 ? to_f32(bf16{b}) : to_f32(f16{b});
  }
  if (D == SX_I8) return (float)(int8_t)(word(v, i / 4) >> 8 * (i % 4)) * scale;
  if (D == SX_F8) return f8_to_f32((uint8_t)(word(v, i / 4) >> 8 * (i % 4))) * scale;
  return ((float)(word(v, i / 8) >> 4 * (i % 8) & 15) - zero) * scale;
}

#endif
