//go:build cgo

package cpu

/*
#cgo CFLAGS: -std=c11 -D_GNU_SOURCE -O3 -Wall -Wextra -Wno-psabi -pthread
#cgo LDFLAGS: -lm -lpthread
#include <stdlib.h>
#include "kernels.h"

int sx_cpu_runs(const char *name);
int sx_cpu_exp(const char *name, float *x, int64_t n);
*/
import "C"
import "unsafe"

// Ops is the backend's sx_ops table.
func Ops() unsafe.Pointer { return unsafe.Pointer(C.sx_cpu_ops()) }

// Runs tells whether this machine runs the named build (avx512, avx2, scalar, or wide: the tests' stand-in for avx512).
func Runs(isa string) bool {
	name := C.CString(isa)
	defer C.free(unsafe.Pointer(name))
	return C.sx_cpu_runs(name) != 0
}

// Exp replaces each value by its exponential as the named build computes it within the kernels; false when it does not run here. It is
// for the tests: no operation gives exp alone.
func Exp(isa string, x []float32) bool {
	name := C.CString(isa)
	defer C.free(unsafe.Pointer(name))
	return C.sx_cpu_exp(name, (*C.float)(unsafe.SliceData(x)), C.int64_t(len(x))) != 0
}
