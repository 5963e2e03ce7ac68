package score

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"sextant/pkg/metric"
)

// judge scores one answer against the accepted ones, which are at least one: a number from 0 to 1. The error says why the row cannot be
// scored.
type judge func(answer string, golds []string) (float64, error)

// base is a metric of one answer.
type base struct {
	boolean bool // 0 or 1
	judge   judge
}

// yes makes a base of a test.
func yes(right func(answer string, golds []string) bool) base {
	return base{boolean: true, judge: func(answer string, golds []string) (float64, error) {
		if right(answer, golds) {
			return 1, nil
		}
		return 0, nil
	}}
}

// best makes a base of a number for a pair, the best over the accepted answers.
func best(of func(answer, gold string) float64) base {
	return base{judge: func(answer string, golds []string) (float64, error) {
		most := 0.0
		for _, g := range golds {
			most = max(most, of(answer, g))
		}
		return most, nil
	}}
}

func exactly(answer string, golds []string) bool { return slices.Contains(golds, answer) }

func normalized(by func(string) string) base {
	return yes(func(answer string, golds []string) bool { return metric.ExactMatch(answer, golds, by) })
}

func containing(by func(string) string) base {
	return yes(func(answer string, golds []string) bool { return metric.ContainsAny(answer, golds, by) })
}

func rouge(of func(answer, gold []string) metric.Rouge) base {
	return best(func(answer, gold string) float64 {
		return of(metric.RougeTokens(answer, true), metric.RougeTokens(gold, true)).F
	})
}

// bases are the metrics of one generated text, by name.
//
//	exact_match, accuracy      the text is an accepted answer
//	contains                   the text holds one
//	squad_em, squad_f1         equality, and F1 over words, after SQuAD's normalisation (Rajpurkar et al. 2016)
//	trivia_qa_em, trivia_qa_f1 the same after TriviaQA's (Joshi et al. 2017)
//	contains_any               contains after SQuAD's normalisation
//	oc_trivia_qa, oc_nq        OpenCompass's readings of the two
//	math_equal                 equal as mathematics: metric.Equivalent
//	rouge1, rouge2, rougeL     F of rouge_score with stemming (Lin 2004)
//	rougeLsum                  likewise, a sentence a line
var bases = map[string]base{
	exactMatch:     yes(exactly),
	accuracy:       yes(exactly),
	contains:       containing(nil),
	"squad_em":     normalized(metric.SQuADNormalize),
	"squad_f1":     {judge: func(a string, g []string) (float64, error) { return metric.F1(a, g, metric.SQuADNormalize), nil }},
	"trivia_qa_em": normalized(metric.TriviaQANormalize),
	"trivia_qa_f1": {judge: func(a string, g []string) (float64, error) { return metric.F1(a, g, metric.TriviaQANormalize), nil }},
	"contains_any": containing(metric.SQuADNormalize),
	"oc_trivia_qa": yes(func(a string, g []string) bool { return metric.OCContains(metric.OCTriviaQA(a), g) }),
	"oc_nq":        yes(func(a string, g []string) bool { return metric.OCContains(metric.OCNQ(a), g) }),
	"math_equal": yes(func(a string, g []string) bool {
		return slices.ContainsFunc(g, func(g string) bool { return metric.Equivalent(a, g) })
	}),
	"rouge1":    rouge(func(a, g []string) metric.Rouge { return metric.RougeN(a, g, 1) }),
	"rouge2":    rouge(func(a, g []string) metric.Rouge { return metric.RougeN(a, g, 2) }),
	"rougeL":    rouge(metric.RougeL),
	"rougeLsum": best(func(a, g string) float64 { return metric.RougeLsum(a, g, true).F }),
}

// measure is a metric of a row's texts, one a sample.
type measure struct {
	name string
	kind kind
	code time.Duration // the texts are programs with this limit; 0: they are not
	raw  bool          // white space around the texts counts
	of   func(answers, golds []string, run judge) (outcome, error)
	// corpus metrics
	value func(sum []float64) float64
}

// families stand for several metrics.
var families = map[string][]string{
	"squad": {"squad_em", "squad_f1"},
	"rouge": {"rouge1", "rouge2", "rougeL"},
}

