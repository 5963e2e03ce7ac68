package metric

import (
	"fmt"
	"math"
	"strings"
	"unicode"
)

// BLEUOptions say how BLEU is computed; the zero value is sacreBLEU's default for a corpus: 13a, exp, case kept.
type BLEUOptions struct {
	Tokenizer      string  // 13a (also ""), intl, zh, char or none
	Smooth         string  // exp (also ""), floor, add-k or none: methods 3, 1, 2 of Chen and Cherry 2014, and none
	SmoothValue    float64 // of floor and add-k; 0 means their defaults, 0.1 and 1
	Lowercase      bool
	EffectiveOrder bool // leave out orders that a text is too short for; for single sentences, as sacreBLEU's sentence_bleu does
}

const bleuOrder = 4

// BLEUStats are the counts of one prediction; those of a corpus are their sums. Correct and Total hold the n-grams of order 1 to 4.
type BLEUStats struct {
	Correct, Total    [bleuOrder]int
	Length, RefLength int // tokens
}

// Add adds the counts of another prediction.
func (s *BLEUStats) Add(o BLEUStats) {
	for n := range bleuOrder {
		s.Correct[n] += o.Correct[n]
		s.Total[n] += o.Total[n]
	}
	s.Length += o.Length
	s.RefLength += o.RefLength
}

// BLEU computes BLEU (Papineni et al. 2002) equal to sacreBLEU's (Post 2018): make one with NewBLEU, count each prediction, sum, score.
type BLEU struct {
	opts     BLEUOptions
	tokenize func(string) string
}

// NewBLEU checks options.
func NewBLEU(o BLEUOptions) (*BLEU, error) {
	tokenize, err := bleuTokenizer(o.Tokenizer)
	if err != nil {
		return nil, err
	}
	switch o.Smooth {
	case "":
		o.Smooth = "exp"
	case "exp", "none":
	case "floor", "add-k":
		if o.SmoothValue == 0 {
			o.SmoothValue = map[string]float64{"floor": 0.1, "add-k": 1}[o.Smooth]
		}
	default:
		return nil, fmt.Errorf("unknown BLEU smoothing %q: known are exp, floor, add-k, none", o.Smooth)
	}
	return &BLEU{opts: o, tokenize: tokenize}, nil
}

// words gives the n-grams of a text as the parts of one string, and the number of its tokens.
func (b *BLEU) words(text string) (grams map[string]int, tokens int) {
	text = strings.TrimRightFunc(text, space)
	if b.opts.Lowercase {
		text = strings.ToLower(text)
	}
	fields := strings.FieldsFunc(b.tokenize(text), space)
	joined := strings.Join(fields, " ")
	grams = make(map[string]int, len(fields)*bleuOrder)
	for i, start := 0, 0; i < len(fields); i++ {
		end := start - 1
		for n := i; n < min(i+bleuOrder, len(fields)); n++ {
			end += 1 + len(fields[n])
			grams[joined[start:end]]++
		}
		start += len(fields[i]) + 1
	}
	return grams, len(fields)
}

// Count gives the counts of one prediction against its references: an n-gram counts as often as it stands in the reference that has it
// most often, and the reference nearest in length, of two the shorter, gives the length. Without references nothing is right.
func (b *BLEU) Count(prediction string, references []string) BLEUStats {
	var s BLEUStats
	grams, n := b.words(prediction)
	s.Length = n
	var known map[string]int
	for i, r := range references {
		g, length := b.words(r)
		if i == 0 {
			known = g
		} else {
			for k, c := range g {
				known[k] = max(known[k], c)
			}
		}
		near, far := abs(n-length), abs(n-s.RefLength)
		if i == 0 || near < far || near == far && length < s.RefLength {
			s.RefLength = length
		}
	}
	for k, c := range grams {
		order := strings.Count(k, " ")
		s.Total[order] += c
		s.Correct[order] += min(c, known[k])
	}
	return s
}

func abs(n int) int { return max(n, -n) }

