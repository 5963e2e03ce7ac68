package checkpoint

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/bits"
	"sort"
	"strconv"
)

// maxHeader is the largest header the safetensors format allows, in bytes.
const maxHeader = 100_000_000

// dtypeSizes holds the bytes of one value of each safetensors dtype that is a whole number of bytes.
var dtypeSizes = map[string]int{
	"BOOL": 1, "U8": 1, "I8": 1, "F8_E4M3": 1, "F8_E5M2": 1, "F8_E8M0": 1,
	"U16": 2, "I16": 2, "F16": 2, "BF16": 2, "U32": 4, "I32": 4, "F32": 4, "U64": 8, "I64": 8, "F64": 8, "C64": 8,
}

// entry is one tensor of a file's table: bytes [begin,end) of the data that follows the header.
type entry struct {
	name       string
	dtype      string
	shape      []int
	begin, end int64
	unfit      string // why it cannot be used; "": it can
}

// readHeader reads the tensor table of a safetensors file of size bytes, in the order of the data, and the offset at which the data
// begins. Format: eight little-endian bytes of header length, a JSON header, then the tensors' bytes without gaps.
func readHeader(r io.ReaderAt, size int64) ([]entry, int64, error) {
	var prefix [8]byte
	if size < 8 {
		return nil, 0, fmt.Errorf("%d bytes is too short for a safetensors file: expected at least the 8 bytes of the header length", size)
	}
	if _, err := r.ReadAt(prefix[:], 0); err != nil {
		return nil, 0, fmt.Errorf("reading the header length: %w", err)
	}
	n := binary.LittleEndian.Uint64(prefix[:])
	if n > maxHeader {
		return nil, 0, fmt.Errorf("header length is %d bytes, expected at most %d: not a safetensors file?", n, maxHeader)
	}
	if int64(n) > size-8 {
		return nil, 0, fmt.Errorf("header length is %d bytes, but only %d bytes follow it: the file is truncated or not a safetensors file", n, size-8)
	}
	header := make([]byte, n)
	if _, err := io.ReadFull(io.NewSectionReader(r, 8, int64(n)), header); err != nil {
		return nil, 0, fmt.Errorf("reading the header: %w", err)
	}
	entries, err := parseHeader(header)
	if err != nil {
		return nil, 0, err
	}
	return entries, 8 + int64(n), checkLayout(entries, size-8-int64(n))
}

// parseHeader reads the JSON of a header and checks each tensor on its own: known dtype, size = shape x dtype, no name twice.
func parseHeader(header []byte) ([]entry, error) {
	if len(header) == 0 || header[0] != '{' {
		return nil, errors.New("the header does not begin with '{': not a safetensors file")
	}
	dec := json.NewDecoder(bytes.NewReader(header))
	dec.UseNumber()
	var entries []entry
	err := eachKey(dec, func(name string) error {
		if name == "__metadata__" {
			var meta map[string]string
			if err := dec.Decode(&meta); err != nil {
				return fmt.Errorf("__metadata__: want strings: %w", err)
			}
			return nil
		}
		e, err := parseEntry(dec, name)
		if err != nil {
			return fmt.Errorf("tensor %q: %w", name, err)
		}
		entries = append(entries, e)
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("header: %w", err)
	}
	if _, err := dec.Token(); err != io.EOF {
		return nil, fmt.Errorf("header: something follows the closing '}' at byte %d", dec.InputOffset())
	}
	return entries, nil
}

func parseEntry(dec *json.Decoder, name string) (entry, error) {
	e := entry{name: name}
	var offsets []json.Number
	var shape []json.Number
	err := eachKey(dec, func(key string) error {
		switch key {
		case "dtype":
			return dec.Decode(&e.dtype)
		case "shape":
			return dec.Decode(&shape)
		case "data_offsets":
			return dec.Decode(&offsets)
		}
		return fmt.Errorf("unknown key %q", key)
	})
	if err != nil {
		return e, err
	}
	if shape == nil || len(offsets) != 2 || e.dtype == "" {
		return e, errors.New("needs dtype, shape and two data_offsets")
	}
	return e, e.fill(shape, offsets)
}

// fill sets shape and offsets from the header's numbers and checks that they agree.
func (e *entry) fill(shape, offsets []json.Number) error {
	size, ok := dtypeSizes[e.dtype]
	if !ok {
		return fmt.Errorf("unknown dtype %q", e.dtype)
	}
	want := uint64(size)
	e.shape = make([]int, len(shape))
	for i, s := range shape {
		d, err := strconv.ParseUint(s.String(), 10, 62)
		if err != nil {
			return fmt.Errorf("shape %v: %q is not a size", shape, s)
		}
		e.shape[i] = int(d)
		hi, lo := bits.Mul64(want, d)
		if hi != 0 || lo > 1<<62 {
			return fmt.Errorf("shape %v is larger than any file", shape)
		}
		want = lo
	}
	begin, err1 := strconv.ParseUint(offsets[0].String(), 10, 62)
	end, err2 := strconv.ParseUint(offsets[1].String(), 10, 62)
	if err1 != nil || err2 != nil || begin > end {
		return fmt.Errorf("data_offsets %v are not a range", offsets)
	}
	e.begin, e.end = int64(begin), int64(end)
	if end-begin != want {
		return fmt.Errorf("shape %v of %s needs %d bytes, but data_offsets %v hold %d", shape, e.dtype, want, offsets, end-begin)
	}
	return nil
}

// checkLayout sorts the table by place and checks that the tensors tile the data exactly, as the format demands.
func checkLayout(entries []entry, data int64) error {
	sort.SliceStable(entries, func(i, j int) bool {
		a, b := entries[i], entries[j]
		return a.begin < b.begin || a.begin == b.begin && a.end < b.end
	})
	at, before := int64(0), "the header"
	for _, e := range entries {
		switch {
		case e.end > data:
			return fmt.Errorf("tensor %q lies at bytes [%d,%d), but the file holds %d bytes of data: the file is truncated", e.name, e.begin, e.end, data)
		case e.begin < at:
			return fmt.Errorf("tensor %q at bytes [%d,%d) overlaps %s, which ends at %d", e.name, e.begin, e.end, before, at)
		case e.begin > at:
			return fmt.Errorf("tensor %q begins at byte %d, but %s ends at %d: the format allows no gap", e.name, e.begin, before, at)
		}
		at, before = e.end, "tensor "+strconv.Quote(e.name)
	}
	if at != data {
		return fmt.Errorf("the tensors end at byte %d, but the file holds %d bytes of data", at, data)
	}
	return nil
}

// eachKey reads a JSON object from dec and calls visit, which reads the value, for every key. A key twice is an error:
// encoding/json would silently keep the last.
func eachKey(dec *json.Decoder, visit func(key string) error) error {
	t, err := dec.Token()
	if err != nil {
		return jsonError(err)
	}
	if t != json.Delim('{') {
		return fmt.Errorf("want an object, found %v", t)
	}
	seen := map[string]bool{}
	for dec.More() {
		t, err := dec.Token()
		if err != nil {
			return jsonError(err)
		}
		key := t.(string)
		if seen[key] {
			return fmt.Errorf("%q appears twice", key)
		}
		seen[key] = true
		if err := visit(key); err != nil {
			return jsonError(err)
		}
	}
	_, err = dec.Token()
	return jsonError(err)
}

// jsonError says in words what an early end means.
func jsonError(err error) error {
	if err == io.EOF || errors.Is(err, io.ErrUnexpectedEOF) {
		return errors.New("the JSON ends too early")
	}
	return err
}
