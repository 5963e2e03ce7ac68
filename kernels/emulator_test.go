package kernels_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestEmulator: the emulator of GPU threads, kernels/cuda/emu, catches what is planted in its own kernels and accuses no sound one.
func TestEmulator(t *testing.T) {
	t.Parallel()
	if testing.Short() { // the sanitizers' runs: they change nothing in what g++ builds here
		return
	}
	if _, err := exec.LookPath("g++"); err != nil {
		t.Fatal("no g++ to build the emulator with: make deps installs it")
	}
	// They are read here so that the result is not taken from go's cache when one has changed.
	for _, pattern := range []string{"cuda/*.cuh", "cuda/*.h", "cuda/emu/*.*", "cuda/emu/tests/*.*", "../scripts/build-cuda"} {
		files, err := filepath.Glob(pattern)
		if err != nil || len(files) == 0 {
			t.Fatalf("%s: no files (%v)", pattern, err)
		}
		for _, f := range files {
			if _, err := os.ReadFile(f); err != nil && !strings.Contains(err.Error(), "is a directory") {
				t.Fatal(err)
			}
		}
	}
	program := filepath.Join(t.TempDir(), "emulator")
	if out, err := exec.Command("../scripts/build-cuda", "--tests", program).CombinedOutput(); err != nil {
		t.Fatalf("building: %v\n%s", err, out)
	}
	if out, err := exec.Command(program).CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}
