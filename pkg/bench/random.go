package bench

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"

	"sextant/pkg/checkpoint"
)

// weightsFile is the name that checkpoints give a model's weights.
const weightsFile = "model.safetensors"

// openRandom opens a model of random weights. They lie in memory alone, in a file without a name that goes with the process; all that is
// ever on a disk is a directory with a few bytes, for as long as opening takes.
func openRandom(s shape, dtype string) (*checkpoint.Checkpoint, error) {
	dir, err := os.MkdirTemp("", "sextant-bench-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	fd, err := unix.MemfdCreate("sextant-bench", unix.MFD_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("making a file in memory: %w", err)
	}
	f := os.NewFile(uintptr(fd), "random weights in memory")
	defer f.Close()
	if err := errors.Join(s.writeConfig(dir, dtype), s.writeWeights(f, dtype),
		os.Symlink(fmt.Sprintf("/proc/self/fd/%d", fd), filepath.Join(dir, weightsFile))); err != nil {
		return nil, err
	}
	return checkpoint.Open(dir)
}

// Save writes a model of random weights into dir, which it makes: the same that Run has under that shape and dtype, for other programs to
// load. Files that are there already are an error.
func Save(dir, shapeName, dtype string) (err error) {
	s, err := findShape(shapeName, dtype)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(dir, 0o777); err != nil {
		return err
	}
	path := filepath.Join(dir, weightsFile)
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o666)
	if err != nil {
		return err
	}
	err = errors.Join(s.writeConfig(dir, dtype), s.writeWeights(f, dtype), f.Close())
	if err != nil {
		err = errors.Join(fmt.Errorf("writing random weights to %q: %w", dir, err), os.Remove(path))
	}
	return err
}

func (s shape) writeConfig(dir, dtype string) error {
	data, err := s.config(dtype)
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, "config.json"), append(data, '\n'), 0o666)
}

// header is the beginning of the weights' file, its table of tensors included, and the bytes that follow it.
func (s shape) header(dtype string) (head []byte, data int64, err error) {
	table := map[string]any{}
	for _, t := range s.tensors() {
		end := data + t.values()*int64(valueBytes(dtype))
		table[t.name] = map[string]any{"dtype": formats[dtype], "shape": t.dims, "data_offsets": []int64{data, end}}
		data = end
	}
	text, err := json.Marshal(table)
	if err != nil {
		return nil, 0, err
	}
	text = append(text, bytes.Repeat([]byte{' '}, 63-(len(text)+7)%64)...) // so that the values are aligned
	return append(binary.LittleEndian.AppendUint64(nil, uint64(len(text))), text...), data, nil
}

func valueBytes(dtype string) int {
	if dtype == "f32" {
		return 4
	}
	return 2
}

// writeWeights fills f, which is empty, through its mapping. The space is had first, for a write to a mapping cannot fail in words.
func (s shape) writeWeights(f *os.File, dtype string) error {
	head, data, err := s.header(dtype)
	if err != nil {
		return err
	}
	size := int64(len(head)) + data
	if err := f.Truncate(size); err != nil {
		return err
	}
	if err := unix.Fallocate(int(f.Fd()), 0, 0, size); err != nil && !errors.Is(err, syscall.EOPNOTSUPP) {
		return fmt.Errorf("making room for %d bytes: %w", size, err)
	}
	b, err := unix.Mmap(int(f.Fd()), 0, int(size), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return fmt.Errorf("mapping %d bytes: %w", size, err)
	}
	copy(b, head)
	s.fill(b[len(head):], dtype)
	return unix.Munmap(b)
}

// chunk is the values that one seed is for.
const chunk = 1 << 20

// fill gives norms ones and matrices normal values of a deviation of 0.02, as models begin their training with. The values depend on the
// shape and the dtype alone.
func (s shape) fill(b []byte, dtype string) {
	table, one, size := normals(dtype), encode(dtype, 1), valueBytes(dtype)
	type part struct {
		b    []byte
		seed uint64
	}
	parts := make(chan part)
	var done sync.WaitGroup
	for range runtime.GOMAXPROCS(0) {
		done.Go(func() {
			for p := range parts {
				fillChunk(p.b, table, p.seed)
			}
		})
	}
	seed := uint64(0)
	for _, t := range s.tensors() {
		n := int(t.values()) * size
		if len(t.dims) == 1 {
			copy(b, bytes.Repeat(one, n/size))
		} else {
			for at := 0; at < n; at += chunk * size {
				seed++
				parts <- part{b[at:min(at+chunk*size, n)], seed}
			}
		}
		b = b[n:]
	}
	close(parts)
	done.Wait()
}

// fillChunk draws from table, which has a power of two of values.
func fillChunk(b, table []byte, seed uint64) {
	size := len(table) >> 16
	state := seed * 0x9e3779b97f4a7c15
	var bits uint64
	for at, left := 0, 0; at+size <= len(b); at += size {
		if left == 0 { // splitmix64
			state += 0x9e3779b97f4a7c15
			bits = (state ^ state>>30) * 0xbf58476d1ce4e5b9
			bits = (bits ^ bits>>27) * 0x94d049bb133111eb
			bits ^= bits >> 31
			left = 4
		}
		i := int(bits&0xffff) * size
		if size == 2 {
			b[at], b[at+1] = table[i], table[i+1]
		} else {
			copy(b[at:at+4], table[i:i+4])
		}
		bits >>= 16
		left--
	}
}

// normals are 65536 quantiles of the normal distribution, encoded.
func normals(dtype string) []byte {
	var table []byte
	for i := range 1 << 16 {
		table = append(table, encode(dtype, float32(0.02*math.Sqrt2*math.Erfinv((2*float64(i)+1)/(1<<16)-1)))...)
	}
	return table
}

// encode gives the bytes of v, which f16 holds as a normal number or cuts to 0.
func encode(dtype string, v float32) []byte {
	bits := math.Float32bits(v)
	switch dtype {
	case "bf16":
		return binary.LittleEndian.AppendUint16(nil, uint16((bits+0x7fff+bits>>16&1)>>16))
	case "f16":
		sign, exp := uint16(bits>>16&0x8000), int(bits>>23&0xff)-112
		if exp <= 0 {
			return binary.LittleEndian.AppendUint16(nil, sign)
		}
		return binary.LittleEndian.AppendUint16(nil, sign|uint16(exp<<10)|uint16(bits>>13&0x3ff))
	}
	return binary.LittleEndian.AppendUint32(nil, bits)
}
