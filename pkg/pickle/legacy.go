package pickle

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// legacyMagic begins the format before torch 1.6: a pickle of torch's magic number.
const legacyMagic = "\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19."

// readLegacy reads the format before torch 1.6. Pickles follow one another: the magic number, the version 1001, facts about the machine, the
// dictionary, and a list of the storages' keys; then for each of these its number of values, in 8 bytes, and the values.
func readLegacy(r io.ReaderAt, size int64) ([]Tensor, error) {
	head := make([]byte, min(size, maxPickle))
	if _, err := r.ReadAt(head, 0); err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	at := len(legacyMagic)
	var parts [4]any
	for i, what := range []string{"the version", "the machine's facts", "the dictionary", "the storages' keys"} {
		v, n, err := run(head[at:])
		if err != nil {
			return nil, fmt.Errorf("older format, %s from byte %d: %w", what, at, err)
		}
		parts[i], at = v, at+n
	}
	facts, _ := parts[1].(*dict)
	if parts[0] != int64(1001) || facts == nil || !facts.is("little_endian", true) {
		return nil, errors.New("older format: not version 1001 and little-endian; " + saveAgain)
	}
	places, err := follow(r, size, int64(at), parts)
	if err != nil {
		return nil, fmt.Errorf("older format: %w", err)
	}
	return tensors(parts[2], func(key string) (place, bool) { p, ok := places[key]; return p, ok })
}

func (d *dict) is(key string, value any) bool {
	i, ok := d.at[key]
	return ok && d.values[i] == value
}

// follow walks the storages, whose sizes in bytes only their tensors tell.
func follow(r io.ReaderAt, size, at int64, parts [4]any) (map[string]place, error) {
	widths := map[string]int64{}
	top, _ := parts[2].(*dict)
	keys, ok := parts[3].(*list)
	if top == nil || !ok {
		return nil, fmt.Errorf("holds %s and %s, want a dictionary of tensors and a list of storages", kindOf(parts[2]), kindOf(parts[3]))
	}
	for _, v := range top.values {
		if t, ok := v.(*Tensor); ok && t.storage.dtype != "" {
			widths[t.storage.key] = int64(dtypeSizes[t.storage.dtype])
		}
	}
	places := map[string]place{}
	for _, v := range keys.items {
		key, ok := v.(string)
		width := widths[key]
		if _, twice := places[key]; !ok || width == 0 || twice {
			return nil, fmt.Errorf("storage %q is not one of a tensor in the dictionary, or there twice; %s", cut(fmt.Sprint(v)), saveAgain)
		}
		var count [8]byte
		if n, err := r.ReadAt(count[:], at); n < len(count) {
			return nil, fmt.Errorf("storage %q at byte %d: %w: the file is truncated", cut(key), at, err)
		}
		at += int64(len(count))
		n := binary.LittleEndian.Uint64(count[:])
		if n > maxCount || int64(n)*width > size-at {
			return nil, fmt.Errorf("storage %q has %d values at byte %d, but the file ends at %d: it is truncated", cut(key), n, at, size)
		}
		places[key] = place{at, int64(n) * width}
		at += int64(n) * width
	}
	if at != size {
		return nil, fmt.Errorf("%d bytes follow the last storage", size-at)
	}
	return places, nil
}
