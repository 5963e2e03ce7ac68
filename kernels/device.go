//go:build cgo

package kernels

/*
#cgo CFLAGS: -std=c11 -Wall -Wextra
#include <stdlib.h>
#include "shim.h"

#cgo noescape shim_info
#cgo nocallback shim_info
#cgo noescape shim_upload
#cgo nocallback shim_upload
#cgo noescape shim_download
#cgo nocallback shim_download
*/
import "C"

import (
	"fmt"
	"math"
	"sort"
	"strings"
	"sync"
	"unsafe"

	"sextant/kernels/cpu"
	"sextant/kernels/ref"
)

// backends gives the table of each backend. One that is loaded at run time (a library beside the binary) answers an error when absent.
var backends = map[string]func() (unsafe.Pointer, error){
	"ref":  func() (unsafe.Pointer, error) { return ref.Ops(), nil },
	"cpu":  func() (unsafe.Pointer, error) { return cpu.Ops(), nil },
	"cuda": cudaTable,
}

// Backends names the backends of this build, sorted.
func Backends() []string {
	var names []string
	for name := range backends {
		names = append(names, name)
	}
	sort.Strings(names)
	return names
}

// ABI is the number that a library of kernels must have for this program.
const ABI = C.SX_ABI

// LaidOut is how many rows of its input a matmul of the cpu backend lays out anew at once, in f32.
const LaidOut = cpu.LaidOut

// Found is what a backend answered when one of its devices was opened.
type Found struct {
	Backend string
	Device  int   // the ordinal that was asked for
	Info    Info  // of the device
	Err     error // why it cannot be used, and what to do; nil: it can
}

// Probe opens a device of the backend and closes it again. o.Device is the ordinal: one behind the last is an error, too.
func Probe(backend string, o Options) Found {
	f := Found{Backend: backend, Device: o.Device}
	dev, err := Open(backend, o)
	if err != nil {
		f.Err = err
		return f
	}
	defer dev.Close()
	f.Info, f.Err = dev.Info()
	return f
}

// Device is an open device of a backend. It may be used by several goroutines: calls are carried out one at a time.
type Device struct {
	ops  *C.sx_ops
	name string

	mu   sync.Mutex
	dev  *C.sx_device // nil when closed
	live map[*handle]struct{}
}

// handle is the part common to everything that a device makes: its release, once.
type handle struct {
	dev  *Device
	free func()     // nil when freed; called with dev.mu held
	pin  sync.Mutex // held while it is freed, or read by another device; taken behind a device's mu
}

// end frees the object. Called with dev.mu held.
func (h *handle) end() {
	h.pin.Lock()
	defer h.pin.Unlock()
	h.free()
	h.free = nil
}

// Open opens a device of the backend.
func Open(backend string, o Options) (*Device, error) {
	find, ok := backends[backend]
	if !ok {
		return nil, invalid("open", "no backend %q; there are %s", backend, strings.Join(Backends(), ", "))
	}
	table, err := find()
	if err != nil {
		return nil, &Error{Op: "open", Text: backend + ": " + err.Error(), Kind: ErrDevice}
	}
	ops := (*C.sx_ops)(table)
	if err := checkTable(backend, ops); err != nil {
		return nil, err
	}
	device, ok1 := i32(o.Device)
	threads, ok2 := i32(o.Threads)
	if !ok1 || !ok2 {
		return nil, invalid("open", "device %d, threads %d", o.Device, o.Threads)
	}
	d := &Device{ops: ops, name: backend, live: map[*handle]struct{}{}}
	var why [512]C.char
	if s := C.shim_open(ops, device, threads, &d.dev, &why[0], C.size_t(len(why))); s != C.SX_OK {
		return nil, &Error{Op: "open", Text: backend + ": " + C.GoString(&why[0]), Kind: kindOf(s)}
	}
	return d, nil
}

// checkTable refuses a table that was built from another kernels.h.
func checkTable(backend string, ops *C.sx_ops) error {
	if ops.abi == C.SX_ABI && ops.size == C.sizeof_sx_ops {
		return nil
	}
	return &Error{Op: "open", Kind: ErrDevice, Text: fmt.Sprintf("backend %q has ABI %d and a table of %d bytes, this binary wants %d and %d: build both anew",
		backend, ops.abi, ops.size, C.SX_ABI, C.sizeof_sx_ops)}
}

// Close frees everything made from the device, then the device. It may be called twice.
func (d *Device) Close() {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.dev == nil {
		return
	}
	for h := range d.live {
		h.end()
	}
	d.live = nil
	C.shim_close(d.ops, d.dev)
	d.dev = nil
}

// Info describes the device.
func (d *Device) Info() (Info, error) {
	var c C.sx_info
	err := d.call("info", func(s C.shim) C.sx_status { return C.shim_info(s, &c) })
	if err != nil {
		return Info{}, err
	}
	return Info{
		Name: C.GoString(&c.name[0]), Features: C.GoString(&c.features[0]),
		Memory: int64(c.memory_bytes), Free: int64(c.free_bytes),
		Threads: int(c.threads), ComputeCapability: int(c.compute_capability), Layout: C.GoString(&c.layout[0]),
		Narrow: c.narrow != 0, Pieces: c.pieces != 0, Few: int(c.few), RoundsKV: c.rounds_kv != 0,
	}, nil
}

// call carries out f with the device locked and open, and turns its status into an error.
func (d *Device) call(op string, f func(C.shim) C.sx_status) error {
	if d == nil {
		return invalid(op, "no device")
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.dev == nil {
		return invalid(op, "the device is closed")
	}
	s := f(C.shim{ops: d.ops, dev: d.dev})
	if s == C.SX_OK {
		return nil
	}
	return &Error{Op: op, Text: C.GoString(C.shim_message(d.ops, d.dev)), Kind: kindOf(s)}
}

// keep registers what f made, so that Close can free it. Called within call.
func (d *Device) keep(free func(C.shim)) *handle {
	h := &handle{dev: d}
	h.free = func() { free(C.shim{ops: d.ops, dev: d.dev}) }
	d.live[h] = struct{}{}
	return h
}

// release frees the object once.
func (h *handle) release() {
	if h == nil {
		return
	}
	h.dev.mu.Lock()
	defer h.dev.mu.Unlock()
	if h.free != nil {
		h.end()
		delete(h.dev.live, h)
	}
}

func kindOf(s C.sx_status) error {
	switch s {
	case C.SX_INVALID:
		return ErrInvalid
	case C.SX_NOMEM:
		return ErrNoMemory
	case C.SX_UNSUPPORTED:
		return ErrUnsupported
	}
	return ErrDevice
}

func i32(v int) (C.int32_t, bool) { return C.int32_t(v), v >= math.MinInt32 && v <= math.MaxInt32 }
