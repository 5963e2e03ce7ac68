package checkpoint

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strconv"
	"strings"

	"sextant/pkg/qformat"
)

// quantFiles are where AutoGPTQ and AutoAWQ said how weights are quantized before config.json did, with the method that they go with.
var quantFiles = []struct{ name, method string }{{"quantize_config.json", "gptq"}, {"quant_config.json", "awq"}}

// withQuantFile gives a config.json that says how the weights are quantized, where only a file beside it does.
func withQuantFile(fsys fs.FS, config []byte) ([]byte, error) {
	var all map[string]json.RawMessage
	if json.Unmarshal(config, &all) != nil || all == nil || slices.ContainsFunc(quantKeys, func(k string) bool { return all[k] != nil }) {
		return config, nil // what is wrong is told where it is read
	}
	for _, f := range quantFiles {
		data, err := fs.ReadFile(fsys, f.name)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		} else if err != nil {
			return nil, err
		}
		var quant map[string]json.RawMessage
		if err := json.Unmarshal(data, &quant); err != nil || quant == nil {
			return nil, fmt.Errorf("%s: want a JSON object, found %.40q", f.name, data)
		}
		if quant["quant_method"] == nil {
			quant["quant_method"] = json.RawMessage(strconv.Quote(f.method))
		}
		if all[quantKeys[0]], err = json.Marshal(quant); err != nil {
			return nil, fmt.Errorf("%s: %w", f.name, err)
		}
		return json.Marshal(all)
	}
	return config, nil
}

// lookQuantized tells whether a wanted tensor is a matrix that is stored quantized, and checks the tensors that hold it, but for the large
// ones' values.
func (c *Checkpoint) lookQuantized(w want) (bool, error) {
	module, ok := strings.CutSuffix(w.name, ".weight")
	if c.config.Quant == nil || !ok || len(w.shape) != 2 || w.name == c.config.EmbedName() {
		return false, nil
	}
	m, err := c.config.Quant.Look(module, w.shape[0], w.shape[1], c.part)
	if m == nil || err != nil {
		return false, err
	}
	c.quantized[w.name] = m
	return true, c.checkBias(BiasName(w.name))
}

// checkBias refuses a bias that the model would ignore. Some versions of AutoGPTQ write one of zeros beside every matrix.
func (c *Checkpoint) checkBias(name string) error {
	t, ok := c.tensors[name]
	if !ok || slices.ContainsFunc(c.config.wants(), func(w want) bool { return w.name == name }) || len(bytes.Trim(t.Data, "\x00")) == 0 {
		return nil
	}
	return fmt.Errorf("tensor %q is not zero, but config.json has no such bias", name)
}

// cacheFaults tells of scales of the cache's keys and values that are not 1, which is what rounding to fp8 goes by.
func (c *Checkpoint) cacheFaults() (faults []string) {
	if c.config.Quant == nil || c.config.Quant.KV() == "" {
		return nil
	}
	for _, name := range c.Names() {
		scale := strings.HasSuffix(name, ".k_scale") || strings.HasSuffix(name, ".v_scale") || strings.HasSuffix(name, ".kv_scale") ||
			strings.HasSuffix(name, ".k_proj.output_scale") || strings.HasSuffix(name, ".v_proj.output_scale")
		if t := c.tensors[name]; scale && !isOne(t) {
			faults = append(faults, fmt.Sprintf("tensor %q scales the cache, which is supported with a scale of 1 only; "+
				"remove kv_cache_scheme from config.json to evaluate without rounding the cache", name))
		}
	}
	return faults
}

func isOne(t Tensor) bool {
	return t.DType == "F32" && string(t.Data) == "\x00\x00\x80\x3f" || t.DType == "BF16" && string(t.Data) == "\x80\x3f" ||
		t.DType == "F16" && string(t.Data) == "\x00\x3c"
}

// part finds a tensor for qformat.
func (c *Checkpoint) part(name string) (qformat.Tensor, bool) {
	t, ok := c.tensors[name]
	return qformat.Tensor{Name: t.Name, DType: t.DType, Shape: t.Shape, Data: t.Data}, ok
}

// Matrix reads a weight that is stored quantized, by the name that it has when it is not ("model.layers.0.mlp.down_proj.weight"); nil: it is
// plain. It is a copy, one byte a code, and takes the time of reading the tensors, whose pages are released then.
func (c *Checkpoint) Matrix(weight string) (*qformat.Matrix, error) {
	m := c.quantized[weight]
	if m == nil {
		return nil, nil
	}
	var read [][]byte
	var missing error
	defer func() {
		for _, data := range read {
			c.Release(data)
		}
	}()
	out, err := c.config.Quant.Unpack(strings.TrimSuffix(weight, ".weight"), m.Rows, m.Cols, func(name string) (qformat.Tensor, bool) {
		t, ok := c.part(name)
		if missing == nil {
			missing = c.Need(context.Background(), t.Data)
		}
		read = append(read, t.Data)
		return t, ok && missing == nil
	})
	if missing != nil {
		return nil, missing
	}
	return out, err
}

// Stored is Matrix without codes, scales, zeros and the groups' order: how the weight is stored, its sizes and the rounding of its inputs. It
// is shared: do not change it.
func (c *Checkpoint) Stored(weight string) *qformat.Matrix { return c.quantized[weight] }

// WeightBytes is what the tensors take on disk.
func (c *Checkpoint) WeightBytes() (n int64) {
	for _, t := range c.tensors {
		n += c.bytes(t)
	}
	return n
}
