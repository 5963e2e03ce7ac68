package quant

import "math"

// e4m3Most is the greatest value of e4m3fn (OCP 8-bit floating point specification, 1.0): 4 bits of exponent with a bias of 7, 3 of
// mantissa, no infinities, one NaN.
const e4m3Most = 448

// e4m3 is the code of the e4m3fn value nearest to x, half to even, saturating. x is not NaN.
func e4m3(x float64) byte {
	const (
		mantissa = 52 - 3         // bits of a float64's mantissa that are rounded away
		bias     = 1023 - 7       // between the exponents
		least    = 1.0 / (1 << 6) // the least normal value
	)
	sign := byte(0)
	if math.Signbit(x) {
		sign, x = 0x80, -x
	}
	if x >= e4m3Most {
		return sign | 0x7e
	}
	if x < least {
		return sign | byte(math.RoundToEven(x*(8/least))) // 8 of them are the least normal value, whose code is 8
	}
	b := math.Float64bits(x)
	b += 1<<(mantissa-1) - 1 + b>>mantissa&1
	return sign | byte(b>>mantissa-bias<<3)
}

// floatScale is the scale with which values of at most absmax reach from -448 to 448; 1 if all are 0.
func (r ranger) floatScale(absmax float64) (float64, error) {
	if absmax == 0 {
		return 1, nil
	}
	return r.scale(absmax / e4m3Most)
}
