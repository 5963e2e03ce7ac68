//go:build cgo

package kernels_test

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"sextant/kernels"
)

// TestCUDALibrary: what is wrong with the library is told, with what to do.
func TestCUDALibrary(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("SEXTANT_CUDA_LIB", "")
	open := func(lib string) error {
		t.Helper()
		t.Setenv("SEXTANT_CUDA_LIB", lib)
		f := kernels.Probe("cuda", kernels.Options{})
		if !errors.Is(f.Err, kernels.ErrDevice) || f.Backend != "cuda" {
			t.Errorf("%q: %+v", lib, f)
			return errors.New("")
		}
		return f.Err
	}
	says := func(err error, words ...string) {
		t.Helper()
		for _, w := range words {
			if !strings.Contains(err.Error(), w) {
				t.Errorf("%v: want %q in it", err, w)
			}
		}
	}
	says(open(""), "there is no libsextant_cuda.so beside the program", "SEXTANT_CUDA_LIB", "make worker-cuda")
	says(open(filepath.Join(dir, "none.so")), "SEXTANT_CUDA_LIB names cannot be read", "none.so")
	text := filepath.Join(dir, "text.so")
	if err := os.WriteFile(text, []byte("no library"), 0o600); err != nil {
		t.Fatal(err)
	}
	says(open(text), "loading the library", "text.so", "build it anew")
	var found []kernels.Found
	for _, name := range kernels.Backends() {
		found = append(found, kernels.Probe(name, kernels.Options{Threads: 1}))
	}
	if len(found) != 3 || found[0].Err != nil || found[1].Err == nil || found[2].Err != nil || found[0].Info.Threads != 1 {
		t.Errorf("all: %+v", found)
	}
	cc, err := exec.LookPath("cc")
	if err != nil {
		t.Skip("no C compiler to make libraries with")
	}
	build := func(name, source string, args ...string) string {
		t.Helper()
		c := filepath.Join(dir, name+".c")
		if err := os.WriteFile(c, []byte(source), 0o600); err != nil {
			t.Fatal(err)
		}
		lib := filepath.Join(dir, name+".so")
		if out, err := exec.Command(cc, append([]string{"-shared", "-fPIC", "-o", lib, c}, args...)...).CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		return lib
	}
	says(open(build("empty", "int x;")), "does not export sx_cuda_ops")
	says(open(build("old", "static struct { unsigned abi, size; } t = {1, 8}; void *sx_cuda_ops(void) { return &t; }")), `backend "cuda" has ABI 1 and a table of 8 bytes`, "build both anew")
	build("libcuda", "int cuInit(void) { return 0; }", "-Wl,-soname,libcuda.so.1")
	driverless := build("driverless", "int cuInit(void); void *sx_cuda_ops(void) { return cuInit() ? 0 : 0; }", filepath.Join(dir, "libcuda.so"))
	says(open(driverless), "libcuda.so.1", "no NVIDIA driver")
	build("libcublas", "int cublas(void) { return 0; }", "-Wl,-soname,libcublasLt.so.12")
	says(open(build("blasless", "int cublas(void); void *sx_cuda_ops(void) { return cublas() ? 0 : 0; }", filepath.Join(dir, "libcublas.so"))), "LD_LIBRARY_PATH")
}
