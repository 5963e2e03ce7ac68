package worker

import (
	"fmt"

	"sextant/kernels"
	"sextant/pkg/checkpoint"
	"sextant/pkg/model"
	"sextant/pkg/plan"
	"sextant/pkg/spec"
	"sextant/pkg/tokenizer"
)

// loaded is a model on a device, with its tokenizer where it has been asked for.
type loaded struct {
	ck  *checkpoint.Checkpoint
	tok *tokenizer.Tokenizer
	dev *kernels.Device
	m   *model.Model
}

// openModel opens the files of m, refuses another model than that of the fingerprint, and loads it.
func openModel(m *spec.Model, fingerprint string, o kernels.Options, backend string) (*loaded, error) {
	f, err := plan.OpenModel(m)
	if err != nil {
		return nil, bad(err)
	}
	if f.Fingerprint != fingerprint {
		f.Checkpoint.Close()
		return nil, bad(fmt.Errorf("%q or its tokenizer was changed after the plan was made: run submit again", m.Path))
	}
	return loadOnto(f.Checkpoint, f.Tokenizer, o, backend)
}

// loadOnto brings the weights of ck, which it closes when it fails, to a device.
func loadOnto(ck *checkpoint.Checkpoint, tok *tokenizer.Tokenizer, o kernels.Options, backend string) (l *loaded, err error) {
	l = &loaded{ck: ck, tok: tok}
	if l.dev, err = kernels.Open(backend, o); err != nil {
		l.close()
		return nil, fmt.Errorf("opening the backend: %w", err)
	}
	if l.m, err = model.Load(l.dev, ck); err != nil {
		l.close()
		return nil, bad(err)
	}
	return l, nil
}

// close frees what there is.
func (l *loaded) close() {
	if l == nil {
		return
	}
	if l.m != nil {
		l.m.Close()
	}
	if l.dev != nil {
		l.dev.Close()
	}
	l.ck.Close()
}
