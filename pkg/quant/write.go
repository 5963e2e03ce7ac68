package quant

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"sextant/internal/halves"
	"sextant/internal/points"
	"sextant/pkg/checkpoint"
	"sextant/pkg/qformat"
	"sextant/pkg/result"
)

// plainLayout is the layout of a directory without quantized matrices, beside qformat's.
const plainLayout = "plain"

// content is a tensor on its way into a file: a quantized matrix, else values, else the checkpoint's tensor as it is, whose name, shape and
// dtype it has in any case.
type content struct {
	raw    checkpoint.Tensor
	values []float32
	matrix *qformat.Matrix
}

// render gives the tensors of c in a layout.
func (c content) render(layout string) ([]qformat.Tensor, error) {
	t := qformat.Tensor{Name: c.raw.Name, DType: c.raw.DType, Shape: c.raw.Shape}
	switch {
	case c.matrix != nil && layout == plainLayout:
		t.Data = dequantize(c.matrix, c.raw.DType)
	case c.matrix != nil:
		made, err := qformat.Pack(layout, module(c.raw.Name), c.matrix)
		if err != nil {
			return nil, fmt.Errorf("tensor %q: %w", c.raw.Name, err)
		}
		return made, nil
	case c.values != nil:
		t.Data = halves.Narrow(nil, c.raw.DType, c.values)
	default:
		t.Data = c.raw.Data
	}
	return []qformat.Tensor{t}, nil
}

// module is the name of the layer that a weight is of.
func module(weight string) string { return strings.TrimSuffix(weight, ".weight") }

// dequantize gives the values of a matrix in a checkpoint's dtype, rounded to nearest even.
func dequantize(m *qformat.Matrix, dtype string) []byte {
	row := make([]float32, m.Cols)
	out := make([]byte, 0, m.Rows*m.Cols*halves.Bytes(dtype))
	for r := range m.Rows {
		m.Values(row, r)
		out = halves.Narrow(out, dtype, row)
	}
	return out
}

// target is a directory that is being written: its weight files are in a layout, and hold what `get` gives for the names of the checkpoint.
type target struct {
	dir    string
	layout string
	get    func(name string) (content, error)
}

// shard writes the weight file of that number, with the tensors of those names, and says how many bytes the quantized matrices in it take.
func (t *target) shard(number, of int, names []string) (s shard, quantized int64, err error) {
	var all []qformat.Tensor
	for _, name := range names {
		c, err := t.get(name)
		if err != nil {
			return s, 0, err
		}
		made, err := c.render(t.layout)
		if err != nil {
			return s, 0, err
		}
		for _, m := range made {
			s.Tensors = append(s.Tensors, m.Name)
			if c.matrix != nil && t.layout != plainLayout {
				quantized += int64(len(m.Data))
			}
		}
		all = append(all, made...)
	}
	s.File = fmt.Sprintf("model-%05d-of-%05d.safetensors", number, of)
	path := filepath.Join(t.dir, s.File)
	if err := checkpoint.WriteShard(path, all); err != nil {
		return s, 0, err
	}
	if s.SHA256, s.Bytes, err = hashFile(path); err != nil {
		return s, 0, err
	}
	points.Reached("quant:shard-written")
	return s, quantized, nil
}

// blockNames are the tensors of block i: matrices, norms and the biases that the checkpoint has.
func blockNames(ck *checkpoint.Checkpoint, i int) (names []string) {
	n := ck.Config().LayerNames(i)
	for _, name := range []string{n.AttnNorm, n.QKV, n.Q, n.K, n.V, n.QNorm, n.KNorm, n.O, n.MLPNorm, n.Gate, n.Up, n.Down} {
		if name == "" {
			continue
		}
		names = append(names, name)
		if _, err := ck.View(checkpoint.BiasName(name)); err == nil {
			names = append(names, checkpoint.BiasName(name))
		}
	}
	return names
}

// restNames are the tensors of no block, in the order of their names.
func restNames(ck *checkpoint.Checkpoint) (names []string) {
	in := map[string]bool{}
	for i := range ck.Config().Layers {
		for _, name := range blockNames(ck, i) {
			in[name] = true
		}
	}
	for _, name := range ck.Names() {
		if !in[name] {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// complete adds to a directory of weight files what else a loader needs, and last the manifest.
func complete(ck *checkpoint.Checkpoint, dir string, shards []shard, quant map[string]any, m result.Manifest) (result.Manifest, error) {
	files, weights := map[string]string{}, map[string]string{}
	for _, s := range shards {
		m.Bytes += s.Bytes
		weights[s.File] = s.SHA256
		for _, name := range s.Tensors {
			files[name] = s.File
		}
	}
	if err := checkpoint.WriteIndex(dir, files); err != nil {
		return m, err
	}
	if err := ck.CopyAux(dir, quant); err != nil {
		return m, err
	}
	var err error
	if m.Files, err = hashAll(dir, weights); err != nil {
		return m, err
	}
	return m, result.CommitJSON(result.ManifestFile(dir), m)
}

// hashAll gives the SHA-256 of the files in dir, but for the manifest; known ones are not read again.
func hashAll(dir string, known map[string]string) (map[string]string, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	sums := map[string]string{}
	for _, e := range entries {
		name := e.Name()
		path := filepath.Join(dir, name)
		if sum, ok := known[name]; ok {
			sums[name] = sum
		} else if path != result.ManifestFile(dir) {
			if sums[name], _, err = hashFile(path); err != nil {
				return nil, err
			}
		}
	}
	return sums, nil
}

// replaceable refuses a directory that holds something, but no manifest: it is not ours to replace.
func replaceable(dir string) error {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	} else if err != nil {
		return fmt.Errorf("looking at %q, where a checkpoint is to be written: %w", dir, err)
	}
	if _, err := os.Stat(result.ManifestFile(dir)); err != nil && len(entries) > 0 {
		return fmt.Errorf("%q is to be written, but there is something else: move it away", dir)
	}
	return nil
}

// publish gives a finished directory its name; an older checkpoint there goes.
func publish(from, to string) error {
	if err := replaceable(to); err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(to), 0o777); err != nil {
		return fmt.Errorf("making the directory of %q: %w", to, err)
	}
	if err := os.RemoveAll(to); err != nil {
		return fmt.Errorf("replacing %q: %w", to, err)
	}
	if err := os.Rename(from, to); err != nil {
		return fmt.Errorf("moving a finished checkpoint: %w", err)
	}
	return result.SyncDir(filepath.Dir(to))
}
