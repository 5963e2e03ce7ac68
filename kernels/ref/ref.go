//go:build cgo

package ref

/*
#cgo CFLAGS: -std=c11 -D_GNU_SOURCE -O2 -Wall -Wextra
#cgo LDFLAGS: -lm
#include "kernels.h"
*/
import "C"
import "unsafe"

// Ops is the backend's sx_ops table.
func Ops() unsafe.Pointer { return unsafe.Pointer(C.sx_ref_ops()) }
