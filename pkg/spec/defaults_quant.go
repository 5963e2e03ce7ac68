package spec

import (
	"fmt"
)

// fillQuant gives the recipes their defaults and the files of known sets, and with any recipe the evaluation its positions.
func (s *Spec) fillQuant() {
	for i, q := range s.Quant {
		if q.Calib != nil && q.Calib.File.Path == "" && q.Calib.Name != "" {
			q.Calib.File.Path = below(s.DataDir, calibFiles[q.Calib.Name].Path)
		}
		s.Quant[i] = q.WithDefaults()
	}
	if len(s.Quant) > 0 && len(s.Eval.Positions) == 0 {
		s.Eval.Positions = []string{Pretrain, Packed}
	}
}

// WithDefaults is the recipe with every key that its method uses written out.
func (q Quant) WithDefaults() Quant {
	bits := 4
	if q.Method == "smoothquant" || q.Method == "fp8" {
		bits = 8
	}
	setDefault(&q.Bits, bits)
	granularity, scales := "group", "f16"
	if q.Bits == 8 {
		granularity, scales = "channel", "f32"
	}
	if q.Group > 0 {
		granularity = "group"
	}
	setDefault(&q.Granularity, granularity)
	setDefault(&q.ScaleDType, scales)
	if q.Granularity == "group" {
		setDefault(&q.Group, 128)
	}
	convention := "llmc"
	if q.Method == "gptq" {
		convention = "gptq"
	}
	setDefault(&q.Convention, convention)
	if q.Symmetric == nil {
		symmetric := q.Method == "gptq" || q.Bits == 8 || q.Convention == "gptq"
		q.Symmetric = &symmetric
	}
	setDefault(&q.Act, map[string]string{"smoothquant": "int8", "fp8": "fp8"}[q.Method])
	setDefault(&q.Act, "none")
	if q.Act != "none" {
		setDefault(&q.ActScale, "token")
	}
	setDefault(&q.KV, "none")
	switch q.Method {
	case "awq":
		q.AWQ = q.AWQ.withDefaults()
	case "gptq":
		q.GPTQ = q.GPTQ.withDefaults()
	case "smoothquant":
		setDefault(&q.Alpha, 0.85)
	}
	if q.Calib != nil {
		calib := q.Calib.withDefaults()
		q.Calib = &calib
	}
	if q.Name == "" {
		q.Name = q.defaultName()
	}
	return q
}

func (a AWQ) withDefaults() AWQ {
	setDefault(&a.Grid, 20)
	setDefault(&a.Objective, "linear")
	if a.Clip == nil {
		clip := true
		a.Clip = &clip
	}
	return a
}

func (g GPTQ) withDefaults() GPTQ {
	setDefault(&g.Damp, 0.01)
	setDefault(&g.Block, 128)
	if g.StaticGroups == nil {
		static := g.ActOrder
		g.StaticGroups = &static
	}
	return g
}

// calibFiles are the known sets as they are handed out: where below data_dir, and what their extensions do not tell.
var calibFiles = map[string]Files{
	"pileval":   {Path: "pileval/val.jsonl"},                                   // mit-han-lab/pile-val-backup
	"wikitext2": {Path: "wikitext-2-raw/wiki.train.raw", Unit: "hf-line"},      // wikitext-2-raw-v1
	"c4":        {Path: "c4/c4-train.00000-of-01024.json.gz", Format: "jsonl"}, // allenai/c4, en
	"ptb":       {Path: "ptb/ptb.train.txt"},                                   // ptb_text_only
}

func (c Calib) withDefaults() Calib {
	known := calibFiles[c.Name]
	format := FormatOf(c.File.Path)
	if format == FormatOf(known.Path) && known.Format != "" {
		format = known.Format
	}
	setDefault(&c.File.Format, format)
	if c.File.Format == "text" {
		setDefault(&c.File.Unit, known.Unit)
	}
	c.File = c.File.withDefaults()
	setDefault(&c.Column, "text")
	cut := "blocks"
	if c.Name != "" && c.Name != "pileval" {
		cut = "windows"
	}
	setDefault(&c.Cut, cut)
	setDefault(&c.Samples, 128)
	setDefault(&c.SeqLen, 512)
	return c
}

// defaultName tells the recipe's method and sizes, and all else of it that is not the default, but for its text and what it leaves out.
func (q *Quant) defaultName() string {
	if q.Method == "" {
		return ""
	}
	name := fmt.Sprintf("%s-w%d", q.Method, q.Bits)
	if q.Method == "fp8" {
		name = "fp8"
	}
	switch {
	case q.Granularity == "group":
		name += fmt.Sprintf("g%d", q.Group)
	case q.Granularity != "channel":
		name += "-" + q.Granularity
	}
	usual := Quant{Name: "-", Method: q.Method, Bits: q.Bits, Granularity: q.Granularity}.WithDefaults()
	ranges := Quant{Name: "-", Method: q.Method, Bits: q.Bits, Convention: q.Convention}.WithDefaults()
	switch {
	case q.Act == "int8":
		name += "a8"
	case q.Act == "fp8" && q.Method != "fp8":
		name += "af8"
	case q.Act == "none" && q.Act != usual.Act:
		name += "-noact"
	}
	awq, gptq, smooth := q.Method == "awq", q.Method == "gptq", q.Method == "smoothquant"
	for _, part := range []struct {
		differs bool
		text    string
	}{
		{q.ActScale == "tensor", "static"},
		{*q.Symmetric != *ranges.Symmetric && *q.Symmetric, "sym"},
		{*q.Symmetric != *ranges.Symmetric && !*q.Symmetric, "asym"},
		{q.Convention != usual.Convention, q.Convention},
		{q.ScaleDType != usual.ScaleDType, q.ScaleDType},
		{smooth && q.Alpha != usual.Alpha, fmt.Sprintf("alpha%g", q.Alpha)},
		{awq && !*q.AWQ.Clip, "noclip"},
		{awq && q.AWQ.Objective != usual.AWQ.Objective, q.AWQ.Objective},
		{awq && q.AWQ.Grid != usual.AWQ.Grid, fmt.Sprintf("grid%d", q.AWQ.Grid)},
		{gptq && q.GPTQ.ActOrder, "actorder"},
		{gptq && *q.GPTQ.StaticGroups && !q.GPTQ.ActOrder, "staticgroups"},
		{gptq && q.GPTQ.Damp != usual.GPTQ.Damp, fmt.Sprintf("damp%g", q.GPTQ.Damp)},
		{gptq && q.GPTQ.Block != usual.GPTQ.Block, fmt.Sprintf("block%d", q.GPTQ.Block)},
		{q.KV == "int8", "kv8"},
		{q.KV == "fp8", "kvf8"},
	} {
		if part.differs {
			name += "-" + part.text
		}
	}
	return name
}
