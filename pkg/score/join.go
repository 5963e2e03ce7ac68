package score

// Part is a run's scores, to be joined with those of others.
type Part struct {
	Scores
	Fingerprints map[string]string // by model: what it is; of a model that is not in it nothing is known
}

// Join makes one of the scores of several runs, oldest first. Of models with the same name the newest run's counts: what it lacks is taken from
// older ones only where the model is the same there by its fingerprint, the newest first. So no line of the outcome mixes two models. A
// comparison is kept where both of its models are those of its run. Models stand in the order in which they were evaluated first, the scores of
// each as in its runs.
func Join(parts ...Part) Scores {
	out := Scores{Version: fileVersion, Scores: []Score{}}
	var models []string
	newest := map[string]int{} // model -> the newest part that has it
	for i, p := range parts {
		for _, name := range p.models() {
			if _, known := newest[name]; !known {
				models = append(models, name)
			}
			newest[name] = i
		}
	}
	counts := func(i int, model string) bool {
		now := newest[model]
		print := parts[i].Fingerprints[model]
		return i == now || i < now && print != "" && print == parts[now].Fingerprints[model]
	}
	have := map[key]bool{}
	add := func(to *[]Score, from []Score, model, kind string) {
		for _, s := range from {
			k := key{model, kind + s.Dataset, s.Metric}
			if s.Model == model && !have[k] {
				have[k] = true
				*to = append(*to, s)
			}
		}
	}
	for _, model := range models {
		for i := newest[model]; i >= 0; i-- {
			if counts(i, model) {
				add(&out.Scores, parts[i].Scores.Scores, model, "dataset ")
				add(&out.Groups, parts[i].Groups, model, "group ")
			}
		}
		for i := newest[model]; i >= 0; i-- {
			if counts(i, model) {
				out.joinVariant(parts[i].Scores, model, have)
				out.joinComparisons(parts[i].Scores, model, func(baseline string) bool { return counts(i, baseline) }, have)
			}
		}
	}
	return out
}

// models are those of scores, groups and variants, in their order.
func (s *Scores) models() []string {
	var out []string
	seen := map[string]bool{}
	add := func(name string) {
		if !seen[name] {
			seen[name] = true
			out = append(out, name)
		}
	}
	for _, x := range s.Scores {
		add(x.Model)
	}
	for _, x := range s.Groups {
		add(x.Model)
	}
	for _, v := range s.Variants {
		add(v.Model)
	}
	return out
}

func (s *Scores) joinVariant(from Scores, model string, have map[key]bool) {
	for _, v := range from.Variants {
		if k := (key{model, "variant", ""}); v.Model == model && !have[k] {
			have[k] = true
			s.Variants = append(s.Variants, v)
		}
	}
}

// joinComparisons takes a model's comparisons with baselines that count.
func (s *Scores) joinComparisons(from Scores, model string, counts func(baseline string) bool, have map[key]bool) {
	for _, c := range from.Comparisons {
		kind := "change "
		if len(c.Members) > 0 {
			kind = "group change "
		}
		k := key{model, kind + c.Dataset, c.Metric}
		if c.Model == model && counts(c.Baseline) && !have[k] {
			have[k] = true
			s.Comparisons = append(s.Comparisons, c)
		}
	}
}
