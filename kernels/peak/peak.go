//go:build cgo

package peak

/*
#cgo CFLAGS: -std=gnu11 -O3 -Wall -Wextra -Wno-psabi
#include "peak.h"
*/
import "C"

// Units lists what this machine has.
func Units() []Unit {
	var out []Unit
	for i := range int(C.peak_units()) {
		if C.peak_runs(C.int(i)) != 0 {
			out = append(out, Unit{ISA: C.GoString(C.peak_isa(C.int(i))), DType: C.GoString(C.peak_dtype(C.int(i))), index: i})
		}
	}
	return out
}

// Run does so many rounds, of a few nanoseconds each, and gives the operations done: a multiply-add is two.
func (u Unit) Run(rounds int) float64 { return float64(C.peak_run(C.int(u.index), C.int64_t(rounds))) }