// genMetrics lists what a generation may be scored by, the default first; K stands for a number.
func genMetrics() []string {
	names := slices.Sorted(maps.Keys(bases))
	names = slices.DeleteFunc(names, func(n string) bool { return n == exactMatch })
	names = append([]string{exactMatch}, names...)
	return append(append(names, slices.Sorted(maps.Keys(families))...), "bleu", "chrf", "chrf++", "ifeval", "pass@K", "pass@K:METRIC", "maj@K", "maj@K:METRIC")
}

// measuresOf reads a metric's name, for rows of so many samples:
//
//	NAME          a base; with several samples the mean over them
//	pass@K        the chance that one of K programs passes its tests (M. Chen et al., arXiv 2107.03374, the unbiased estimate);
//	              pass@K:python/3s bounds each program's time, by default 10 s
//	pass@K:NAME   the same of texts that are right by a base
//	maj@K:NAME    the answer that most of the first K texts give, by a base: metric.MajorityVote; exact_match by default
//	bleu          sacreBLEU's corpus BLEU (M. Post, WMT 2018), or bleu:TOKENIZER
//	chrf, chrf++  its corpus chrF (M. Popović, WMT 2015)
func measuresOf(name string, samples int) ([]measure, error) {
	if members, ok := families[name]; ok {
		var out []measure
		for _, m := range members {
			one, err := measuresOf(m, samples)
			if err != nil {
				return nil, err
			}
			out = append(out, one...)
		}
		return out, nil
	}
	if name == "ifeval" || strings.HasPrefix(name, "ifeval_") {
		return ifeval(name, samples)
	}
	var m measure
	var err error
	how, rest, _ := strings.Cut(name, "@")
	switch head, arg, _ := strings.Cut(name, ":"); {
	case head == "bleu":
		m, err = bleu(arg, samples)
	case name == "chrf" || name == "chrf++":
		m, err = chrf(name == "chrf++", samples)
	case how == "pass" && how != name:
		m, err = passing(rest, samples)
	case how == "maj" && how != name:
		m, err = voting(rest, samples)
	default:
		b, ok := bases[name]
		if !ok {
			return nil, unknown("metric of mode gen", name, genMetrics())
		}
		m = averaging(b, samples)
	}
	if err != nil {
		return nil, fmt.Errorf("metric %q: %w", name, err)
	}
	m.name = name
	return []measure{m}, nil
}

// averaging is the mean of a base over a row's samples.
func averaging(b base, samples int) measure {
	m := measure{kind: byMean, of: func(answers, golds []string, _ judge) (outcome, error) {
		sum := 0.0
		for _, a := range answers {
			v, err := b.judge(a, golds)
			if err != nil {
				return outcome{}, err
			}
			sum += v
		}
		return outcome{value: sum / float64(len(answers)), size: 1}, nil
	}}
	if b.boolean && samples == 1 {
		m.kind = byShare
	}
	return m
}

// countOf reads K of pass@K and maj@K, at most the number of samples, and what is after the colon.
func countOf(rest string, samples int) (k int, arg string, err error) {
	number, arg, _ := strings.Cut(rest, ":")
	if k, err = strconv.Atoi(number); err != nil || k < 1 {
		return 0, "", fmt.Errorf("%q is no number of samples", number)
	}
	if k > samples {
		return 0, "", fmt.Errorf("a row has %s; set gen.samples to %d or more, and a temperature", count(samples, "sample"), k)
	}
	return k, arg, nil
}

// passing is pass@K.
func passing(rest string, samples int) (measure, error) {
	k, arg, err := countOf(rest, samples)
	if err != nil {
		return measure{}, err
	}
	m := measure{kind: byMean}
	if samples == 1 {
		m.kind = byShare
	}
	b, ok := bases[arg]
	switch {
	case ok && !b.boolean:
		return m, fmt.Errorf("%q gives parts of right answers, of which none passes", arg)
	case !ok:
		if m.code, err = codeLimit(arg); err != nil {
			return m, err
		}
	}
	m.of = func(answers, golds []string, run judge) (outcome, error) {
		if m.code == 0 {
			run = b.judge
		}
		right := 0
		for _, a := range answers {
			v, err := run(a, golds)
			if err != nil {
				return outcome{}, err
			}
			right += int(v)
		}
		v, err := metric.PassAtK(len(answers), right, k)
		return outcome{value: v, size: 1}, err
	}
	return m, nil
}

