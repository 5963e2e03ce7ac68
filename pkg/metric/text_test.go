package metric

import (
	"math"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// The steps are those of the comments in the evaluation scripts of SQuAD 1.1, TriviaQA and OpenCompass; the results are worked by hand.
func TestNormalizations(t *testing.T) {
	for _, c := range []struct {
		name string
		f    func(string) string
		in   string
		want string
	}{
		{"squad", SQuADNormalize, "The  Quick, brown fox's a-b!", "quick brown foxs ab"},
		{"squad", SQuADNormalize, "An apple a day", "apple day"},
		{"squad", SQuADNormalize, "Theatre than another", "theatre than another"},
		{"squad", SQuADNormalize, "the_end", "theend"},
		{"squad", SQuADNormalize, "a–b “the” é", "–b “ ” é"},
		{"squad", SQuADNormalize, "\u00a0tab\tline\n", "tab line"},
		{"squad", SQuADNormalize, "The", ""},
		{"trivia", TriviaQANormalize, "Rock-n-Roll_music", "rock n roll music"},
		{"trivia", TriviaQANormalize, "‘The King’s’ speech´", "king s speech"},
		{"oc_general", OCGeneral, "The Eiffel Tower, in Paris", "Eiffel Tower"},
		{"oc_general", OCGeneral, "it's  A “test”\nmore", "its test"},
		{"oc_general", OCGeneral, "3.14", "3"},
		{"oc_general", OCGeneral, "an-the", "anthe"},
		{"oc_trivia", OCTriviaQA, "  The answer is: Paris\nQ: next", "paris"},
		{"oc_trivia", OCTriviaQA, "A: the Nile.", "nile"},
		{"oc_trivia", OCTriviaQA, "Answer: the Nile.", "nile"},
		{"oc_nq", OCNQ, "I think the answer is Bob Dylan.", "bob dylan"},
		{"oc_nq", OCNQ, "A: Bob", "bob"},
	} {
		if got := c.f(c.in); got != c.want {
			t.Errorf("%s of %q = %q, want %q", c.name, c.in, got, c.want)
		}
	}
}

func TestExactMatchAndF1(t *testing.T) {
	golds := []string{"Denver Broncos", "The Denver Broncos", "Broncos"}
	for _, c := range []struct {
		prediction string
		em         bool
		f1         float64
	}{
		{"the Denver Broncos!", true, 1},
		{"Broncos of Denver", false, 0.8},
		{"the team called Broncos", false, 0.5},
		{"Panthers", false, 0},
		{"", false, 0},
	} {
		if got := ExactMatch(c.prediction, golds, SQuADNormalize); got != c.em {
			t.Errorf("exact match of %q = %v", c.prediction, got)
		}
		if got := F1(c.prediction, golds, SQuADNormalize); math.Abs(got-c.f1) > 1e-15 {
			t.Errorf("F1 of %q = %v, want %v", c.prediction, got, c.f1)
		}
	}
	if F1("the", []string{"a"}, SQuADNormalize) != 1 || F1("x", nil, nil) != 0 || ExactMatch("x", nil, nil) {
		t.Error("the edges are wrong")
	}
	if !ContainsAny("I saw the Nile.", []string{"the nile", "x"}, SQuADNormalize) || ContainsAny("abc", []string{"", "the"}, SQuADNormalize) {
		t.Error("contains any is wrong")
	}
	if !OCContains(OCTriviaQA("It is the River Nile"), []string{"Nile", "x"}) || OCContains("abc", []string{"d"}) ||
		!OCContains("abc", []string{"the"}) {
		t.Error("OpenCompass's contains is wrong")
	}
}

func TestF1IsSymmetric(t *testing.T) {
	words := rapid.SliceOfN(rapid.SampledFrom([]string{"a", "b", "the", "cat", "Cat.", "é"}), 0, 8)
	rapid.Check(t, func(t *rapid.T) {
		a, b := strings.Join(words.Draw(t, "a"), " "), strings.Join(words.Draw(t, "b"), " ")
		x, y := F1(a, []string{b}, SQuADNormalize), F1(b, []string{a}, SQuADNormalize)
		if x != y || x < 0 || x > 1 || F1(a, []string{a}, SQuADNormalize) != 1 {
			t.Fatalf("F1(%q, %q) is %v one way and %v the other", a, b, x, y)
		}
	})
}

func TestBoxed(t *testing.T) {
	for _, c := range []struct {
		in, want string
		ok       bool
	}{
		{`so $\boxed{5}$.`, "5", true},
		{`\boxed{\frac{1}{2}}`, `\frac{1}{2}`, true},
		{`\boxed{1} and \boxed{2}`, "2", true},
		{`\boxed{1} and \boxed{2`, "1", true},
		{`\boxed{\left\{1,2\right\}}`, `\left\{1,2\right\}`, true},
		{`\boxed{\left\{x \right.}`, `\left\{x \right.`, true},
		{`\fbox{3}`, "3", true},
		{`\fbox{3} \boxed{4}`, "4", true},
		{`\boxed{4} \fbox{3}`, "4", true},
		{`\boxed 5$ is it`, "5", true},
		{`\boxed {7}`, "7", true},
		{`\boxed{}`, "", true},
		{`\boxed{\boxed{9}}`, "9", true},
		{`no box`, "", false},
		{`\boxed{`, "", false},
		{`}}{{\boxed`, "", false},
	} {
		if got, ok := Boxed(c.in); got != c.want || ok != c.ok {
			t.Errorf("Boxed(%q) = %q, %v", c.in, got, ok)
		}
	}
}

func TestMathAnswer(t *testing.T) {
	for in, want := range map[string]string{
		`thus \boxed{5}. The answer is 6`:                                        "5",
		`Final Answer: The final answer is $\frac{1}{2}$. I hope it is correct.`: `$\frac{1}{2}$`,
		"Steps.\nANSWER: 42":                                                     "42",
		"The answer is 3.5.":                                                     "3.5",
		`we get $x$ and then $y=2$ here`:                                         "y=2",
		`it costs $5`:                                                            "5",
		"so there are 12 of them":                                                "12",
		"答案是 7。":                                                                 "7",
		"":                                                                       "",
	} {
		if got := MathAnswer(in); got != want {
			t.Errorf("MathAnswer(%q) = %q, want %q", in, got, want)
		}
	}
}

func FuzzBoxed(f *testing.F) {
	f.Add(`\boxed{1} \fbox{{}}`)
	f.Fuzz(func(t *testing.T, s string) {
		got, ok := Boxed(s)
		if !ok && got != "" || !strings.Contains(s, got) {
			t.Errorf("Boxed(%q) = %q, %v", s, got, ok)
		}
		if again, ok := Boxed(s + ` \boxed{42}`); !ok || again != "42" {
			t.Errorf("a box after %q is %q", s, again)
		}
		MathAnswer(s)
	})
}
