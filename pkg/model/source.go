package model

import (
	"cmp"
	"encoding/binary"
	"runtime"
	"slices"
	"strings"

	"sextant/internal/halves"
	"sextant/kernels"
	"sextant/pkg/checkpoint"
	"sextant/pkg/qformat"
)

// source is a matrix [rows, cols] in a checkpoint, in spans that follow one another, with the bias that may go with it.
type source struct {
	name       string
	dtype      string // "": it is quantized
	rows, cols int
	spans      []span
	bias       func() []byte // f32 values, rows of them
	form       form          // what kernels get, but for Options.Quantize
	rounding   kernels.Rounding
	runs       []string // for Model.Runs, of each matrix it is made of that is quantized
}

// span is rows that follow one another: of a tensor as it lies in its file, of one that does not lie in one piece, or of a quantized matrix.
type span struct {
	rows int
	data []byte          // nil: see view
	view checkpoint.View // of the tensor, which is in no piece
	of   string          // the quantized matrix
	from int             // its first row here
}

func (s source) rowBytes() int { return s.cols * halves.Bytes(s.dtype) }

// read gives n rows of p as they lie in the file; nothing of a quantized matrix, whose file is not read in rows, nor of what lies in no piece.
func (s *source) read(p span, from, n int) []byte {
	if p.of != "" || p.data == nil {
		return nil
	}
	return p.data[from*s.rowBytes() : (from+n)*s.rowBytes()]
}

// source is a matrix by its name; nothing for no name.
func (l *loader) source(name string) source {
	if name == "" || l.err != nil {
		return source{}
	}
	s := source{name: name, bias: func() []byte {
		b := l.tensor(checkpoint.BiasName(name))
		return widen(b.DType, b.Data)
	}}
	if about := l.ck.Stored(name); about != nil {
		s.rows, s.cols, s.spans = about.Rows, about.Cols, []span{{rows: about.Rows, of: name}}
		l.quantized(&s, about)
		return s
	}
	t, err := l.ck.View(name)
	if err != nil {
		l.err = err
		return source{}
	}
	s.dtype, s.rows, s.cols = t.DType, t.Shape[0], t.Shape[1]
	s.form, s.spans = form{dtype: dtypes[t.DType]}, []span{{rows: s.rows, data: t.Data, view: t}}
	if pieces := t.Pieces(); len(pieces) > 1 && s.rows/len(pieces)%panelRows == 0 { // so that they are packed as one
		s.spans = nil
		for _, p := range pieces {
			s.spans = append(s.spans, span{rows: len(p) / s.rowBytes(), data: p})
		}
	}
	return s
}

// quantized decides how a quantized matrix runs.
func (l *loader) quantized(s *source, about *qformat.Matrix) {
	var why string
	s.form, why = l.formOf(about, l.reordered(s.name, about))
	s.rounding = roundingOf(about.Act)
	if l.o.unrounded {
		s.rounding = kernels.Rounding{}
	}
	s.runs = []string{runs(about, s.form, why, s.rounding)}
}

// reordered tells whether a matrix has a g_idx that is not of neighbours.
func (l *loader) reordered(name string, about *qformat.Matrix) bool {
	for _, suffix := range []string{".g_idx", ".weight_g_idx"} {
		t, err := l.ck.Tensor(strings.TrimSuffix(name, ".weight") + suffix)
		for c := 0; err == nil && c < len(t.Data)/4; c++ {
			switch g := int32(binary.LittleEndian.Uint32(t.Data[4*c:])); {
			case g == -1: // there is none
				return false
			case int(g) != c/about.Group:
				return true
			}
		}
	}
	return false
}

// roundingOf is how kernels round inputs.
func roundingOf(a qformat.Activation) kernels.Rounding {
	switch a.Format {
	case "int8":
		return kernels.Rounding{To: kernels.I8, Scale: a.Scale, Group: a.Group}
	case "fp8":
		return kernels.Rounding{To: kernels.F8, Scale: a.Scale, Group: a.Group}
	}
	return kernels.Rounding{}
}

// split gives q, k and v of one tensor whose rows are grouped by key head (InternLM2's wqkv).
func (l *loader) split(name string) []source {
	whole := l.source(name)
	if l.err != nil {
		return make([]source, 3)
	}
	c := l.ck.Config()
	out := slices.Repeat([]source{whole}, 3)
	for i, parts := range heads(c, whole.rows) {
		out[i].spans, out[i].rows = nil, 0
		for _, p := range parts {
			s := span{rows: p[1] - p[0], of: whole.spans[0].of, from: p[0]}
			if s.of == "" {
				s.data, s.from = whole.read(whole.spans[0], p[0], s.rows), 0
			}
			out[i].spans = append(out[i].spans, s)
			out[i].rows += s.rows
		}
		out[i].bias = func() []byte {
			b := l.tensor(checkpoint.BiasName(name))
			return widen(b.DType, slices.Concat(regroup(c, b.Data)[i]...))
		}
		if i > 0 {
			out[i].runs = nil
		}
	}
	return out
}

