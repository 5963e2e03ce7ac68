package checkpoint

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"sextant/pkg/qformat"
	"sextant/pkg/result"
)

// WriteShard writes tensors as one safetensors file: whole under its name, or not at all, and on the disk when it returns. The bytes depend on
// the tensors alone, not on their order: those of wide values come first, as safetensors' own writer has it, then by name.
func WriteShard(path string, tensors []qformat.Tensor) error {
	tensors = slices.SortedFunc(slices.Values(tensors), func(a, b qformat.Tensor) int {
		return cmp.Or(cmp.Compare(dtypeSizes[b.DType], dtypeSizes[a.DType]), strings.Compare(a.Name, b.Name))
	})
	header, err := shardHeader(tensors)
	if err != nil {
		return fmt.Errorf("writing %q: %w", path, err)
	}
	return result.Commit(path, func(w io.Writer) error {
		if _, err := w.Write(header); err != nil {
			return err
		}
		for _, t := range tensors {
			if _, err := w.Write(t.Data); err != nil {
				return err
			}
		}
		return nil
	})
}

// shardHeader makes a safetensors file's beginning: the length of what follows, and a table in JSON, which ends in spaces at a multiple of 8.
func shardHeader(tensors []qformat.Tensor) ([]byte, error) {
	table := bytes.NewBufferString(`{"__metadata__":{"format":"pt"}`)
	at, seen := 0, map[string]bool{}
	for _, t := range tensors {
		name, err := json.Marshal(t.Name)
		if err != nil || t.Name == "" || t.Name == "__metadata__" || seen[t.Name] {
			return nil, fmt.Errorf("tensor %q: want a name of its own", t.Name)
		}
		size, ok := dtypeSizes[t.DType]
		for _, n := range t.Shape {
			if ok = ok && n >= 0 && (n == 0 || size <= math.MaxInt/n); ok {
				size *= n
			}
		}
		if !ok || size != len(t.Data) {
			return nil, fmt.Errorf("tensor %q: %d bytes are not %v of %s", t.Name, len(t.Data), t.Shape, t.DType)
		}
		shape, err := json.Marshal(append([]int{}, t.Shape...))
		if err != nil {
			return nil, err
		}
		fmt.Fprintf(table, `,%s:{"dtype":%q,"shape":%s,"data_offsets":[%d,%d]}`, name, t.DType, shape, at, at+size)
		at, seen[t.Name] = at+size, true
	}
	table.WriteByte('}')
	for table.Len()%8 != 0 {
		table.WriteByte(' ')
	}
	if table.Len() > maxHeader {
		return nil, fmt.Errorf("%d tensors are too many for one file", len(tensors))
	}
	return append(binary.LittleEndian.AppendUint64(nil, uint64(table.Len())), table.Bytes()...), nil
}

// WriteIndex writes the index of a model whose tensors lie in several files of dir, which must be there: files gives each tensor's.
func WriteIndex(dir string, files map[string]string) error {
	total := int64(0)
	sizes := map[string]int64{}
	for tensor, file := range files {
		if _, ok := sizes[file]; ok {
			continue
		}
		entries, err := readTable(filepath.Join(dir, file))
		if err != nil {
			return fmt.Errorf("writing %s: file of tensor %q: %w", indexFile, tensor, err)
		}
		for _, e := range entries {
			sizes[file] += e.end - e.begin
			if files[e.name] != file {
				return fmt.Errorf("writing %s: tensor %q of %q is missing in the list", indexFile, e.name, file)
			}
		}
		total += sizes[file]
	}
	return result.CommitJSON(filepath.Join(dir, indexFile), map[string]any{"metadata": map[string]int64{"total_size": total}, "weight_map": files})
}

func readTable(path string) ([]entry, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	entries, _, err := readHeader(f, info.Size())
	return entries, err
}

// auxFiles are the files beside the weights that say how a model is used.
var auxFiles = []string{"generation_config.json", "tokenizer.json", "tokenizer_config.json", "tokenizer.model", "special_tokens_map.json",
	"added_tokens.json", "vocab.json", "merges.txt", "encoder.json", "vocab.bpe", "*.tiktoken", "chat_template.jinja", "chat_template.json"}

// CopyAux makes dir, once weights are written to it, a model like this one: it writes config.json, with quant as quantization_config, or
// without one for nil, and copies generation_config.json and the tokenizer's files. Keys that are not about quantization stay as they are; those of
// Meta's params.json are written as config.json has them.
func (c *Checkpoint) CopyAux(dir string, quant map[string]any) error {
	f, err := newFields(c.raw)
	if err != nil {
		return fmt.Errorf("copying a model's configuration: %w", err)
	}
	config := f.values
	for _, key := range quantKeys {
		delete(config, key)
	}
	if quant != nil {
		if config[quantKeys[0]], err = json.Marshal(quant); err != nil {
			return fmt.Errorf("copying a model's configuration: %w", err)
		}
	}
	if err := result.CommitJSON(filepath.Join(dir, "config.json"), config); err != nil {
		return err
	}
	for _, pattern := range auxFiles {
		found, err := fs.Glob(c.fsys, pattern)
		if err != nil {
			return fmt.Errorf("copying %s: %w", pattern, err)
		}
		for _, name := range found {
			if err := c.copyFile(name, filepath.Join(dir, name)); err != nil {
				return err
			}
		}
	}
	return nil
}

func (c *Checkpoint) copyFile(name, to string) error {
	f, err := c.fsys.Open(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil // a link to nothing
	} else if err != nil {
		return fmt.Errorf("copying %q of %q: %w", name, c.dir, err)
	}
	defer f.Close()
	return result.Commit(to, func(w io.Writer) error {
		_, err := io.Copy(w, f)
		return err
	})
}
