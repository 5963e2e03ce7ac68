package checkpoint

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"hash"
)

const (
	sampleBlock = 4096    // bytes of a sampled block
	wholeTensor = 1 << 20 // a tensor of at most so many bytes is hashed whole
)

// Fingerprint identifies the model: 64 hex digits, sha256 over config.json (white space and key order apart), the tokens that end
// a generation, and each tensor's name, dtype, shape and bytes: all of a tensor up to 1 MiB, three blocks of 4 KiB at the start, middle and
// end of a larger one. So it is cheap for any model. It does not depend on paths or on how the tensors are spread over files.
//
// Of large tensors it is a sample, not a proof: a change that leaves the three blocks as they were is not seen. Training, quantization and
// conversion change every block; a tampered file may not.
func (c *Checkpoint) Fingerprint() (string, error) {
	if c.files == nil {
		return "", fmt.Errorf("fingerprint of a closed model")
	}
	return c.fingerprint(), nil
}

func (c *Checkpoint) digest() string {
	h := sha256.New()
	writePart(h, []byte("sextant model 1"))
	writePart(h, c.description)
	writePart(h, fmt.Append(nil, c.config.EOS))
	for _, name := range c.Names() {
		t := c.tensors[name]
		writePart(h, []byte(name))
		writePart(h, fmt.Append(nil, t.DType, t.Shape))
		writePart(h, c.samples(t))
	}
	return hex.EncodeToString(h.Sum(nil))
}

// writePart writes p behind its length, so that no two lists of parts hash the same bytes.
func writePart(h hash.Hash, p []byte) {
	var n [8]byte
	binary.LittleEndian.PutUint64(n[:], uint64(len(p)))
	h.Write(n[:])
	h.Write(p)
}

// samples are a tensor's sampled blocks: those of each of its pieces, and how they lie, where it has several.
func (c *Checkpoint) samples(t Tensor) []byte {
	m := c.merged[t.Name]
	if m == nil {
		return samples(t.Data)
	}
	all := fmt.Appendf(nil, "%d pieces, columns %v, heads of %d\n", len(m.parts), m.columns, m.head)
	for _, p := range m.parts {
		all = append(all, samples(p)...)
	}
	return all
}

// sampled are the ranges of the three sampled blocks of a tensor of so many bytes, or of all of one that is not large.
func sampled(size int64) [][2]int64 {
	if size <= wholeTensor {
		return [][2]int64{{0, size}}
	}
	middle := (size - sampleBlock) / 2
	return [][2]int64{{0, sampleBlock}, {middle, middle + sampleBlock}, {size - sampleBlock, size}}
}

// samples returns the sampled bytes of a tensor.
func samples(data []byte) []byte {
	ranges := sampled(int64(len(data)))
	if len(ranges) == 1 {
		return data
	}
	var all []byte
	for _, r := range ranges {
		all = append(all, data[r[0]:r[1]]...)
	}
	return all
}
