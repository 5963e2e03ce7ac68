package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"text/tabwriter"

	"github.com/urfave/cli/v2"

	"sextant/kernels"
	"sextant/pkg/cliargs"
	"sextant/pkg/worker"
)

func infoCommand() *cli.Command {
	return &cli.Command{
		Name:  "info",
		Usage: "show what this machine offers a worker",
		Description: "Tells of each kernel backend what it found or why it cannot be used here, which one a worker would take, and how much memory is left.\n\n" +
			"Example: worker info",
		Flags: append(backendFlags()[1:], jsonFlag("print one JSON document")),
		Action: func(c *cli.Context) error {
			if _, err := cliargs.Positional(c); err != nil {
				return err
			}
			v := look(threads(c, os.Getenv))
			if !c.Bool("json") {
				return v.print(c.App.Writer)
			}
			enc := json.NewEncoder(c.App.Writer)
			enc.SetIndent("", "  ")
			return enc.Encode(v)
		},
	}
}

// infoView is what a machine offers a worker.
type infoView struct {
	Version     int           `json:"version"`
	ABI         int           `json:"kernels_abi"`            // that of this program; a library of kernels must have the same
	Auto        string        `json:"auto"`                   // the backend that --backend auto takes
	CUDALibrary string        `json:"cuda_library,omitempty"` // where libsextant_cuda.so is
	Backends    []backendView `json:"backends"`               // one a device
	MemoryLeft  int64         `json:"memory_left"`            // bytes that a worker may take, by limits and machine; 0: not known
}

// backendView is a backend on a device.
type backendView struct {
	Backend    string `json:"backend"` // "cpu", "cuda" or "ref"
	Device     int    `json:"device"`  // its number
	Usable     bool   `json:"usable"`
	Reason     string `json:"reason,omitempty"` // why it is not
	Name       string `json:"name,omitempty"`   // of the processor
	Features   string `json:"features,omitempty"`
	Capability int    `json:"compute_capability,omitempty"` // of CUDA: 90 of 9.0
	Threads    int    `json:"threads,omitempty"`
	Memory     int64  `json:"memory,omitempty"` // bytes; absent: not known
	Free       int64  `json:"free,omitempty"`   // bytes of it
}

// look asks every backend.
func look(threads int) infoView {
	v := infoView{Version: jsonVersion, ABI: kernels.ABI, Auto: "cpu", MemoryLeft: max(0, worker.Memory())}
	if path, err := kernels.CUDALibrary(); err == nil {
		v.CUDALibrary = path
	}
	for _, name := range kernels.Backends() {
		if name != "cuda" {
			v.Backends = append(v.Backends, viewOf(kernels.Probe(name, kernels.Options{Threads: threads})))
			continue
		}
		devices := cudaDevices()
		if devices[0].Usable {
			v.Auto = name
		}
		v.Backends = append(v.Backends, devices...)
	}
	return v
}

// mostDevices bounds the search for the last one of a backend.
const mostDevices = 64

// cudaDevices are those that this process may see; where not even the first can be used, that one and why.
func cudaDevices() (out []backendView) {
	for i := range mostDevices {
		f := kernels.Probe("cuda", kernels.Options{Device: i})
		if i > 0 && errors.Is(f.Err, kernels.ErrInvalid) {
			break // there is none of this number
		}
		out = append(out, viewOf(f))
		if f.Err != nil && i == 0 {
			break // what is wrong is not this device's alone, or it is the only one
		}
	}
	return out
}

func viewOf(f kernels.Found) backendView {
	v := backendView{Backend: f.Backend, Device: f.Device, Usable: f.Err == nil}
	if f.Err != nil {
		v.Reason = f.Err.Error()
		return v
	}
	v.Name, v.Features, v.Capability, v.Memory, v.Free = f.Info.Name, f.Info.Features, f.Info.ComputeCapability, max(0, f.Info.Memory), max(0, f.Info.Free)
	if v.Capability == 0 {
		v.Threads = f.Info.Threads
	}
	return v
}

func (v infoView) print(out io.Writer) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	for i, b := range v.Backends {
		name := b.Backend
		if name == "cuda" && v.CUDALibrary != "" && (i == 0 || v.Backends[i-1].Backend != name) {
			fmt.Fprintf(w, "cuda library\t%s\n", v.CUDALibrary)
		}
		if name == "cuda" && (b.Usable || b.Device > 0) {
			name = fmt.Sprintf("%s, device %d", name, b.Device)
		}
		fmt.Fprintf(w, "backend %s\t%s\n", name, b)
	}
	fmt.Fprintf(w, "backend auto\t%s\n", v.Auto)
	fmt.Fprintf(w, "memory left\t%s\n", gibibytes(v.MemoryLeft))
	return w.Flush()
}

// String is what was found, in words.
func (b backendView) String() string {
	if !b.Usable {
		return "not usable: " + b.Reason
	}
	text := fmt.Sprintf("%s; %s", b.Name, b.Features)
	if b.Capability > 0 {
		text += fmt.Sprintf("; compute capability %d.%d", b.Capability/10, b.Capability%10)
	} else {
		text += fmt.Sprintf("; threads %d", b.Threads)
	}
	return fmt.Sprintf("%s; memory %s, free %s", text, gibibytes(b.Memory), gibibytes(b.Free))
}

func gibibytes(n int64) string {
	if n <= 0 {
		return "unknown"
	}
	return fmt.Sprintf("%.1f GiB", float64(n)/(1<<30))
}
