package metric

import (
	"strings"
	"testing"
	"unicode/utf8"
)

func TestPostProcessors(t *testing.T) {
	for _, c := range []struct{ post, in, want string }{
		{"strip", " \t B.\n\n", "B."},
		{"strip", "", ""},
		{"strip", "\u3000答案\u00a0", "答案"},
		{"lower", "Paris ÉTÉ", "paris été"},
		{"first_line", "one\ntwo", "one"},
		{"first_line", "one\r\ntwo", "one"},
		{"first_line", "\none", ""},
		{"first_line", "one", "one"},
		{"first_word", "  hill. And then", "hill."},
		{"first_word", "\n\n", ""},
		{"cut:\n\n", " 16. #### 16\n\nQuestion: x", " 16. #### 16"},
		{"cut:\n\n", "no blank line\n", "no blank line\n"},
		{"cut:::", "a::b", "a"},
		{"after:####", " 15 + 1 = 16. #### 16 #### 2", " 16 #### 2"},
		{"after:####", "16", ""},
		{"rstrip:.,", "..16.,.", "..16"},
		{"rstrip:。", "答案。。", "答案"},
		{"strip_chars:.,:?!", ".hill?!", "hill"},
		{"strip_chars:.,:?!", "mid.dle", "mid.dle"},
		{`regex:answer is (\d+)`, "the answer is 42.", "42"},
		{`regex:\d+`, "the answer is 42.", "42"},
		{`regex:\d+`, "none", ""},
		{`regex:(a)|(b)`, "b", ""}, // the first group took no part
		{`regex:(?s)\[BEGIN\](.*)\[DONE\]`, "x [BEGIN]\ny\n[DONE]", "\ny\n"},
		{`regex:a:b`, "a:b", "a:b"},
		{`last_regex:\d+`, "1, 2 and 3.", "3"},
		{`last_regex:=(\d+)`, "=1 =2", "2"},
		{`last_regex:x`, "none", ""},
		{"last_line", "one\ntwo \n\n", "two"},
		{"last_line", "one", "one"},
		{"last_line", "", ""},
		{"take_until:\nQ:|\n\n", "a\n\nb\nQ:", "a"},
		{"take_until:\nQ:|\n\n", "a\nQ: b\n\n", "a"},
		{"take_until:|", "a|b", "a|b"},
		{"after_last:####", "1 #### 2 #### 3", " 3"},
		{"after_last:####", "1", "1"},
		{"first_capital", "the answer is B, not C", "B"},
		{"first_capital", "none", ""},
		{"last_capital", "the answer is B, not C.", "C"},
		{"capitals", "A, C and A, then B", "ABC"},
		{"last_option:ABCD", "Based on A, it is D. End", "D"},
		{"last_option:ABCD", "none", ""},
		{"code", "Here it is:\n```python\ndef f():\n    return 1\n```\nand a test:\n```\nf()\n```\n", "def f():\n    return 1\n"},
		{"code", "```c++\r\nint x;\r\n```", "int x;\r\n"},
		{"code", "1. So:\n   ````py\n   x = '''\n   ````\n", "   x = '''\n"},
		{"code", "```\ndef f(): # cut off", "def f(): # cut off"},
		{"code", "```\n\n```\nno\n```py\nyes\n```", "yes\n"},
		{"code", "```\n\n", "```\n\n"},
		{"code", "    return `x` if ```y``` else z\n```f()```\n", "    return `x` if ```y``` else z\n```f()```\n"},
		{"code", "    return x\n", "    return x\n"},
		{"code", "", ""},
		{"yes_no", "Well, Yes. No doubt", "yes"},
		{"yes_no", "NO!", "no"},
		{"yes_no", "Nobody knows yesterday", ""},
		{"boxed", `so \boxed{\frac12}`, `\frac12`},
		{"boxed", "none", ""},
		{"math_answer", "the answer is 5.", "5"},
		{"squad", "The Nile!", "nile"},
		{"trivia_qa", "the-nile", "nile"},
		{"oc_general", "The Nile, a river", "Nile"},
		{"oc_trivia_qa", "The answer is the Nile", "nile"},
		{"oc_nq", "The answer is the Nile", "nile"},
		{"no_think", "This is a test.</think> How are you?", "How are you?"}, // these two are OpenCompass's own examples
		{"no_think", "Start<think>reasoning here</think> End", "Start End"},
		{"no_think", "a<think>b", "a<think>b"},
		{"gsm8k", "So 3+4=7 #### 7\n\nQuestion: 9", "7"},
		{"gsm8k", "####  $1,234.00 of 5", "1234"},
		{"gsm8k", "The answer is $18. He has 3 left.", "18"},
		{"gsm8k", "The answer is 9 * 2 = 18", "18"},
		{"gsm8k", "9 apples and 2 pears", "2"},
		{"gsm8k", "#### none but 3", "3"},
		{"gsm8k", "", ""},
		{"gsm8k_gold", "Natalia sold 48/2 = <<48/2=24>>24 clips.\n#### 1,072", "1072"},
		{"gsm8k_gold", "no mark", ""},
		{"oc_gsm8k", "it costs $1,072.50 in all.", "072.50"},
		{"oc_gsm8k", "10-5", "-5"},
		{"oc_gsm8k", "1.2.3", "3"},
		{"oc_gsm8k", "1.2.3.4", "3.4"},
		{"oc_gsm8k", "the answer is 18.\nQuestion: 7", "18"},
		{"oc_gsm8k", "none", "NULL"},
	} {
		f, err := Processor(c.post)
		if err != nil {
			t.Errorf("%s: %v", c.post, err)
		} else if got := f(c.in); got != c.want {
			t.Errorf("%s of %q = %q, want %q", c.post, c.in, got, c.want)
		}
	}
}

