//go:build cgo

package cpu

/*
#cgo CFLAGS: -std=c11 -D_GNU_SOURCE -O2 -Wall -Wextra -Wno-psabi -pthread
#cgo LDFLAGS: -lm -lpthread
#include <stdlib.h>
#include "kernels.h"

const void *sx_cpu_build(const char *name);
int32_t sx_cpu_threads(void);
int sx_cpu_exp(const char *name, float *x, int64_t n);
double sx_cpu_fma(const char *name, int32_t threads);
double sx_cpu_read(const char *name, int32_t threads, int64_t bytes);
*/
import "C"
import "unsafe"

// Ops is the backend's sx_ops table.
func Ops() unsafe.Pointer { return unsafe.Pointer(C.sx_cpu_ops()) }

// Runs tells whether this machine runs the named build (avx512, avx2, scalar, or wide: the tests' stand-in for avx512).
func Runs(isa string) bool {
	name := C.CString(isa)
	defer C.free(unsafe.Pointer(name))
	return C.sx_cpu_build(name) != nil
}

// Exp replaces each value by its exponential as the named build computes it within the kernels; false when it does not run here. It is
// for the tests: no operation gives exp alone.
func Exp(isa string, x []float32) bool {
	name := C.CString(isa)
	defer C.free(unsafe.Pointer(name))
	return C.sx_cpu_exp(name, (*C.float)(unsafe.SliceData(x)), C.int64_t(len(x))) != 0
}

// Threads is the number of CPUs that this process may run on.
func Threads() int { return int(C.sx_cpu_threads()) }

// FMA measures the named build's multiply-adds in registers on so many threads, in GFLOP/s; 0 when the build does not run here.
func FMA(isa string, threads int) float64 {
	name := C.CString(isa)
	defer C.free(unsafe.Pointer(name))
	return float64(C.sx_cpu_fma(name, C.int32_t(threads)))
}

// Read measures the reading of so many bytes of memory on so many threads, in GB/s; 0 when the memory cannot be had.
func Read(isa string, threads int, bytes int64) float64 {
	name := C.CString(isa)
	defer C.free(unsafe.Pointer(name))
	return float64(C.sx_cpu_read(name, C.int32_t(threads), C.int64_t(bytes)))
}
