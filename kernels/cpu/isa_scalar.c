/* The build for any machine: plain C. Without a fused multiply-add its sums differ in the last bits from the other builds. */
#define VEC_BYTES 16
#define ISA_NAME "scalar"
#define ISA_FEATURES "scalar"
#define ISA_TABLE sx_isa_scalar
#define FOR_DIRECT(X) X(1) X(2)
#define FOR_LAID(X) X(2)
#define TILE_ROWS 2 /* a multiple of each of these */
#include "generic.h"
