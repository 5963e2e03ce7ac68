package main

import (
	"cmp"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"sextant/pkg/cliargs"
	"sextant/pkg/plan"
	"sextant/pkg/score"
	"sextant/pkg/spec"
	"sextant/pkg/track"
)

// trackedRun is a run as trackers know it, before anything is done.
func trackedRun(dir string, p *plan.Plan) track.Run {
	user := cmp.Or(os.Getenv("USER"), os.Getenv("LOGNAME"), "uid "+strconv.Itoa(os.Getuid()))
	r := track.Run{Name: filepath.Base(dir), Dir: dir, Spec: p.Spec.Name, Program: "sextant " + cliargs.Version(), User: user,
		Scheduler: p.Spec.Infer.Scheduler, Began: time.Now(), State: track.Running}
	for _, v := range p.Variants {
		if p.Evaluates(v.ID) {
			r.Variants = append(r.Variants, trackedVariant(p, v))
		}
	}
	return r
}

// trackedVariant is what a variant is and what it is evaluated on. Nothing of it logs in anywhere.
func trackedVariant(p *plan.Plan, v plan.Variant) track.Variant {
	m, _ := p.Model(v.Model)
	path := track.Plain(m.Path)
	out := track.Variant{Name: v.ID, Params: map[string]string{"spec": p.Spec.Name, "model": v.Model, "model_path": path,
		"fingerprint": v.Fingerprint, "recipe": v.Recipe, "position": cmp.Or(v.Position, spec.Pretrain)}}
	if series, step, ok := spec.Step(path); ok {
		out.Step = step
		out.Params["series"], out.Params["step"] = series, strconv.FormatInt(step, 10)
	}
	for key, n := range map[string]int{"limit": p.Spec.Infer.Limit, "max_seq_len": m.MaxSeqLen, "max_out_len": m.MaxOutLen} {
		if n > 0 {
			out.Params[key] = strconv.Itoa(n)
		}
	}
	if m.ChatTemplate != "" {
		out.Params["chat_template"] = m.ChatTemplate
	}
	for _, t := range p.Tasks {
		if t.Variant == v.ID && t.Kind == "" {
			out.Params["data/"+t.Dataset], out.Params["prompt/"+t.Dataset] = t.Data, t.Prompt
		}
	}
	if q, ok := p.Recipe(v.Recipe); ok {
		raw, _ := json.Marshal(q) // of plain values
		var table any
		_ = json.Unmarshal(raw, &table) // of what was just written
		flatten(out.Params, "quant", table)
	}
	return out
}

// flatten writes the values of nested tables under names with slashes.
func flatten(out map[string]string, name string, v any) {
	switch v := v.(type) {
	case map[string]any:
		for key, x := range v {
			flatten(out, name+"/"+key, x)
		}
	case []any:
		var words []string
		for _, x := range v {
			words = append(words, fmt.Sprint(x))
		}
		out[name] = strings.Join(words, ", ")
	case string:
		out[name] = track.Plain(v)
	case nil:
	default:
		out[name] = fmt.Sprint(v)
	}
}

// trackedScores are a run's scores in a tracker's words.
func trackedScores(all score.Scores) []track.Score {
	out := []track.Score{}
	for _, s := range slices.Concat(all.Scores, all.Groups) {
		out = append(out, track.Score{Variant: s.Model, Dataset: s.Dataset, Group: len(s.Members) > 0, Metric: s.Metric, Percent: s.Unit == score.Percent,
			Value: s.Value, StdErr: s.StdErr, N: s.N, Missing: s.Missing})
	}
	return out
}
