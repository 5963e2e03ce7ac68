package main

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"sextant/pkg/spec"
)

// recipes leaves the recipes that are for the template, for any model.
func (s *sweeper) recipes() {
	s.spec.Quant = slices.DeleteFunc(slices.Clone(s.spec.Quant), func(q spec.Quant) bool { return !q.For(s.template.Abbr) })
	for i := range s.spec.Quant {
		s.spec.Quant[i].Models = nil
	}
}

// of is the spec of these checkpoints.
func (s *sweeper) of(names ...string) spec.Spec {
	out := *s.spec
	out.Models = nil
	for _, name := range names {
		out.Models = append(out.Models, s.model(name))
	}
	return out
}

// model is the template as a checkpoint's.
func (s *sweeper) model(name string) spec.Model {
	m := s.template
	path := filepath.Join(s.dir, name)
	if m.TokenizerPath == m.Path {
		m.TokenizerPath = path
	}
	m.Path = path
	abbr := strings.Map(func(r rune) rune {
		if strings.ContainsRune("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._+-", r) {
			return r
		}
		return '_'
	}, name)
	if m.Abbr != placeholder {
		abbr = m.Abbr + "-" + abbr
	}
	m.Abbr = strings.TrimLeft(abbr, "-")
	return m
}

// longestAbbr is how long a model's name may be: it is in names of files.
const longestAbbr = 100

// questionOf is the digest of what a spec asks of any model, whatever runs it and where.
func questionOf(s *spec.Spec) (string, error) {
	q := *s
	m := q.Models[0]
	m.Path, m.Abbr, m.RunCfg, m.BatchSize = "", "", spec.RunCfg{}, 0
	if m.TokenizerPath == s.Models[0].Path {
		m.TokenizerPath = ""
	}
	q.Models, q.Infer = []spec.Model{m}, spec.Infer{Limit: s.Infer.Limit}
	q.Name, q.WorkDir, q.Local, q.Slurm, q.S3, q.DLC = "", "", spec.Local{}, spec.Slurm{}, spec.S3{}, spec.DLC{}
	q.Notify, q.Track = spec.Notify{}, spec.Track{}
	raw, err := json.Marshal(q)
	if err != nil {
		return "", fmt.Errorf("the digest of the spec: %w", err)
	}
	sum := sha256.Sum256(raw)
	return hex.EncodeToString(sum[:8]), nil
}