func TestPostChain(t *testing.T) {
	f, err := Chain([]string{"cut:\n\n", "after:####", "first_word", "rstrip:."})
	if err != nil {
		t.Fatal(err)
	}
	if got := f(" 15 + 1 = 16. #### 16.\n\nQuestion: #### 9"); got != "16" {
		t.Errorf("chain gives %q", got)
	}
	none, err := Chain(nil)
	if err != nil || none(" as it is\n") != " as it is\n" {
		t.Errorf("the empty chain changes the text (%v)", err)
	}
}

func TestLastNumber(t *testing.T) {
	for in, want := range map[string]string{
		"72":                              "72",
		"72.":                             "72",
		"72.0":                            "72",
		"72.50":                           "72.5",
		"0072":                            "72",
		"The answer is 72 dollars.":       "72",
		"5 apples and 7 pears":            "7",
		"$1,072.50.":                      "1072.5",
		"12,345,678":                      "12345678",
		"1,2,3":                           "3",
		"1,2345":                          "2345",
		"1234,567":                        "567",
		"1,234, and 5":                    "5",
		"50%":                             "50",
		"-5":                              "-5",
		"= -5.0":                          "-5",
		"+5":                              "5",
		"\u22125":                         "-5",
		"-$5":                             "-5",
		"$-5":                             "-5",
		"￥-1,000":                         "-1000",
		"-0.00":                           "0",
		"10-5":                            "5",
		"x-5":                             "5",
		"f(x)-5":                          "5",
		"10 - 5":                          "5",
		"(-5)":                            "-5",
		"costs $10-$5":                    "5",
		".5":                              "0.5",
		"-.50":                            "-0.5",
		"it is.5":                         "5",
		"1.2.3":                           "3",
		"答案是-5":                           "-5",
		"气温－3度":                           "-3",
		"3/4":                             "4",
		"#### 18":                         "18",
		"第3题的答案是１，42。":                    "42",
		"007.":                            "7",
		"0":                               "0",
		"":                                "",
		"no number":                       "",
		"It costs 3 euros, or 3.30€.":     "3.3",
		"9 * 2 = $<<9*2=18>>18 every day": "18",
		"18,":                             "18",
		"9999999999999999999999":          "9999999999999999999999",
	} {
		if got := LastNumber(in); got != want {
			t.Errorf("last number of %q = %q, want %q", in, got, want)
		}
	}
}

