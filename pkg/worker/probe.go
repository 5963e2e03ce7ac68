package worker

import (
	"context"
	"fmt"

	"sextant/kernels"
	"sextant/pkg/checkpoint"
	"sextant/pkg/model"
	"sextant/pkg/tokenizer"
)

// Probe looks into a model without a run, to compare it with another implementation.
type Probe struct {
	Path    string // the model's directory
	Backend string
	Threads int
}

// probePass bounds the tokens, and with them the logits, of one forward pass.
const probePass = 64

// Logits runs ids from position 0 and calls emit with each position's logits [vocab] in turn. emit must not keep the slice.
func (p Probe) Logits(ids []int32, emit func(logits []float32) error) error {
	ck, err := checkpoint.Open(p.Path)
	if err != nil {
		return bad(err)
	}
	l, err := loadOnto(context.Background(), ck, nil, loading{backend: p.Backend, threads: p.Threads})
	if err != nil {
		return err
	}
	defer l.close()
	cfg := l.ck.Config()
	if len(ids) == 0 || len(ids) > cfg.MaxPositions {
		return bad(fmt.Errorf("%d ids: the model takes 1 to %d", len(ids), cfg.MaxPositions))
	}
	const pageSize = 16
	pages := (len(ids) + pageSize - 1) / pageSize
	kv, err := l.stages[0].m.NewKV(pages, pageSize)
	if err != nil {
		return err
	}
	defer kv.Free()
	desc := kernels.BatchDesc{MaxPages: pages}
	for i := range pages {
		desc.Pages = append(desc.Pages, int32(i))
	}
	for from := 0; from < len(ids); from += probePass {
		b := model.Batch{Tokens: ids[from:min(from+probePass, len(ids))], Desc: desc}
		n := int32(len(b.Tokens))
		b.Desc.QStart, b.Desc.KVLen = []int32{0, n}, []int32{int32(from) + n}
		for i := range n {
			b.Out = append(b.Out, i)
		}
		if err := l.logits(kv, b, emit); err != nil {
			return err
		}
	}
	return nil
}

func (l *loaded) logits(kv *kernels.KV, b model.Batch, emit func([]float32) error) error {
	m := l.stages[0].m
	h, err := m.Forward(kv, b)
	if err != nil {
		return bad(err)
	}
	t, err := m.Logits(h)
	if err != nil {
		return err
	}
	all, err := m.Download(t)
	if err != nil {
		return err
	}
	for i := range t.Rows {
		if err := emit(all[i*t.Cols : (i+1)*t.Cols]); err != nil {
			return err
		}
	}
	return nil
}

// Tokenize gives the ids of text: of the text alone, or as a prompt, with the special tokens in it and what the tokenizer puts around it. path
// is a model's directory or a tokenizer's file.
func Tokenize(path, text string, prompt bool) ([]int32, error) {
	tok, err := tokenizer.Load(path)
	if err != nil {
		return nil, bad(err)
	}
	if prompt {
		return tok.EncodePrompt(text), nil
	}
	return tok.Encode(text), nil
}
