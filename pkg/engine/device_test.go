package engine

import (
	"os"
	"testing"
)

// wantCUDA leaves the test out where no library of the cuda backend, real or emulated, is named.
func wantCUDA(t *testing.T) {
	t.Helper()
	if os.Getenv("SEXTANT_CUDA_LIB") == "" {
		t.Skip("SEXTANT_CUDA_LIB names no library of the cuda backend")
	}
}

// The pocket model has weights of bf16: so are a device's activations, which is what the margins and tolerances allow for.

func TestDevicePocketGreedy(t *testing.T) {
	wantCUDA(t)
	pocketGreedy(t, "cuda", 0.5, 7)
}

func TestDevicePocketItems(t *testing.T) {
	wantCUDA(t)
	pocketItems(t, "cuda", 0.03)
}
