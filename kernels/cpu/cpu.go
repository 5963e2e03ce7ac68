//go:build cgo

package cpu

/*
#cgo CFLAGS: -std=c11 -D_GNU_SOURCE -O2 -Wall -Wextra -Wno-psabi -pthread
#cgo LDFLAGS: -lm -lpthread
#include <stdlib.h>
#include "isa.h"

int32_t sx_cpu_threads(void);
int32_t sx_cpu_places(const char *root, const char *cpus, int32_t how, int32_t asked, int32_t cpu[64], int32_t node[64], int32_t info[4], double *quota);
int sx_cpu_hand_out(int32_t threads, const int32_t *node, int64_t n, int32_t meet, int32_t *by, int32_t *times);
void sx_cpu_wrong_models(_Bool wrong);
int sx_cpu_exp(const char *name, float *x, int64_t n);
double sx_cpu_fma(const char *name, int32_t threads);
double sx_cpu_read(const char *name, int32_t threads, int64_t bytes);
*/
import "C"
import "unsafe"

// LaidOut is how many rows of its input a matmul lays out anew at once.
const LaidOut = C.mat_rows

// Ops is the backend's sx_ops table.
func Ops() unsafe.Pointer { return unsafe.Pointer(C.sx_cpu_ops()) }

// Runs tells whether this machine runs the named build (amx, amx-bf16, avx512-bf16, avx512, avx2, scalar, or one of the tests' stand-ins:
// wide for avx512, NAME-model for the others).
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

// WrongModels makes the builds NAME-model give wrong products, or right ones again. It is for the test of what then becomes of them.
func WrongModels(wrong bool) { C.sx_cpu_wrong_models(C._Bool(wrong)) }

// Threads is how many threads a device has by default: one for each core of the CPUs that this process may run on, and no more than the CPU
// time that its cgroups grant.
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

// Places is what a process that may run on some CPUs finds out about them.
type Places struct {
	CPUs, Machine int     // it may run on; of the machine
	Quota         float64 // of CPUs, by the cgroups; 0: none
	Threads       int     // by default
	Pinned        bool    // as many threads as were asked for, 0 the default
	CPU, Node     []int32 // one CPU of each core, by nodes: the first 64
}

// PlacesOf reads /sys and /proc under root for a process on the CPUs of a list ("0-3,8"). how is SEXTANT_CPU_PIN: 0 unset, 1 never, 2 always.
// It is for the tests.
func PlacesOf(root, cpus string, how, asked int) Places {
	r, l := C.CString(root), C.CString(cpus)
	defer C.free(unsafe.Pointer(r))
	defer C.free(unsafe.Pointer(l))
	var cpu, node [64]C.int32_t
	var info [4]C.int32_t
	var quota C.double
	n := C.sx_cpu_places(r, l, C.int32_t(how), C.int32_t(asked), &cpu[0], &node[0], &info[0], &quota)
	p := Places{CPUs: int(info[0]), Machine: int(info[1]), Quota: float64(quota), Threads: int(info[2]), Pinned: info[3] != 0}
	for i := range min(int(n), len(cpu)) {
		p.CPU, p.Node = append(p.CPU, int32(cpu[i])), append(p.Node, int32(node[i]))
	}
	return p
}

// HandOut does a job of n items with as many threads as node has entries, and tells which thread did each item and how many times it was
// done. With meet, each of the first len(node) items begun waits for the others, so that every thread does one of them. It is for the tests.
func HandOut(node []int32, n int, meet bool) (by, times []int32, ok bool) {
	by, times = make([]int32, n+1), make([]int32, n+1)
	m := C.int32_t(0)
	if meet {
		m = 1
	}
	rc := C.sx_cpu_hand_out(C.int32_t(len(node)), (*C.int32_t)(unsafe.SliceData(node)), C.int64_t(n), m,
		(*C.int32_t)(unsafe.SliceData(by)), (*C.int32_t)(unsafe.SliceData(times)))
	return by[:n], times[:n], rc != 0
}
