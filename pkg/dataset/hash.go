package dataset

import (
	"crypto/sha256"
	"encoding/hex"
	"maps"
	"path/filepath"

	"sextant/pkg/spec"
)

// PromptHash is six hex digits of what makes a dataset's prompts and how the model answers them: two scores with different hashes
// are not comparable. Directories, names, post-processors and the metric are not part of it. Defaults count as if written.
func PromptHash(d spec.Dataset, roles *Roles) string {
	d = d.WithDefaults()
	meta := roles.meta()
	if d.Mode == spec.Rolling {
		meta = nil // a text has no roles
	}
	all := map[string]any{
		"mode": d.Mode, "columns": unplaced(d.Columns), "prompt": d.Prompt, "few_shot": d.FewShot, "answer": d.Answer, "ppl": d.PPL,
		"gen": d.Gen, "rolling": d.Rolling, "truncate": d.Truncate, "meta_template": meta,
	}
	if chat := roles.ChatDigest(d.Mode); chat != "" {
		all["chat_template"] = chat
	}
	sum := sha256.Sum256(mustJSON(all))
	return hex.EncodeToString(sum[:3])
}

// unplaced are the columns without the directories that their files are in. What is in the files is part of Set.Digest and of each
// item's.
func unplaced(columns map[string]spec.Column) map[string]spec.Column {
	out := maps.Clone(columns)
	for name, c := range out {
		if c.File != "" {
			c.File = filepath.Base(c.File)
			out[name] = c
		}
	}
	return out
}
