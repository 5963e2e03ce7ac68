//go:build cgo

package kernels

/*
#cgo linux LDFLAGS: -ldl
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include "kernels.h"

// Loads a library that exports the table under a name; it stays loaded. NULL: why says what the system says.
static const sx_ops *load_table(const char *path, const char *name, char *why, size_t why_bytes) {
  void *lib = dlopen(path, RTLD_NOW | RTLD_LOCAL);
  if (!lib) {
    const char *text = dlerror();
    snprintf(why, why_bytes, "%s", text ? text : "no reason given");
    return NULL;
  }
  const sx_ops *(*find)(void);
  *(void **)&find = dlsym(lib, name);
  const sx_ops *ops = find ? find() : NULL;
  if (ops) return ops;
  *why = 0;
  dlclose(lib);
  return NULL;
}
*/
import "C"

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"unsafe"
)

const (
	cudaLibrary = "libsextant_cuda.so"
	cudaEnv     = "SEXTANT_CUDA_LIB"
)

// The tables that were loaded, by the path of the library: it stays in the process.
var (
	tablesMu sync.Mutex
	tables   = map[string]unsafe.Pointer{}
)

// CUDALibrary is the path of the cuda backend's library, where SEXTANT_CUDA_LIB says, else beside the program; or why there is none.
func CUDALibrary() (string, error) {
	if path := os.Getenv(cudaEnv); path != "" {
		if _, err := os.Stat(path); err != nil {
			return "", fmt.Errorf("the library that %s names cannot be read: %w", cudaEnv, err)
		}
		return filepath.Abs(path)
	}
	self, err := os.Executable()
	if err == nil {
		self, err = filepath.EvalSymlinks(self)
	}
	if err != nil {
		return "", fmt.Errorf("finding the program's folder, where %s should be: %w; name the library in %s", cudaLibrary, err, cudaEnv)
	}
	path := filepath.Join(filepath.Dir(self), cudaLibrary)
	if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("there is no %s beside the program in %s: build it where CUDA's compiler is (make worker-cuda) and put it there, or name it in %s",
			cudaLibrary, filepath.Dir(self), cudaEnv)
	} else if err != nil {
		return "", fmt.Errorf("reading %s: %w", cudaLibrary, err)
	}
	return path, nil
}

// cudaTable loads the library of the cuda backend, once.
func cudaTable() (unsafe.Pointer, error) {
	path, err := CUDALibrary()
	if err != nil {
		return nil, err
	}
	tablesMu.Lock()
	defer tablesMu.Unlock()
	if t := tables[path]; t != nil {
		return t, nil
	}
	p, name := C.CString(path), C.CString("sx_cuda_ops")
	defer C.free(unsafe.Pointer(p))
	defer C.free(unsafe.Pointer(name))
	var why [512]C.char
	t := C.load_table(p, name, &why[0], C.size_t(len(why)))
	if t == nil {
		return nil, errors.New(loadAdvice(path, C.GoString(&why[0])))
	}
	tables[path] = unsafe.Pointer(t)
	return tables[path], nil
}

// loadAdvice says what to do about a library that could not be loaded, by what the system's loader says.
func loadAdvice(path, why string) string {
	lacks := func(names ...string) bool {
		for _, n := range names {
			if strings.HasPrefix(why, n) {
				return true
			}
		}
		return false
	}
	switch {
	case why == "":
		return fmt.Sprintf("%s does not export sx_cuda_ops: it is no library of this project's cuda kernels; build it anew (make worker-cuda)", path)
	case lacks("libcuda.so", "libnvidia"):
		return fmt.Sprintf("%s: no NVIDIA driver on this machine: run on a node with GPUs, or load its driver's libraries", why)
	case lacks("libcudart", "libcublas"):
		return fmt.Sprintf("%s: CUDA's runtime libraries are not found: load the CUDA module, or add their folder to LD_LIBRARY_PATH", why)
	case strings.Contains(why, "GLIBC") || strings.Contains(why, "CXXABI"):
		return fmt.Sprintf("%s: the library was built for a newer system: build it on this machine, or on one as old", why)
	}
	return fmt.Sprintf("loading the library: %s; build it anew (make worker-cuda)", why)
}
