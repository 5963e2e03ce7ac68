package dataset

import (
	"crypto/sha256"
	"encoding/hex"

	"sextant/pkg/spec"
)

// PromptHash is six hex digits of what makes a dataset's prompts and how the model answers them: two scores with different hashes
// are not comparable. Paths, names, post-processors and the metric are not part of it. Defaults count as if written.
func PromptHash(d spec.Dataset, meta *spec.MetaTemplate) string {
	d = d.WithDefaults()
	if d.Mode == spec.Rolling {
		meta = nil // a text has no roles
	}
	sum := sha256.Sum256(mustJSON(map[string]any{
		"mode": d.Mode, "columns": d.Columns, "prompt": d.Prompt, "few_shot": d.FewShot, "answer": d.Answer, "ppl": d.PPL,
		"gen": d.Gen, "rolling": d.Rolling, "truncate": d.Truncate, "meta_template": meta,
	}))
	return hex.EncodeToString(sum[:3])
}
