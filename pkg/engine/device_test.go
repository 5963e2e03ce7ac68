package engine

import (
	"testing"

	"sextant/internal/cudalib"
)

// The pocket model has weights of bf16: so are a device's activations, which is what the margins and tolerances allow for.

func TestDevicePocketGreedy(t *testing.T) {
	cudalib.Want(t)
	pocketGreedy(t, "cuda", 0.5, 7)
}

func TestDevicePocketItems(t *testing.T) {
	cudalib.Want(t)
	pocketItems(t, "cuda", 0.03)
}
