package checkpoint

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"unsafe"

	"golang.org/x/sys/unix"

	"sextant/pkg/objstore"
	"sextant/pkg/pickle"
)

const indexFile = "model.safetensors.index.json"

// weightFiles are the names that weights may have, alone or, with an index, in shards. The first that is there is taken, as transformers does.
var weightFiles = []struct{ single, index string }{{"model.safetensors", indexFile}, {"pytorch_model.bin", "pytorch_model.bin.index.json"}}

// shard is one weight file and the tensors to take of it; nil: all.
type shard struct {
	file    string
	index   string // which says so
	tensors []string
}

// hasWeights tells whether a directory has weights under one of the names of transformers.
func hasWeights(fsys fs.FS) bool {
	for _, w := range weightFiles {
		for _, name := range []string{w.single, w.index} {
			if _, err := fs.Lstat(fsys, name); err == nil { // a link to nothing is told when it is opened
				return true
			}
		}
	}
	return false
}

// findShards lists the weight files of a directory.
func findShards(fsys fs.FS) ([]shard, error) {
	for _, w := range weightFiles {
		if _, err := fs.Lstat(fsys, w.single); err == nil {
			return []shard{{file: w.single}}, nil
		}
		data, err := fs.ReadFile(fsys, w.index)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		} else if err != nil {
			return nil, err
		}
		shards, err := parseIndex(data)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", w.index, err)
		}
		return shards, checkShards(fsys, w.index, shards)
	}
	return nil, fmt.Errorf("no %s and no %s%s; %s", weightFiles[0].single, indexFile, foundInstead(fsys), supported)
}

// checkShards tells of all files at once that an index names and that are not there.
func checkShards(fsys fs.FS, index string, shards []shard) error {
	var missing []string
	for i := range shards {
		s := &shards[i]
		s.index = index
		if _, err := fs.Stat(fsys, s.file); err != nil {
			missing = append(missing, fmt.Sprintf("%s (%d tensors)", s.file, len(s.tensors)))
		}
	}
	if len(missing) > 0 {
		return fmt.Errorf("%d of %d files that %s names are missing: %s", len(missing), len(shards), index, strings.Join(missing, ", "))
	}
	return nil
}

// parseIndex reads the index of a sharded model: its weight_map names the file of every tensor. Files are in the order of their names.
func parseIndex(data []byte) ([]shard, error) {
	var index struct {
		WeightMap map[string]string `json:"weight_map"`
	}
	if err := json.Unmarshal(data, &index); err != nil {
		return nil, err
	}
	if len(index.WeightMap) == 0 {
		return nil, errors.New("weight_map is missing or empty")
	}
	byFile := map[string][]string{}
	for tensor, file := range index.WeightMap {
		if file != filepath.Base(file) || file == "." || file == ".." || file == string(filepath.Separator) {
			return nil, fmt.Errorf("weight_map[%q] = %q: want a file name without a directory", tensor, file)
		}
		byFile[file] = append(byFile[file], tensor)
	}
	var shards []shard
	for file, tensors := range byFile {
		slices.Sort(tensors)
		shards = append(shards, shard{file: file, tensors: tensors})
	}
	slices.SortFunc(shards, func(a, b shard) int { return strings.Compare(a.file, b.file) })
	return shards, nil
}

// foundInstead names what a directory without the files wanted holds, where it is a known kind of model.
func foundInstead(fsys fs.FS) string {
	for _, kind := range []struct{ pattern, what string }{
		{"consolidated.*.pth", "Meta's weights, which need params.json beside them"},
		{"*.pth", "a PyTorch file under another name"},
		{"pytorch_model-*.bin", "shards, which need pytorch_model.bin.index.json beside them"},
		{"*.bin", "perhaps a PyTorch file under another name"},
		{"*.gguf", "a GGUF model, which is not supported"},
		{"*.safetensors", "safetensors under another name"},
	} {
		if found, _ := fs.Glob(fsys, kind.pattern); len(found) > 0 {
			return fmt.Sprintf(" (found %s: %s)", found[0], kind.what)
		}
	}
	return ""
}

// mapping is a weight file mapped into memory.
type mapping struct {
	data    []byte
	base    int64 // where the tensors' data begins
	entries []entry

	object   *objstore.Object // whose mapping it is; nil: it is one of a file
	reserved atomic.Bool      // its place in the node's cache is
}

// mapFile maps a file and reads its table of tensors.
func (c *Checkpoint) mapFile(name string) (m *mapping, err error) {
	if c.remote != nil {
		m, err = c.mapObject(name)
	} else {
		m, err = mapLocal(c.fsys, name)
	}
	if err == nil {
		c.files = append(c.files, m)
	}
	return m, err
}

func mapLocal(fsys fs.FS, name string) (*mapping, error) {
	info, err := fs.Stat(fsys, name)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() { // opening a pipe would wait for ever
		return nil, errors.New("is not a regular file")
	}
	opened, err := fsys.Open(name)
	if err != nil {
		return nil, err
	}
	defer opened.Close()
	f := opened.(*os.File) // what os.DirFS opens
	if info, err = f.Stat(); err != nil {
		return nil, err
	}
	m := &mapping{}
	if m.entries, m.base, err = readTensors(f, name, info.Size()); err != nil {
		return nil, err
	}
	if m.data, err = unix.Mmap(int(f.Fd()), 0, int(info.Size()), unix.PROT_READ, unix.MAP_SHARED); err != nil {
		return nil, fmt.Errorf("mapping %d bytes: %w", info.Size(), err)
	}
	return m, nil
}

// readTensors reads the tensor table of a file of either kind, and the offset from which it counts.
func readTensors(f io.ReaderAt, name string, size int64) ([]entry, int64, error) {
	if ext := filepath.Ext(name); ext != ".bin" && ext != ".pth" {
		return readHeader(f, size)
	}
	found, err := pickle.Read(f, size)
	if err != nil {
		return nil, 0, err
	}
	entries := make([]entry, len(found))
	for i, t := range found {
		e := entry{name: t.Name, dtype: t.DType, shape: t.Shape, begin: t.Offset, end: t.Offset + t.Bytes}
		if !t.Contiguous() {
			e.unfit = fmt.Sprintf("%v is stored with stride %v, not row after row; save it again as tensor.contiguous()", t.Shape, t.Stride)
		}
		entries[i] = e
	}
	return entries, 0, nil
}

// of is the data of an entry.
func (m *mapping) of(e entry) []byte {
	return m.data[m.base+e.begin : m.base+e.end : m.base+e.end]
}

func (m *mapping) close() error {
	if m.object != nil {
		return nil // its directory closes it
	}
	return unix.Munmap(m.data)
}

// has says whether data lies in the mapping, and where.
func (m *mapping) has(data []byte) (from int, ok bool) {
	if len(data) == 0 || len(m.data) == 0 {
		return 0, false
	}
	at := uintptr(unsafe.Pointer(unsafe.SliceData(data))) - uintptr(unsafe.Pointer(unsafe.SliceData(m.data)))
	return int(at), at < uintptr(len(m.data)) && len(data) <= len(m.data)-int(at)
}

// advise tells the system about the pages that data lies on, the first and the last in full.
func (m *mapping) advise(data []byte, advice int) {
	from, ok := m.has(data)
	if !ok {
		return
	}
	page := os.Getpagesize()
	to := min((from+len(data)+page-1)/page*page, len(m.data))
	_ = unix.Madvise(m.data[from/page*page:to], advice) // only advice
}
