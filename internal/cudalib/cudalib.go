// Package cudalib tells tests whether there is a library of the cuda backend to run on, real or emulated.
package cudalib

import (
	"os"
	"testing"
)

// Named says whether SEXTANT_CUDA_LIB names one.
func Named() bool { return os.Getenv("SEXTANT_CUDA_LIB") != "" }

// Want leaves the test out where none is named.
func Want(t testing.TB) {
	t.Helper()
	if !Named() {
		t.Skip("SEXTANT_CUDA_LIB names no library of the cuda backend")
	}
}
