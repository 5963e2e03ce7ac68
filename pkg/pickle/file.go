package pickle

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
)

// Limits of what a file may cost to look at. Real ones stay far below: a tensor takes about 200 bytes and 60 instructions.
const (
	maxPickle = 64 << 20 // bytes of a pickle
	maxSteps  = 1 << 21  // instructions of a pickle
	maxZip    = 32 << 20 // bytes of a zip file's tables
	maxDims   = 8        // of a tensor
	maxCount  = 1 << 46  // values of a tensor, or of a storage; bytes of neither overflow then
)

// Tensor is where a tensor lies in a file.
type Tensor struct {
	Name   string
	DType  string // as safetensors names it: "F32", "BF16", "I64"
	Shape  []int
	Stride []int // values from one index to the next, for each dimension
	Offset int64 // of its first byte in the file
	Bytes  int64 // of its values: row-major and little-endian from Offset on, where it is contiguous

	storage *storage
	first   int64 // its first value in the storage
}

// Contiguous tells whether the values lie row-major and without gaps.
func (t *Tensor) Contiguous() bool {
	want := 1
	for i := len(t.Shape) - 1; i >= 0; i-- {
		if t.Shape[i] == 0 {
			return true
		}
		if t.Shape[i] != 1 && t.Stride[i] != want {
			return false
		}
		want *= t.Shape[i]
	}
	return true
}

// Read finds the tensors of a file of so many bytes: those of the dictionary that was saved, in its order. Values of it that are no tensors are
// left out. Every tensor lies within the file. Errors say what was found and, where there is one, the way to a file that can be read.
func Read(r io.ReaderAt, size int64) ([]Tensor, error) {
	begin := make([]byte, min(size, int64(len(legacyMagic))))
	if _, err := io.ReadFull(io.NewSectionReader(r, 0, size), begin); err != nil {
		return nil, fmt.Errorf("reading the first %d bytes: %w", len(begin), err)
	}
	switch {
	case bytes.HasPrefix(begin, []byte("PK")):
		return readZip(r, size)
	case string(begin) == legacyMagic:
		return readLegacy(r, size)
	case bytes.HasPrefix(begin, []byte("version http")):
		return nil, errors.New("is a Git LFS pointer; fetch the file itself")
	}
	return nil, errors.New("is not a file of torch.save: it begins neither as a zip archive nor as torch's older format; " + saveAgain)
}

// saveAgain is the way out of a file that cannot be read. With weights_only torch executes nothing either.
const saveAgain = `in Python, torch.save({k: v.contiguous() for k, v in torch.load(FILE, map_location="cpu", weights_only=True).items()}, NEW) writes ` +
	"one that can be read"

// place is a range of a file's bytes.
type place struct{ begin, size int64 }

// tensors takes the tensors out of what a pickle made, with the storages where find has them.
func tensors(top any, find func(key string) (place, bool)) ([]Tensor, error) {
	d, ok := top.(*dict)
	if !ok {
		return nil, fmt.Errorf("holds %s, want a dictionary of tensors", kindOf(top))
	}
	var all []Tensor
	var nested []string
	for i, key := range d.keys {
		name, ok := key.(string)
		t, isTensor := d.values[i].(*Tensor)
		if inner, isDict := d.values[i].(*dict); isDict && ok && inner.hasTensors() {
			nested = append(nested, name)
		}
		if !ok || !isTensor {
			continue
		}
		found := *t
		found.Name = name
		if err := found.put(find); err != nil {
			return nil, fmt.Errorf("tensor %q: %w", name, err)
		}
		all = append(all, found)
	}
	if len(all) == 0 && len(nested) > 0 {
		return nil, fmt.Errorf("the tensors lie within %q: save that dictionary alone, torch.save(torch.load(FILE)[%q], NEW)", nested[0], nested[0])
	}
	if len(all) == 0 {
		return nil, errors.New("the dictionary holds no tensors")
	}
	return all, nil
}

// put places a tensor in the file.
func (t *Tensor) put(find func(string) (place, bool)) error {
	s := t.storage
	p, ok := find(s.key)
	if !ok {
		return fmt.Errorf("its storage %q is not in the file: the file is truncated or was changed", s.key)
	}
	if p.size != s.bytes {
		return fmt.Errorf("its storage %q holds %d bytes, expected %d: the file is truncated or was changed", s.key, p.size, s.bytes)
	}
	width := int64(dtypeSizes[t.DType])
	t.Offset = p.begin + t.first*width
	t.Bytes = width
	for _, n := range t.Shape {
		t.Bytes *= int64(n)
	}
	return nil
}

// kindOf names what a value is for messages.
func kindOf(v any) string {
	switch v := v.(type) {
	case nil:
		return "None"
	case bool:
		return "a bool"
	case int64:
		return "an int"
	case float64:
		return "a float"
	case string:
		return "a string"
	case []byte:
		return "bytes"
	case tuple:
		return fmt.Sprintf("a tuple of %d", len(v))
	case *list:
		return "a list"
	case *dict:
		return "a dict"
	case *Tensor:
		return "a tensor"
	case *storage:
		return "a storage"
	case global:
		return string(v)
	}
	return "something else"
}

// cut shortens text of a file for a message.
func cut(s string) string {
	const most = 80
	if len(s) > most {
		s = s[:most] + "..."
	}
	return strings.ToValidUTF8(s, "?")
}

// tuple, list and dict are Python's; a dict keeps its order.
type (
	tuple []any
	list  struct{ items []any }
	dict  struct {
		keys, values []any
		at           map[any]int
		ordered      bool // collections.OrderedDict
	}
)

// set adds a key. A key twice is an error: nothing that saves a dictionary writes one.
func (d *dict) set(key, value any) error {
	switch key.(type) {
	case string, int64, bool:
	default:
		return fmt.Errorf("a key of a dict is %s: want a string or an int", kindOf(key))
	}
	if _, ok := d.at[key]; ok {
		return fmt.Errorf("a dict has the key %q twice", cut(fmt.Sprint(key)))
	}
	if d.at == nil {
		d.at = map[any]int{}
	}
	d.at[key] = len(d.keys)
	d.keys, d.values = append(d.keys, key), append(d.values, value)
	return nil
}

func (d *dict) hasTensors() bool {
	return slices.ContainsFunc(d.values, func(v any) bool { _, ok := v.(*Tensor); return ok })
}
