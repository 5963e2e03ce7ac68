// test.h: how the emulator's own tests launch kernels and say what they expect.
#ifndef SEXTANT_EMU_TEST_H
#define SEXTANT_EMU_TEST_H
#include "device.cuh"

extern cu_ctx ctx;    // its message: of the last failure
extern int failures;

// The launch must end well (want NULL), or with a message that has all of the words of `want`, which stand between "|".
void expect(const char *name, sx_status got, const char *want);
void expect_true(const char *name, bool ok);
void *device(int64_t bytes); // zeros
void release(void *p);

void test_faults();
void test_matrices();
void test_numbers();
void test_runtime();
#endif
