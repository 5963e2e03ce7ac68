package dataset

import (
	"bytes"
	"math"
	"slices"

	"sextant/pkg/spec"
)

// Sizes gives for every row the bytes of the columns that its prompt shows, as JSON and without rendering: rows that are longer than
// others in it are longer for the model too, all else (template, examples, number of labels) being much the same. It reads a million rows
// in a fraction of a second. A rolling dataset's rows here are those of the file; a row's samples have its size each.
func (s *Set) Sizes() []uint32 {
	shown := s.program.shown()
	sizes := make([]uint32, s.Len())
	_ = eachRow(len(sizes), func(row int) error {
		sizes[row] = sizeOf(s.test.rows[row/s.Samples()], shown)
		return nil
	})
	return sizes
}

// shown names the file's columns that reach the prompt, directly or through made columns. A generation does not see its answer.
func (p *program) shown() map[string]bool {
	shown := map[string]bool{}
	see := func(b body) {
		for _, part := range b {
			if part.ref != nil {
				shown[part.ref.name] = true
			}
		}
	}
	texts := append(p.main.bodies(), p.context.bodies()...)
	for _, t := range p.labelled {
		texts = append(texts, t.bodies()...)
	}
	for _, b := range append(texts, p.choice) {
		see(b)
	}
	if p.choices != nil {
		delete(shown, choiceName)
		shown[p.choices.name] = true
	}
	if p.d.Mode == spec.Gen {
		delete(shown, p.answer.name)
	}
	for i := len(p.makers) - 1; i >= 0; i-- { // each comes after those it reads
		m := p.makers[i]
		if !shown[m.name] {
			continue
		}
		delete(shown, m.name)
		for _, b := range slices.Concat(m.list, []body{m.text, m.index}) {
			see(b)
		}
		if m.from != nil {
			shown[m.from.name] = true
		}
	}
	return shown
}

// sizeOf adds up the values of some keys of a JSON object. A key with an escape is not looked for.
func sizeOf(row []byte, shown map[string]bool) uint32 {
	n := 0
	for i := space(row, 1); row[i] != '}'; {
		end := valueEnd(row, i)
		key := bytes.Trim(row[i:end], `"`)
		i = space(row, space(row, end)+1) // over the colon
		end = valueEnd(row, i)
		if shown[string(key)] {
			n += end - i
		}
		i = next(row, end)
	}
	return uint32(min(n, math.MaxUint32))
}
