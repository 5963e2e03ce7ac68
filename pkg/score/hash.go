package score

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"

	"sextant/pkg/plan"
	"sextant/pkg/result"
	"sextant/pkg/spec"
)

// version is of the scorers' meaning: raise it when the same records give another number. It is part of every Score.Hash.
const version = 1

// hash identifies what was measured: equal hashes of two runs mean that their values may be compared as they are.
func hash(t plan.Task, d spec.Dataset, metric string) string {
	if metric == wordPerplexity {
		metric = perplexity // which of the two it is follows from the convention
	}
	raw, err := json.Marshal([]any{version, t.Prompt, t.Digest, t.Rows, d.Mode, metric, d.Post, d.PostGold, d.PPL, d.Rolling})
	if err != nil {
		panic("score: hash: " + err.Error()) // strings and integers always marshal
	}
	sum := sha256.Sum256(raw)
	return hex.EncodeToString(sum[:6])
}

// asks digests what makes records of two runs answers to one question, with FNV-1a.
func asks(r *result.Record) uint64 {
	h := uint64(14695981039346656037)
	put := func(list []string) {
		for _, text := range list {
			for i := range len(text) {
				h = (h ^ uint64(text[i])) * 1099511628211
			}
			h = (h ^ 0xff) * 1099511628211 // no byte of valid text
		}
		h = (h ^ 0xfe) * 1099511628211
	}
	put(r.Labels)
	put(r.Gold)
	return h
}
