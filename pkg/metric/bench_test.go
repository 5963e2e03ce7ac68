package metric

import (
	"fmt"
	"strings"
	"testing"
)

// BenchmarkRows scores one short row at a time; 50,000 rows are to take less than 2 s, which is 40 µs a row.
func BenchmarkRows(b *testing.B) {
	const (
		text = "Let's think step by step. He sold 48/2 = 24 clips in May, so 48 + 24 = 72 altogether. The answer is 72."
		gold = "Natalia sold 24 clips in May and 72 clips in all."
	)
	bleu, err := NewBLEU(BLEUOptions{EffectiveOrder: true})
	if err != nil {
		b.Fatal(err)
	}
	var list []Instruction
	for _, in := range [][2]string{{"length_constraints:number_sentences", `{"num_sentences": 30, "relation": "at least"}`},
		{"change_case:capital_word_frequency", `{"capital_frequency": 3, "capital_relation": "at least"}`},
		{"language:response_language", `{"language": "de"}`}} {
		one, err := NewInstruction(in[0], []byte(in[1]))
		if err != nil {
			b.Fatal(err)
		}
		list = append(list, one)
	}
	for name, f := range map[string]func(){
		"exact match":            func() { ExactMatch(text, []string{gold}, SQuADNormalize) },
		"F1":                     func() { F1(text, []string{gold}, SQuADNormalize) },
		"OCTriviaQA":             func() { OCContains(OCTriviaQA(text), []string{gold}) },
		"FirstOption":            func() { FirstOption(text, "ABCD") },
		"LastNumber":             func() { LastNumber(text) },
		"GSM8KAnswer":            func() { GSM8KAnswer(text) },
		"MathAnswer":             func() { MathAnswer(text) },
		"Equivalent number":      func() { Equivalent("72", "71") },
		"Equivalent expression":  func() { Equivalent(`\frac{3\sqrt{2}x + 1}{2}`, `(3*x*sqrt(2)+1)/2`) },
		"Equivalent sets":        func() { Equivalent(`\{1,2,3,\frac12\}`, `\{3,2,1,0.5\}`) },
		"ROUGE-1, 2, L stemming": func() { rouges(text, gold) },
		"ROUGE-Lsum":             func() { RougeLsum(text, gold, false) },
		"BLEU":                   func() { bleu.Score(bleu.Count(text, []string{gold})) },
		"chrF":                   func() { s := CHRF(text, []string{gold}, false); s.Score() },
		"IFEval sentences":       func() { list[0].Followed(text) },
		"IFEval capitals":        func() { list[1].Followed(text) },
		"IFEval language":        func() { list[2].Followed(text) },
		"pass@k":                 func() { _, _ = PassAtK(200, 13, 100) },
		"MC2":                    func() { _, _ = MC2([]float64{-1, -2, -3, -4}, []bool{true, false, false, true}) },
	} {
		b.Run(strings.ReplaceAll(fmt.Sprint(name), " ", "-"), func(b *testing.B) {
			for b.Loop() {
				f()
			}
		})
	}
}

func rouges(a, b string) {
	p, t := RougeTokens(a, true), RougeTokens(b, true)
	RougeN(p, t, 1)
	RougeN(p, t, 2)
	RougeL(p, t)
}
