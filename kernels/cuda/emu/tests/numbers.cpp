// Formats of 16 bits.
#include "test.h"

void test_numbers() {
  bool exact = true, back = true, same = true, brain = true;
  for (uint32_t i = 0; i < 65536; i++) {
    const float v = emu_f32_of_f16((uint16_t)i);
    if (v != v) continue;
    exact = exact && v == to_f32(f16{(uint16_t)i});
    back = back && emu_f16_of_f32(v) == i && from_f32<f16>(v).bits == i;
    const float b = to_f32(bf16{(uint16_t)i});
    brain = brain && (b != b || from_f32<bf16>(b).bits == i);
  }
  for (uint32_t i = 0; i < 1u << 20; i++) {
    const float v = bits_to_f32(i * 4097u);
    same = same && emu_f16_of_f32(v) == from_f32<f16>(v).bits;
  }
  expect_true("f16 to f32", exact);
  expect_true("f16 there and back", back);
  expect_true("f32 to f16 by integers and by the processor", same);
  expect_true("bf16 there and back", brain);
  expect_true("bf16: ties to even", from_f32<bf16>(bits_to_f32(0x3f808000)).bits == 0x3f80 && from_f32<bf16>(bits_to_f32(0x3f818000)).bits == 0x3f82);
  expect_true("byte_perm", __byte_perm(0x33221100, 0x77665544, 0x7250) == 0x77225500);
}
