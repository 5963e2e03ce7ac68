package worker

import (
	"context"
	"fmt"

	"sextant/pkg/engine"
	"sextant/pkg/plan"
	"sextant/pkg/result"
)

// cut makes the windows of a rolling dataset.
func (t *task) cut() (err error) {
	if t.windows, err = plan.Windows(t.data, t.set, t.tok); err != nil {
		return fmt.Errorf("dataset %s: %w", t.data.Abbr, err)
	}
	for i, w := range t.windows {
		if need := len(w.Tokens) - 1; need > t.limit { // the last token is only a target
			return badRow(i, "the window wants a context of %d tokens, and the model's limit is %d: set rolling.seq_len of the dataset %s to %d or less",
				need, t.limit, t.data.Abbr, t.limit)
		}
	}
	return nil
}

func (t *task) runWindows(ctx context.Context, rows []int, keep func(result.Record) error) error {
	reqs := make([]engine.Sequence, len(rows))
	for i, row := range rows {
		w := t.windows[row]
		reqs[i] = engine.Sequence{Tokens: w.Tokens, From: w.From}
	}
	return t.eng.Score(ctx, reqs, func(i int, s engine.Scored) error {
		if err := finite(s.NLL); err != nil {
			return badRow(rows[i], "%w", err)
		}
		w := t.windows[rows[i]]
		return keep(result.Record{Row: rows[i], Digest: w.Digest(t.plan.Settings), NLL: []float64{s.NLL}, Tokens: []int{s.Count},
			Words: w.Words, Bytes: w.Bytes, PromptTokens: len(w.Tokens)})
	})
}
