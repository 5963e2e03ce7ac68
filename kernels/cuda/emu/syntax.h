// syntax.h: CUDA's words and small types as plain C++: what decorates functions, the vectors, dim3.
#ifndef SEXTANT_EMU_SYNTAX_H
#define SEXTANT_EMU_SYNTAX_H
#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <algorithm>
#include <memory>
#include <tuple>
#include <type_traits>
#include <utility>
#include <vector>

// __shared__ is not among them: shared memory is got through shared_array alone. __noinline__ would break the standard headers that come later.
#define __global__
#define __device__
#define __host__
#define __constant__
#define __forceinline__ inline
#define __launch_bounds__(...)
#define __align__(n) __attribute__((aligned(n)))
#define __grid_constant__

// Their alignment is the GPU's, so that a misaligned access is seen (see faults.cpp).
#define EMU_VECTOR1(name, type, align) struct alignas(align) name { type x; }; \
  inline name make_##name(type x) { return {x}; }
#define EMU_VECTOR2(name, type, align) struct alignas(align) name { type x, y; }; \
  inline name make_##name(type x, type y) { return {x, y}; }
#define EMU_VECTOR3(name, type, align) struct alignas(align) name { type x, y, z; }; \
  inline name make_##name(type x, type y, type z) { return {x, y, z}; }
#define EMU_VECTOR4(name, type, align) struct alignas(align) name { type x, y, z, w; }; \
  inline name make_##name(type x, type y, type z, type w) { return {x, y, z, w}; }
EMU_VECTOR2(char2, signed char, 2)
EMU_VECTOR4(char4, signed char, 4)
EMU_VECTOR2(uchar2, unsigned char, 2)
EMU_VECTOR4(uchar4, unsigned char, 4)
EMU_VECTOR2(short2, short, 4)
EMU_VECTOR4(short4, short, 8)
EMU_VECTOR2(ushort2, unsigned short, 4)
EMU_VECTOR4(ushort4, unsigned short, 8)
EMU_VECTOR1(int1, int, 4)
EMU_VECTOR2(int2, int, 8)
EMU_VECTOR3(int3, int, 4)
EMU_VECTOR4(int4, int, 16)
EMU_VECTOR1(uint1, unsigned, 4)
EMU_VECTOR2(uint2, unsigned, 8)
EMU_VECTOR3(uint3, unsigned, 4)
EMU_VECTOR4(uint4, unsigned, 16)
EMU_VECTOR2(longlong2, long long, 16)
EMU_VECTOR2(ulonglong2, unsigned long long, 16)
EMU_VECTOR1(float1, float, 4)
EMU_VECTOR2(float2, float, 8)
EMU_VECTOR3(float3, float, 4)
EMU_VECTOR4(float4, float, 16)
EMU_VECTOR2(double2, double, 16)
#undef EMU_VECTOR1
#undef EMU_VECTOR2
#undef EMU_VECTOR3
#undef EMU_VECTOR4

struct dim3 {
  unsigned x, y, z;
  constexpr dim3(unsigned x_ = 1, unsigned y_ = 1, unsigned z_ = 1) : x(x_), y(y_), z(z_) {}
};

#endif
