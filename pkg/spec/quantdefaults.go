package spec

import "fmt"

// fillQuant gives the recipes their defaults, and with any of them the evaluation its positions.
func (s *Spec) fillQuant() {
	for i, q := range s.Quant {
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
	setDefault(&q.Name, q.defaultName())
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

func (c Calib) withDefaults() Calib {
	if c.File.Path != "" {
		c.File = c.File.withDefaults()
	}
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

// defaultName tells the recipe's method and sizes.
func (q *Quant) defaultName() string {
	name := fmt.Sprintf("%s-w%d", q.Method, q.Bits)
	switch {
	case q.Method == "":
		return ""
	case q.Method == "fp8" && q.Granularity == "channel":
		name = "fp8"
	case q.Method == "fp8":
		name = "fp8-" + q.Granularity
	case q.Granularity == "group":
		name += fmt.Sprintf("g%d", q.Group)
	}
	if q.Act == "int8" {
		name += "a8"
	}
	switch q.KV {
	case "int8":
		name += "-kv8"
	case "fp8":
		name += "-kvf8"
	}
	return name
}
