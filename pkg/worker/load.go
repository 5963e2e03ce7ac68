package worker

import (
	"cmp"
	"fmt"

	"sextant/kernels"
	"sextant/pkg/checkpoint"
	"sextant/pkg/model"
	"sextant/pkg/tokenizer"
)

// loaded is a model on a device with its tokenizer.
type loaded struct {
	ck  *checkpoint.Checkpoint
	tok *tokenizer.Tokenizer
	dev *kernels.Device
	m   *model.Model
}

// openModel loads the model in a directory. tokenizerPath "" is the same directory.
func openModel(path, tokenizerPath string, o kernels.Options, backend string) (l *loaded, err error) {
	l = &loaded{}
	defer func() {
		if err != nil {
			l.close()
			l = nil
		}
	}()
	if l.ck, err = checkpoint.Open(path); err != nil {
		return l, bad(err)
	}
	tokenizerPath = cmp.Or(tokenizerPath, path)
	if l.tok, err = tokenizer.Load(tokenizerPath); err != nil {
		return l, bad(err)
	}
	if have, need := l.ck.Config().Vocab, l.tok.VocabSize(); need > have {
		return l, bad(fmt.Errorf("the tokenizer %q has %d tokens and the model's embedding %d: set tokenizer_path to the tokenizer the model was trained with",
			tokenizerPath, need, have))
	}
	return l, l.open(o, backend)
}

// openWeights is openModel without a tokenizer.
func (l *loaded) openWeights(p Probe) (err error) {
	if l.ck, err = checkpoint.Open(p.Path); err != nil {
		return bad(err)
	}
	return l.open(kernels.Options{Threads: p.Threads}, p.Backend)
}

// open brings the weights to the device.
func (l *loaded) open(o kernels.Options, backend string) (err error) {
	if l.dev, err = kernels.Open(backend, o); err != nil {
		return fmt.Errorf("opening the backend: %w", err)
	}
	if l.m, err = model.Load(l.dev, l.ck); err != nil {
		return bad(err)
	}
	return nil
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
	if l.ck != nil {
		l.ck.Close()
	}
}
