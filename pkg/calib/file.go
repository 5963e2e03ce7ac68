package calib

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"

	"sextant/pkg/result"
)

// header is the first line of a sample's file. The ids follow, 4 bytes each, little-endian.
type header struct {
	Format string `json:"format"`
	SeqLen int    `json:"seq_len"`
	Tokens int    `json:"tokens"`
	Digest string `json:"digest"`
}

const format = "sextant calibration sample 1"

// Save commits the sample as a file.
func (t *Tokens) Save(path string) error {
	return result.Commit(path, func(w io.Writer) error {
		if err := json.NewEncoder(w).Encode(header{format, t.SeqLen, len(t.IDs), t.Digest}); err != nil {
			return err
		}
		buf := make([]byte, 0, 4*t.SeqLen)
		for part := range slices.Chunk(t.IDs, t.SeqLen) {
			buf = appendIDs(buf[:0], part)
			if _, err := w.Write(buf); err != nil {
				return err
			}
		}
		return nil
	})
}

// Load reads a sample that Save wrote. One that is not whole, or whose digest is another, is an error.
func Load(path string) (*Tokens, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("loading a calibration sample: %w", err)
	}
	t, err := parse(data)
	if err != nil {
		return nil, fmt.Errorf("loading the calibration sample %q: %w: remove it, and it is made again", path, err)
	}
	return t, nil
}

func parse(data []byte) (*Tokens, error) {
	line, rest, _ := bytes.Cut(data, []byte("\n"))
	var h header
	if err := json.Unmarshal(line, &h); err != nil || h.Format != format {
		return nil, fmt.Errorf("it does not begin with the line of a %q", format)
	}
	if h.Tokens < 0 || len(rest)%4 != 0 || len(rest)/4 != h.Tokens {
		return nil, fmt.Errorf("it is not whole: %d bytes of tokens where %d tokens are said to be", len(rest), h.Tokens)
	}
	ids := make([]int32, h.Tokens)
	for i := range ids {
		ids[i] = int32(binary.LittleEndian.Uint32(rest[4*i:]))
	}
	t, err := newTokens(h.SeqLen, ids)
	if err == nil && t.Digest != h.Digest {
		err = errors.New("its digest is not that of its tokens: it was changed or is damaged")
	}
	if err != nil {
		return nil, err
	}
	return t, nil
}
