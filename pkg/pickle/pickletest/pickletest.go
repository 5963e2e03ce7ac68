// Package pickletest writes files as torch.save does, for tests of what reads them.
package pickletest

import (
	"archive/zip"
	"bytes"
	"encoding/binary"
	"fmt"
	"hash/crc32"
)

// Tensor is a tensor to write: Data are its values, row-major and little-endian.
type Tensor struct {
	Name, DType string // "F32", "F16", "BF16", "I64"
	Shape       []int
	Data        []byte
}

// storageTypes are torch's names and sizes of dtypes.
var storageTypes = map[string]struct {
	name string
	size int
}{"F32": {"FloatStorage", 4}, "F16": {"HalfStorage", 2}, "BF16": {"BFloat16Storage", 2}, "I64": {"LongStorage", 8}}

// File is the file of a dictionary of tensors.
func File(tensors []Tensor) []byte {
	entries := []Entry{{"archive/data.pkl", Pickle(tensors)}, {"archive/byteorder", []byte("little")}}
	for i, t := range tensors {
		entries = append(entries, Entry{fmt.Sprintf("archive/data/%d", i), t.Data})
	}
	return Zip(append(entries, Entry{"archive/version", []byte("3\n")}))
}

// Pickle is the pickle of an OrderedDict of tensors, each of which has a storage of its own, named by its number.
func Pickle(tensors []Tensor) []byte {
	p := []byte("\x80\x02ccollections\nOrderedDict\n)R(")
	for i, t := range tensors {
		s, ok := storageTypes[t.DType]
		if !ok {
			panic("no storage type for " + t.DType)
		}
		p = append(Text(p, t.Name), "ctorch._utils\n_rebuild_tensor_v2\n(("...)
		p = append(Text(p, "storage"), "ctorch\n"+s.name+"\n"...)
		p = Int(Text(Text(p, fmt.Sprint(i)), "cpu"), len(t.Data)/s.size)
		p = append(Int(append(p, 't', 'Q'), 0), '(')
		stride := make([]int, len(t.Shape))
		step := 1
		for i := len(t.Shape) - 1; i >= 0; i-- {
			stride[i], step = step, step*t.Shape[i]
		}
		for _, n := range t.Shape {
			p = Int(p, n)
		}
		p = append(p, 't', '(')
		for _, n := range stride {
			p = Int(p, n)
		}
		p = append(p, "t\x89ccollections\nOrderedDict\n)RtR"...)
	}
	return append(p, 'u', '.')
}

// Text appends a string to a pickle.
func Text(p []byte, s string) []byte {
	return append(binary.LittleEndian.AppendUint32(append(p, 'X'), uint32(len(s))), s...)
}

// Int appends an int to a pickle.
func Int(p []byte, n int) []byte {
	return binary.LittleEndian.AppendUint64(append(p, 0x8a, 8), uint64(n))
}

// Entry is a file of an archive.
type Entry struct {
	Name string
	Data []byte
}

// Zip is an archive whose entries are stored, their data at multiples of 64 bytes.
func Zip(entries []Entry) []byte {
	const align, local, extra = 64, 30, 4 // bytes of a header's fixed parts
	var out bytes.Buffer
	w := zip.NewWriter(&out)
	for _, e := range entries {
		if err := w.Flush(); err != nil {
			panic(err) // a Buffer takes all
		}
		pad := (align - (out.Len()+local+len(e.Name)+extra)%align) % align
		h := &zip.FileHeader{Name: e.Name, Method: zip.Store, CRC32: crc32.ChecksumIEEE(e.Data),
			CompressedSize64: uint64(len(e.Data)), UncompressedSize64: uint64(len(e.Data))}
		h.Extra = append(binary.LittleEndian.AppendUint16([]byte("FB"), uint16(pad)), make([]byte, pad)...)
		f, err := w.CreateRaw(h)
		if err == nil {
			_, err = f.Write(e.Data)
		}
		if err != nil {
			panic(err)
		}
	}
	if err := w.Close(); err != nil {
		panic(err)
	}
	return out.Bytes()
}