// heads are the rows, from and to, of q, k and v among n that are laid out [kv_heads, q_per_kv + 2, head_dim].
func heads(c *checkpoint.Config, n int) (parts [3][][2]int) {
	per := c.Heads / c.KVHeads
	head := n / (c.KVHeads * (per + 2))
	for g := range c.KVHeads {
		at := g * (per + 2) * head
		for i, n := range []int{per * head, head, head} {
			parts[i] = append(parts[i], [2]int{at, at + n})
			at += n
		}
	}
	return parts
}

// regroup takes rows laid out so apart into those of q, k and v. They may be of any size.
func regroup(c *checkpoint.Config, data []byte) (parts [3][][]byte) {
	for i, rows := range heads(c, len(data)) {
		for _, p := range rows {
			parts[i] = append(parts[i], data[p[0]:p[1]])
		}
	}
	return parts
}

// lies gives a span's bytes where they lie in files, for what is to be read soon.
func (l *loader) lies(p span) [][]byte {
	switch {
	case p.of != "":
		return [][]byte{stored(l.ck, p.of)}
	case p.data != nil:
		return [][]byte{p.data}
	}
	return p.view.Lies()
}

// stored is the bytes of a quantized matrix's codes as they lie in the file.
func stored(ck *checkpoint.Checkpoint, name string) []byte {
	for _, suffix := range []string{".qweight", ".weight_packed", ".weight"} {
		if t, err := ck.View(strings.TrimSuffix(name, ".weight") + suffix); err == nil {
			return t.Data
		}
	}
	return nil
}

// threads is how many of the host's make rows.
func (l *loader) threads() int { return cmp.Or(l.info.Threads, runtime.GOMAXPROCS(0)) }

// shaper gives rows of a source in the form in which kernels take them.
type shaper struct {
	l     *loader
	s     *source
	rtn   *rounding
	codes *recoder
}

// shaper makes room for so many rows at once.
func (l *loader) shaper(s *source, r rtn, rows int) *shaper {
	h := &shaper{l: l, s: s}
	switch {
	case s.dtype == "":
		h.codes = newRecoder(s.form, s.cols, rows)
	case r.bits > 0:
		h.rtn = newRounding(r, s.cols, rows)
	}
	return h
}

// rows describes n rows of a span, from row `from` on. It is valid until the next call.
func (h *shaper) rows(p span, from, n int) (kernels.WeightDesc, error) {
	if h.codes == nil {
		data, err := h.read(p, from, n)
		if err != nil {
			return kernels.WeightDesc{}, err
		}
		return h.plain(data), nil
	}
	m, err := h.l.unpacked(p.of, h.s.form)
	if err != nil {
		return kernels.WeightDesc{}, err
	}
	h.codes.take(0, m, p.from+from, n, h.l.threads())
	return h.codes.desc(n), nil
}

// read gives n rows of a span that is not quantized, and waits for them where they come out of an object store.
func (h *shaper) read(p span, from, n int) ([]byte, error) {
	if p.data != nil {
		data := h.s.read(p, from, n)
		return data, h.l.ck.Need(h.l.ctx, data)
	}
	if err := p.view.NeedRows(h.l.ctx, p.from+from, n); err != nil {
		return nil, err
	}
	h.l.copied = p.view.Rows(h.l.copied, p.from+from, n)
	return h.l.copied, nil
}

func (h *shaper) plain(data []byte) kernels.WeightDesc {
	if h.rtn != nil {
		return h.rtn.round(h.s.dtype, data, h.l.threads())
	}
	return kernels.WeightDesc{DType: h.s.form.dtype, Rows: len(data) / h.s.rowBytes(), Cols: h.s.cols, Data: data}
}

// all describes all rows. Borrowed: they are the checkpoint's.
func (h *shaper) all() (d kernels.WeightDesc, err error) {
	if h.codes == nil {
		data := h.s.spans[0].data
		if len(h.s.spans) > 1 {
			data = make([]byte, 0, h.s.rows*h.s.rowBytes())
			for _, p := range h.s.spans {
				part, err := h.read(p, 0, p.rows)
				if err != nil {
					return d, err
				}
				data = append(data, part...)
			}
		} else if data == nil {
			data, err = h.s.spans[0].view.Keep()
		} else {
			err = h.l.ck.Need(h.l.ctx, data)
		}
		if err != nil {
			return d, err
		}
		d = h.plain(data)
		d.Borrow = h.rtn == nil && len(h.s.spans) == 1
		return d, nil
	}
	at := 0
	for _, p := range h.s.spans {
		m, err := h.l.unpacked(p.of, h.s.form)
		if err != nil {
			return d, err
		}
		h.codes.take(at, m, p.from, p.rows, h.l.threads())
		at += p.rows
	}
	return h.codes.desc(at), nil
}