func TestFirstOption(t *testing.T) {
	for _, c := range []struct{ in, want string }{
		{"B", "B"},
		{" B", "B"},
		{"B.", "B"},
		{"The answer is neither A nor B; it is C", "C"},
		{"B. the hat", "B"},
		{"(C)", "C"},
		{"(C) the dog", "C"},
		{"[A] sorry", "A"},
		{"**B**", "B"},
		{"\\boxed{C}", "C"},
		{"$B$", "B"},
		{"A", "A"},
		{"A. sorry", "A"},
		{"A: sorry", "A"},
		{"A\nB", "A"},
		{"A is correct.", "A"},
		{"A because she said so", "A"},
		{"The answer is (B)", "B"},
		{"The answer is B, not A.", "B"},
		{"A dog barks, so the answer is C.", "C"},
		{"Answer: C", "C"},
		{"Answer:\nC", "C"},
		{"ANSWER: **C**", "C"},
		{"The correct answer is option B.", "B"},
		{"The answer should be B", "B"},
		{"I choose A as it fits", "A"},
		{"The correct option is (A) sorry", "A"},
		{"B or C? The answer: C", "C"},
		{"答案是B。", "B"},
		{"答案：C", "C"},
		{"答案应该是（A）", "A"},
		{"正确选项是B，因为A不对", "B"},
		{"我选C", "C"},
		{"A错，所以B", "B"},
		// A letter that is ruled out is passed over.
		{"A is wrong, so B", "B"},
		{"B is wrong, so C", "C"},
		{"not A but B", "B"},
		{"The answer is not A, it is C.", "C"},
		{"The answer isn't A: B", "B"},
		{"A isn't right. B.", "B"},
		// English words, initials and compounds are no options.
		{"A dog barks", ""},
		{"A dog barks: B", "B"},
		{"Bell", ""},
		{"aB", ""},
		{"vitamin-C", ""},
		{"A-level", ""},
		{"U.S.A.", ""},
		{"B's", ""},
		{"B_1", ""},
		{"ÄA", ""},
		{"b", ""},
		{"D", ""}, // not among the options
		{"The answer is D", ""},
		{"The answer is D. B", "B"},
		{"", ""},
		{"sorry", ""},
	} {
		if got := FirstOption(c.in, "ABC"); got != c.want {
			t.Errorf("first option of %q = %q, want %q", c.in, got, c.want)
		}
	}
}

func TestCompilePost(t *testing.T) {
	if _, err := Chain([]string{"strip", "first_option:ABCD", "regex:(a+)", "cut:\n"}); err != nil {
		t.Error(err)
	}
	for post, want := range map[string]string{
		"first_wrod":       "unknown post-processor \"first_wrod\": known are after, after_last, boxed",
		"boxed:x":          "takes no argument",
		"take_until":       "needs an argument",
		"last_option:a":    "needs the option letters",
		"last_regex":       "needs an argument",
		"cut":              "needs an argument",
		"cut:":             "needs an argument",
		"strip:x":          "takes no argument",
		"first_option":     "needs the option letters",
		"first_option:ABa": `'a' is not one of the letters`,
		"first_option:AA":  "given twice",
		"regex:(":          "missing closing",
		"regex:(?<=a)b":    "RE2",
		"":                 "unknown post-processor",
	} {
		_, err := Chain([]string{post})
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: error %v, want one with %q", post, err, want)
		}
	}
	_, err := Chain([]string{"first_wrod", "strip", "cut"})
	if err == nil || !strings.Contains(err.Error(), "first_wrod") || !strings.Contains(err.Error(), `"cut": needs`) {
		t.Errorf("not every fault is told: %v", err)
	}
}

// FuzzPost holds what every post-processor promises: it does not panic, and valid text stays valid.
func FuzzPost(f *testing.F) {
	for _, s := range []string{"", "The answer is (B).", "答案是A", "$1,234.50", "-.5", "a\r\nb\n\nc", "A is wrong, so B", "A\xff-B", "\\boxed{C}"} {
		f.Add(s, "ABC")
		f.Add(s, "\n")
	}
	f.Fuzz(func(t *testing.T, text, arg string) {
		for _, name := range Processors() {
			for _, post := range []string{name, name + ":" + arg, "first_option:ABCDEFGHI"} {
				p, err := Chain([]string{post})
				if err != nil {
					continue
				}
				out := p(text)
				if utf8.ValidString(text) && utf8.ValidString(arg) && !utf8.ValidString(out) {
					t.Errorf("%q of %q is not valid text: %q", post, text, out)
				}
				if name == "last_number" && p(out) != out {
					t.Errorf("last_number of its own %q is %q", out, p(out))
				}
			}
		}
	})
}