// Score gives BLEU of counts, 0 to 100.
func (b *BLEU) Score(s BLEUStats) float64 {
	if s.Correct == [bleuOrder]int{} || s.Length == 0 {
		return 0
	}
	sum, orders, halved := 0.0, bleuOrder, 1.0
	for n := range bleuOrder {
		correct, total := float64(s.Correct[n]), float64(s.Total[n])
		if b.opts.Smooth == "add-k" && n > 0 {
			correct, total = correct+b.opts.SmoothValue, total+b.opts.SmoothValue
		}
		if total == 0 {
			if !b.opts.EffectiveOrder {
				return 0 // the precision of this order is 0, and so is the mean
			}
			break
		}
		if b.opts.EffectiveOrder {
			orders = n + 1
		}
		switch {
		case correct > 0:
		case b.opts.Smooth == "exp":
			halved *= 2
			correct = 1 / halved
		case b.opts.Smooth == "floor":
			correct = b.opts.SmoothValue
		default:
			return 0
		}
		sum += math.Log(100 * correct / total)
	}
	brevity := 0.0
	if s.Length < s.RefLength {
		brevity = 1 - float64(s.RefLength)/float64(s.Length)
	}
	return math.Exp(brevity + sum/float64(orders))
}

const (
	chrfChars = 6
	chrfWords = 2
)

// CHRFStats are the n-gram counts of one prediction for chrF: of the prediction, the reference and both, characters 1 to 6, then words 1
// to 2. Those of a corpus are their sums.
type CHRFStats [chrfChars + chrfWords][3]int

// Add adds the counts of another prediction.
func (s *CHRFStats) Add(o CHRFStats) {
	for n := range s {
		for i := range s[n] {
			s[n][i] += o[n][i]
		}
	}
}

// CHRF counts one prediction for chrF (Popović 2015) against the reference that scores best; words adds word n-grams, which is chrF++.
// It is equal to sacreBLEU's with its defaults (6 characters without white space, β 2, no epsilon smoothing).
func CHRF(prediction string, references []string, words bool) CHRFStats {
	var best CHRFStats
	score := -1.0
	p := chrfGrams(prediction, words)
	left := map[string]int{}
	for _, r := range references {
		var s CHRFStats
		for n, ref := range chrfGrams(r, words) {
			clear(left)
			for _, g := range ref {
				left[g]++
			}
			for _, g := range p[n] {
				if c := left[g]; c > 0 {
					left[g] = c - 1
					s[n][2]++
				}
			}
			if s[n][1] = len(ref); len(ref) > 0 {
				s[n][0] = len(p[n])
			}
		}
		if f := s.Score(); f > score {
			best, score = s, f
		}
	}
	return best
}

// Score gives chrF of counts, 0 to 100.
func (s *CHRFStats) Score() float64 {
	precision, recall, orders := 0.0, 0.0, 0.0
	for _, c := range s {
		if c[0] > 0 && c[1] > 0 {
			precision += float64(c[2]) / float64(c[0])
			recall += float64(c[2]) / float64(c[1])
			orders++
		}
	}
	if precision+recall == 0 {
		return 0
	}
	precision, recall = precision/orders, recall/orders
	return 100 * 5 * precision * recall / (4*precision + recall)
}

// chrfGrams lists the n-grams of each order, with their repetitions.
func chrfGrams(text string, words bool) (grams [chrfChars + chrfWords][]string) {
	tight := strings.Map(func(r rune) rune {
		if space(r) {
			return -1
		}
		return r
	}, text)
	starts := make([]int, 0, len(tight)+1)
	for i := range tight {
		starts = append(starts, i)
	}
	starts = append(starts, len(tight))
	for n := range chrfChars {
		grams[n] = make([]string, 0, len(starts))
		for i := 0; i+n+1 < len(starts); i++ {
			grams[n] = append(grams[n], tight[starts[i]:starts[i+n+1]])
		}
	}
	if !words {
		return grams
	}
	list := chrfWordList(text)
	for n := range chrfWords {
		for i := 0; i+n < len(list); i++ {
			grams[chrfChars+n] = append(grams[chrfChars+n], strings.Join(list[i:i+n+1], " "))
		}
	}
	return grams
}

// chrfWordList puts one sign of punctuation at the end of a word apart, else one at its start.
func chrfWordList(text string) []string {
	var list []string
	for _, w := range strings.FieldsFunc(text, unicode.IsSpace) {
		last := len(w) - 1
		switch {
		case len([]rune(w)) == 1:
			list = append(list, w)
		case punct(rune(w[last])):
			list = append(list, w[:last], w[last:])
		case punct(rune(w[0])):
			list = append(list, w[:1], w[1:])
		default:
			list = append(list, w)
		}
	}
	return list
}
