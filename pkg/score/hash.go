package score

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"hash/maphash"

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

var asksSeed = maphash.MakeSeed()

// asks digests what makes records of two runs answers to one question; it is another number in another process.
func asks(r *result.Record) uint64 {
	var h maphash.Hash
	h.SetSeed(asksSeed)
	for _, list := range [][]string{r.Labels, r.Gold} {
		for _, text := range list {
			_, _ = h.WriteString(text)
			_ = h.WriteByte(0xff) // no byte of valid text, as the next
		}
		_ = h.WriteByte(0xfe)
	}
	return h.Sum64()
}
