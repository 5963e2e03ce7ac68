package metric

import (
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// The pairs of the first block are the examples of MATH's own normalisation (Hendrycks et al. 2021, math_equivalence.py: the comments of
// its functions) and of Minerva's (Lewkowycz et al. 2022, appendix D); the rest are our own, worked by hand.
func TestEquivalent(t *testing.T) {
	for _, c := range []struct {
		a, b string
		want bool
	}{
		{`\frac12`, `\frac{1}{2}`, true},
		{`\frac1b`, `\frac{1}{b}`, true},
		{`\frac1{72}`, `\frac{1}{72}`, true},
		{`\tfrac{1}{2}`, `\dfrac{1}{2}`, true},
		{`1/2`, `\frac{1}{2}`, true},
		{`0.5`, `\frac{1}{2}`, true},
		{`.5`, `0.5`, true},
		{`\sqrt3`, `\sqrt{3}`, true},
		{`90^\circ`, `90`, true},
		{`90^{\circ}`, `90`, true},
		{`10\%`, `10`, true},
		{`\$10`, `10`, true},
		{`5\text{ cm}`, `5`, true},
		{`k = 5`, `5`, true},
		{`\left(1,2\right)`, `(1, 2)`, true},
		{`100,000`, `100000`, true},
		{`\text{east}`, `East`, true},
		{`\mathrm{cm}^2`, `5`, false},

		{`10,\!000`, `10000`, true},
		{`11,\! 111,\! 100`, `11111100`, true},
		{`12\,345`, `12345`, true},
		{`1{,}234`, `1234`, true},
		{`0.333`, `\frac13`, false},
		{`0.\overline{3}`, `\frac13`, true},
		{`0.1\overline{6}`, `1/6`, true},
		{`3\frac{1}{2}`, `\frac72`, true},
		{`3 1/2`, `3.5`, true},
		{`-3\frac{1}{2}`, `-3.5`, true},
		{`2\sqrt{2}`, `\sqrt{8}`, true},
		{`\frac{\sqrt{2}}{2}`, `\frac{1}{\sqrt2}`, true},
		{`\frac{\sqrt{2}}{2}`, `0.7071`, false},
		{`(x+1)^2`, `x^2+2x+1`, true},
		{`(x+1)^2`, `x^2+2x+2`, false},
		{`x^{2}y`, `yx^2`, true},
		{`2\pi`, `2pi`, true},
		{`6\pi\text{ square inches}`, `6\pi`, true},
		{`25 \text{ square units}`, `25`, true},
		{`16 cm^2`, `16`, true},
		{`16 m`, `16`, true},
		{`16m`, `16`, false},
		{`12 inches`, `12`, true},
		{`5^{th}`, `5`, true},
		{`\{1,2,3\}`, `\{3,2,1\}`, true},
		{`1,2,3`, `3, 1, 2`, true},
		{`1, 2 \text{ and } 3`, `1,2,3`, true},
		{`(1,2)`, `(2,1)`, false},
		{`(1,2)`, `[1,2]`, false},
		{`[0,1)`, `[0, 1.0)`, true},
		{`[0,1)`, `[0,1]`, false},
		{`(-\infty,2)\cup(3,\infty)`, `(3,\infty) \cup (-\infty, 2)`, true},
		{`x \in [-2,7]`, `[-2,7]`, true},
		{`\pm 2`, `2,-2`, true},
		{`1 \pm \sqrt{3}`, `1-\sqrt3, 1+\sqrt3`, true},
		{`\begin{pmatrix} 1 \\ 2 \end{pmatrix}`, `\begin{pmatrix}1\\2.0\end{pmatrix}`, true},
		{`\begin{pmatrix} 1 \\ 2 \end{pmatrix}`, `\begin{pmatrix}1&2\end{pmatrix}`, false},
		{`\begin{pmatrix} 1 & 2 \\ 3 & 4 \end{pmatrix}`, `\begin{bmatrix} 1 & 2 \\ 3 & \frac{8}{2} \end{bmatrix}`, true},
		{`y = 2x + 1`, `y=1+2x`, true},
		{`y = 2x + 1`, `2x - y + 1 = 0`, true},
		{`y = 2x + 1`, `2x+1`, true},
		{`x+y=2`, `2x+2y=4`, true},
		{`x+y=2`, `x+y=3`, false},
		{`x > 3`, `3 < x`, true},
		{`x \ge 3`, `x > 3`, false},
		{`\text{(C)}`, `C`, true},
		{`(C)`, `C`, true},
		{`C`, `D`, false},
		{`f(x)=x^2`, `x^2`, true},
		{`\log_2 8`, `3`, true},
		{`\log 100`, `2`, true},
		{`\ln e`, `1`, true},
		{`\sin^2 x + \cos^2 x`, `1`, true},
		{`\sin(\pi/6)`, `\frac12`, true},
		{`5!`, `120`, true},
		{`\binom{5}{2}`, `10`, true},
		{`2^{10}`, `1024`, true},
		{`2^{100}`, `2^{100}+1`, false},
		{`10^{100000}`, `10^{100001}`, false},
		{`1.5\times10^3`, `1500`, true},
		{`|x-1|`, `|1-x|`, true},
		{`|-3|`, `3`, true},
		{`i^2`, `-1`, true},
		{`3+4i`, `4i+3`, true},
		{`3-4i`, `3+4i`, false},
		{`\frac{1}{0}`, `\frac{2}{0}`, false},
		{`1010_2`, `1010_{2}`, true},
		{`1010_2`, `1010`, false},
		{`east`, `seat`, false},
		{`\text{Blue}`, `blue`, true},
		{`the letter`, `the latter`, false},
		{`3:4`, `3/4`, false},
		{`50\%`, `0.5`, false},
		{`\boxed{5}`, `5`, true},
		{`$5$`, `5`, true},
		{`\(5\)`, `5`, true},
		{`5.`, `5`, true},
		{`**5**`, `5`, true},
		{`−5`, `-5`, true},
		{`-x`, `x`, false},
		{`2x`, `x`, false},
		{`\frac{x}{y}`, `x/y`, true},
		{`\frac{a+b}{2}`, `(a+b)/2`, true},
		{`x_1+x_2`, `x_{2}+x_{1}`, true},
		{`\sqrt[3]{8}`, `2`, true},
		{`\emptyset`, `\varnothing`, true},
		{``, `5`, false},
		{``, ` `, false},
		{`0`, ``, false},
		{`0`, `-0`, true},
		{`11\sqrt2`, `11 \sqrt{2}`, true},
		{`\theta`, `\phi`, false},
		{`\text{no solution}`, `No solution`, true},
		{`\text{Yes}`, `No`, false},
		{`x=1 \text{ or } x=2`, `2, 1`, true},
		{`1 \text{ or } 2`, `2,1`, true},
		{`-\frac{\sqrt{3}}{2}`, `-sqrt(3)/2`, true},
		{`\frac{-1}{2}`, `-\frac12`, true},
		{`\left(\frac{3}{2}, -13\right)`, `(1.5,-13)`, true},
		{`\$18.90`, `18.9`, true},
		{`6.0`, `6`, true},
		{`2x^2+3x`, `x(2x+3)`, true},
		{`2, 3`, `2 3`, false},
		{`2516_8`, `2516_{8}`, true},
		{`5 \text{ apples}`, `5`, true},
		{`3/4 cup`, `3/4`, false}, // cups are no unit here
		{`(2,\infty)`, `(2, \infty)`, true},
		{`\infty`, `-\infty`, false},
		{`10:30`, `10:30`, true},
		{`4\theta/2`, `2\theta`, true},
	} {
		if got := Equivalent(c.a, c.b); got != c.want {
			t.Errorf("Equivalent(%q, %q) = %v", c.a, c.b, got)
		}
		if got := Equivalent(c.b, c.a); got != c.want {
			t.Errorf("Equivalent(%q, %q) = %v: not symmetric", c.b, c.a, got)
		}
	}
}

func TestEquivalentIsReflexiveAndSymmetric(t *testing.T) {
	pieces := rapid.SampledFrom([]string{`\frac`, `{`, `}`, `1`, `2`, `x`, `\sqrt`, `(`, `)`, `,`, `+`, `-`, `^`, `_`, `\pm`, `\text{a b}`, ` `,
		`=`, `<`, `\{`, `\}`, `[`, `]`, `|`, `!`, `\\`, `&`, `\pi`, `.`, `\cup`, `cm`, `\begin{pmatrix}`, `\end{pmatrix}`, `\overline{3}`, `"`})
	rapid.Check(t, func(t *rapid.T) {
		a := strings.Join(rapid.SliceOfN(pieces, 0, 12).Draw(t, "a"), "")
		b := strings.Join(rapid.SliceOfN(pieces, 0, 12).Draw(t, "b"), "")
		if !Equivalent(a, a) {
			t.Fatalf("%q is not equivalent to itself", a)
		}
		if Equivalent(a, b) != Equivalent(b, a) {
			t.Fatalf("Equivalent(%q, %q) depends on the order", a, b)
		}
	})
}

func FuzzEquivalent(f *testing.F) {
	f.Add(`\frac{1}{2}`, `0.5`)
	f.Add(`\{1,2\}`, `2,1`)
	f.Add(`((((|`, `\sqrt[3]{`)
	f.Fuzz(func(t *testing.T, a, b string) {
		if Equivalent(a, b) != Equivalent(b, a) {
			t.Errorf("Equivalent(%q, %q) depends on the order", a, b)
		}
		if !Equivalent(a, a) {
			t.Errorf("%q is not equivalent to itself", a)
		}
	})
}

func TestEquivalentIsBounded(t *testing.T) {
	for _, piece := range []string{"(", "{1,", `\frac1`, `1\frac`, "1,", "1±", "|", "x!", "2^", `\sqrt{`, "-", `\{1,\{2,`, "(1,2)∪",
		`\text{a `, `\pm`, "x=", "9"} {
		a := strings.Repeat(piece, maxMath/len(piece))
		b := strings.Repeat(piece, maxMath/len(piece)-1) + "7"
		start := time.Now()
		if !Equivalent(a, a) || Equivalent(a, b) != Equivalent(b, a) {
			t.Errorf("%q many times is not itself, or depends on the order", piece)
		}
		if took := time.Since(start); took > 5*time.Second {
			t.Errorf("%q many times takes %v", piece, took)
		}
	}
}
