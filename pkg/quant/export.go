package quant

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"

	"sextant/internal/points"
	"sextant/pkg/checkpoint"
	"sextant/pkg/result"
	"sextant/pkg/spec"
)

// The layouts of exports are qformat's and, plain, spec.FakeQuant (the values of the codes) and spec.Transformed.

// checkExports refuses a layout that cannot hold one of the matrices, before there is any work.
func (r *runner) checkExports() error {
	exports := r.job.Exports
	for _, layout := range slices.Sorted(maps.Keys(exports)) {
		if err := replaceable(exports[layout]); err != nil {
			return fmt.Errorf("export %q: %w", layout, err)
		}
		if layout == spec.FakeQuant || layout == spec.Transformed {
			continue
		}
		if _, err := r.config(layout); err != nil {
			return fmt.Errorf("export %q: %w", layout, err)
		}
	}
	return nil
}

// exporter writes further directories from the finished ones. What it reads is what is scored.
type exporter struct {
	r           *runner
	packed      string // directories: finished weight files with index and config.json
	transformed string
	manifest    result.Manifest // of packed
}

// all writes the exports that are not there yet.
func (e *exporter) all(ctx context.Context) error {
	exports := e.r.job.Exports
	for _, layout := range slices.Sorted(maps.Keys(exports)) {
		dir := exports[layout]
		if m, err := result.ReadManifest(dir); err == nil && m.Fingerprint == e.manifest.Fingerprint {
			continue
		}
		if err := e.one(ctx, layout, dir); err != nil {
			return fmt.Errorf("export %q: %w", layout, err)
		}
		points.Reached("quant:exported")
	}
	return nil
}

func (e *exporter) one(ctx context.Context, layout, dir string) error {
	part := filepath.Join(filepath.Dir(dir), "."+filepath.Base(dir)+".part")
	if err := os.RemoveAll(part); err != nil {
		return err
	}
	if err := os.MkdirAll(part, 0o777); err != nil {
		return err
	}
	defer os.RemoveAll(part) // does nothing after the rename
	var err error
	switch layout {
	case e.manifest.Layout:
		err = copyDir(ctx, e.packed, part)
	case spec.Transformed:
		err = copyDir(ctx, e.transformed, part)
	default:
		err = e.convert(ctx, layout, part)
	}
	if err != nil {
		return err
	}
	return publish(part, dir)
}

// copyDir copies the files of one directory to another, the manifest last.
func copyDir(ctx context.Context, from, to string) error {
	entries, err := os.ReadDir(from)
	if err != nil {
		return err
	}
	last := filepath.Base(result.ManifestFile(from))
	names := []string{}
	for _, e := range entries {
		if e.Name() != last {
			names = append(names, e.Name())
		}
	}
	for _, name := range append(names, last) {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if err := copyFile(filepath.Join(from, name), filepath.Join(to, name)); err != nil {
			return err
		}
	}
	return nil
}

func copyFile(from, to string) error {
	f, err := os.Open(from)
	if err != nil {
		return err
	}
	defer f.Close()
	return result.Commit(to, func(w io.Writer) error {
		_, err := io.Copy(w, f)
		return err
	})
}

// convert writes the packed checkpoint in another layout, a file for each block.
func (e *exporter) convert(ctx context.Context, layout, dir string) error {
	ck, err := checkpoint.Open(e.packed)
	if err != nil {
		return err
	}
	defer ck.Close()
	t := target{dir: dir, layout: layout, get: func(name string) (content, error) { return e.content(ck, name) }}
	m := e.manifest
	m.Layout, m.Bytes, m.Files, m.Exports = layout, 0, nil, nil
	var quant map[string]any
	if layout == spec.FakeQuant {
		t.layout, m.Layout = plainLayout, plainLayout
	} else if quant, err = e.r.config(layout); err != nil {
		return err
	}
	source := e.r.job.Checkpoint
	layers := source.Config().Layers
	var shards []shard
	bytes := int64(0)
	for i := range layers + 1 {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		names := restNames(source)
		if i < layers {
			names = blockNames(source, i)
		}
		s, n, err := t.shard(i+1, layers+1, names)
		if err != nil {
			return err
		}
		shards = append(shards, s)
		bytes += n
	}
	m.Bits = bitsOf(bytes, m.Quantized)
	_, err = complete(source, dir, shards, quant, m)
	return err
}

// content is a tensor of the packed checkpoint, under its name and with its dtype in the source.
func (e *exporter) content(ck *checkpoint.Checkpoint, name string) (content, error) {
	raw, err := e.r.job.Checkpoint.Tensor(name)
	if err != nil {
		return content{}, err
	}
	if _, ok := e.r.shapes[name]; !ok {
		if raw, err = ck.Tensor(name); err != nil {
			return content{}, err
		}
		return content{raw: raw}, nil
	}
	m, err := ck.Matrix(name)
	if err == nil && m == nil {
		err = errors.New("is not quantized in the variant's directory")
	}
	if err != nil {
		return content{}, fmt.Errorf("tensor %q: %w", name, err)
	}
	return content{raw: raw, matrix: m}, nil
}

// bitsOf is what a parameter takes.
func bitsOf(bytes, parameters int64) float64 {
	if parameters == 0 {
		return 0
	}
	return 8 * float64(bytes) / float64(parameters)
}

// exists tells whether there is a checkpoint of this fingerprint in dir.
func exists(dir, fingerprint string) (result.Manifest, bool, error) {
	m, err := result.ReadManifest(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return m, false, nil
	}
	return m, err == nil && m.Fingerprint == fingerprint, err
}
