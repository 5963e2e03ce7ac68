package metric

import (
	"hash/fnv"
	"math"
	"math/big"
	"math/cmplx"
)

// maxBits bounds the numbers of exact arithmetic; what is larger is compared in floating point.
const maxBits = 1 << 14

// exact gives the value of an expression of rational numbers; ok is false for one with variables, constants or functions that leave
// them, or with numbers too large.
func (n *node) exact() (v *big.Rat, ok bool) {
	if n.op == "num" {
		return n.num, true
	}
	var args [2]*big.Rat
	for i, a := range n.args {
		if i > 1 {
			return nil, false
		}
		if args[i], ok = a.exact(); !ok {
			return nil, false
		}
	}
	v, ok = n.exactly(args[0], args[1])
	if !ok || v.Num().BitLen() > maxBits || v.Denom().BitLen() > maxBits {
		return nil, false
	}
	return v, true
}

func (n *node) exactly(a, b *big.Rat) (*big.Rat, bool) {
	v := new(big.Rat)
	switch n.op {
	case "+":
		return v.Add(a, b), true
	case "-":
		return v.Sub(a, b), true
	case "*":
		return v.Mul(a, b), true
	case "/":
		if b.Sign() == 0 {
			return nil, false
		}
		return v.Quo(a, b), true
	case "neg":
		return v.Neg(a), true
	case "abs":
		return v.Abs(a), true
	case "^":
		return exactPower(a, b)
	case "sqrt":
		return exactRoot(a)
	case "!":
		if !a.IsInt() || a.Sign() < 0 || a.Num().Cmp(big.NewInt(500)) > 0 {
			return nil, false
		}
		return v.SetInt(new(big.Int).MulRange(1, a.Num().Int64())), true
	case "binom":
		if !a.IsInt() || !b.IsInt() || b.Sign() < 0 || a.Cmp(b) < 0 || a.Num().Cmp(big.NewInt(1000)) > 0 {
			return nil, false
		}
		return v.SetInt(new(big.Int).Binomial(a.Num().Int64(), b.Num().Int64())), true
	}
	return nil, false
}

func exactPower(a, b *big.Rat) (*big.Rat, bool) {
	if !b.IsInt() || !b.Num().IsInt64() {
		return nil, false
	}
	e := b.Num().Int64()
	size := int64(max(a.Num().BitLen(), a.Denom().BitLen()))
	if e > maxBits || e < -maxBits || size*max(e, -e) > maxBits || a.Sign() == 0 && e <= 0 {
		return nil, false
	}
	exp := big.NewInt(max(e, -e))
	num, den := new(big.Int).Exp(a.Num(), exp, nil), new(big.Int).Exp(a.Denom(), exp, nil)
	if e < 0 {
		num, den = den, num
	}
	return new(big.Rat).SetFrac(num, den), true
}

func exactRoot(a *big.Rat) (*big.Rat, bool) {
	if a.Sign() < 0 {
		return nil, false
	}
	num, den := new(big.Int).Sqrt(a.Num()), new(big.Int).Sqrt(a.Denom())
	v := new(big.Rat).SetFrac(num, den)
	return v, new(big.Rat).Mul(v, v).Cmp(a) == 0
}

// at gives the value of an expression where its variables have the values of a point; NaN where it has none. i is the imaginary unit
// and e Euler's number.
func (n *node) at(point uint64) complex128 {
	switch n.op {
	case "num":
		f, _ := n.num.Float64()
		return complex(f, 0)
	case "pi":
		return math.Pi
	case "var":
		return variableAt(n.name, point)
	}
	x := n.args[0].at(point)
	if len(n.args) > 1 {
		return binary(n.op, x, n.args[1].at(point))
	}
	return unary(n.op, x)
}

func binary(op string, x, y complex128) complex128 {
	switch op {
	case "+":
		return x + y
	case "-":
		return x - y
	case "*":
		return x * y
	case "/":
		if y == 0 {
			return cmplx.NaN()
		}
		return x / y
	case "^":
		return cmplx.Pow(x, y)
	case "root":
		if imag(x) == 0 && real(x) < 0 && imag(y) == 0 && math.Mod(real(y), 2) == 1 {
			return -cmplx.Pow(-x, 1/y)
		}
		return cmplx.Pow(x, 1/y)
	case "logb":
		return cmplx.Log(x) / cmplx.Log(y)
	}
	return cmplx.NaN()
}

var complexFunctions = map[string]func(complex128) complex128{
	"neg": func(x complex128) complex128 { return -x }, "sqrt": cmplx.Sqrt, "exp": cmplx.Exp, "ln": cmplx.Log, "log": cmplx.Log10,
	"sin": cmplx.Sin, "cos": cmplx.Cos, "tan": cmplx.Tan, "cot": cmplx.Cot, "arcsin": cmplx.Asin, "arccos": cmplx.Acos, "arctan": cmplx.Atan,
	"sec": func(x complex128) complex128 { return 1 / cmplx.Cos(x) }, "csc": func(x complex128) complex128 { return 1 / cmplx.Sin(x) },
	"abs": func(x complex128) complex128 { return complex(cmplx.Abs(x), 0) },
	"!": func(x complex128) complex128 {
		if imag(x) != 0 {
			return cmplx.NaN()
		}
		return complex(math.Gamma(real(x)+1), 0)
	},
}

func unary(op string, x complex128) complex128 {
	if f, ok := complexFunctions[op]; ok {
		return f(x)
	}
	return cmplx.NaN()
}

// variableAt gives a variable its value at a point: between 0.5 and 2.5, the same in every expression and every run.
func variableAt(name string, point uint64) complex128 {
	switch name {
	case "i":
		return 1i
	case "e":
		return math.E
	}
	h := fnv.New64a()
	h.Write([]byte{byte(point)})
	h.Write([]byte(name))
	bits := h.Sum64()
	bits ^= bits >> 31
	bits *= 0x9e3779b97f4a7c15
	return complex(0.5+2*float64(bits>>11)/(1<<53), 0)
}

// sameValue reports whether two expressions are equal: exactly where both are rational, else at points.
func sameValue(a, b *node) bool {
	if x, ok := a.exact(); ok {
		if y, ok := b.exact(); ok {
			return x.Cmp(y) == 0
		}
	}
	return alike(func(point uint64) bool { return near(a.at(point), b.at(point)) }, a, b)
}

// alike asks eight points, and is content with five that agree; a point where neither expression has a value says nothing, and three
// must agree.
func alike(agree func(point uint64) bool, a, b *node) bool {
	agreed := 0
	for point := uint64(1); point <= 8; point++ {
		x, y := finite(a.at(point)), finite(b.at(point))
		switch {
		case !x && !y:
		case x != y || !agree(point):
			return false
		default:
			agreed++
		}
		if agreed == 5 {
			return true
		}
	}
	return agreed >= 3
}

func finite(x complex128) bool { return !cmplx.IsNaN(x) && !cmplx.IsInf(x) }

func near(x, y complex128) bool {
	return cmplx.Abs(x-y) <= 1e-12*max(1, cmplx.Abs(x), cmplx.Abs(y))
}

// proportional reports whether two expressions differ by one constant factor that is not zero: the equations a = 0 and b = 0 are then
// the same.
func proportional(a, b *node) bool {
	ratio := b.at(1) / a.at(1)
	if !finite(ratio) || ratio == 0 {
		return false
	}
	return alike(func(point uint64) bool { return near(a.at(point)*ratio, b.at(point)) }, a, b)
}