// defaultLimit is a program's time by the clock. HumanEval's own harness gives 3 s, OpenCompass's for MBPP 10.
const defaultLimit = 10 * time.Second

// codeLimit reads "", "python" or "python/3s".
func codeLimit(arg string) (time.Duration, error) {
	language, text, timed := strings.Cut(arg, "/")
	if arg != "" && language != "python" {
		return 0, unknown("metric to pass", arg, append(slices.Sorted(maps.Keys(bases)), "python"))
	}
	if !timed {
		return defaultLimit, nil
	}
	d, err := time.ParseDuration(text)
	if err != nil || d < 100*time.Millisecond || d > time.Hour {
		return 0, fmt.Errorf("%q is no time from 100ms to 1h for a program; write python/3s", text)
	}
	return d, nil
}

// voting is maj@K.
func voting(rest string, samples int) (measure, error) {
	k, arg, err := countOf(rest, samples)
	if err != nil {
		return measure{}, err
	}
	if arg == "" {
		arg = exactMatch
	}
	b, ok := bases[arg]
	if !ok || !b.boolean {
		return measure{}, unknown("metric to vote by", arg, []string{exactMatch, "math_equal", "squad_em", "trivia_qa_em"})
	}
	same := func(x, y string) bool { v, err := b.judge(x, []string{y}); return err == nil && v == 1 }
	return measure{kind: byShare, of: func(answers, golds []string, _ judge) (outcome, error) {
		winner, _, _ := metric.MajorityVote(answers[:k], same) // "" where no text has an answer
		v, err := b.judge(winner, golds)
		return outcome{value: v, size: 1}, err
	}}, nil
}

// bleu is corpus BLEU: the counts of every row, summed up in row order.
func bleu(tokenizer string, samples int) (measure, error) {
	b, err := metric.NewBLEU(metric.BLEUOptions{Tokenizer: tokenizer})
	if err == nil {
		err = oneText(samples)
	}
	if err != nil {
		return measure{}, err
	}
	return measure{kind: byCorpus, value: func(sum []float64) float64 { return b.Score(bleuStats(sum)) },
		of: func(answers, golds []string, _ judge) (outcome, error) {
			return outcome{size: 1, parts: bleuParts(b.Count(answers[0], golds))}, nil
		}}, nil
}

// oneText refuses several samples a row.
func oneText(samples int) error {
	if samples > 1 {
		return errors.New("a corpus has one text a row; take gen.samples out")
	}
	return nil
}

// chrf is corpus chrF, likewise.
func chrf(words bool, samples int) (measure, error) {
	of := func(answers, golds []string, _ judge) (outcome, error) {
		o := outcome{size: 1}
		for _, counts := range metric.CHRF(answers[0], golds, words) {
			for _, n := range counts {
				o.parts = append(o.parts, float64(n))
			}
		}
		return o, nil
	}
	value := func(sum []float64) float64 {
		var s metric.CHRFStats
		for i, n := range sum {
			s[i/3][i%3] = int(n)
		}
		return s.Score()
	}
	return measure{kind: byCorpus, of: of, value: value}, oneText(samples)
}

func bleuParts(s metric.BLEUStats) []float64 {
	var out []float64
	for n := range s.Correct {
		out = append(out, float64(s.Correct[n]), float64(s.Total[n]))
	}
	return append(out, float64(s.Length), float64(s.RefLength))
}

// bleuStats turns sums of parts back; they are whole numbers far below 2^53.
func bleuStats(parts []float64) (s metric.BLEUStats) {
	for n := range s.Correct {
		s.Correct[n], s.Total[n] = int(parts[2*n]), int(parts[2*n+1])
	}
	s.Length, s.RefLength = int(parts[len(parts)-2]), int(parts[len(parts)-1])
	return s
}
